package managed

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/kingpinfs/kingpin/store"
)

func TestParseDecider(t *testing.T) {
	tests := []struct {
		content string
		want    map[string]int
		skipped []string // the beginning of each
	}{
		{"", map[string]int{}, nil},
		{"{}", map[string]int{}, nil},
		{`{"some_experiment": 50}`, map[string]int{"some_experiment": 50}, nil},
		{" {\"a\": 0,\n\"b.c d\": 100, \"-0\": -0, \"ü\": 7} ", map[string]int{"a": 0, "b.c d": 100, "-0": 0, "ü": 7}, nil},
		{`{"a": 1, "a": 2}`, map[string]int{"a": 2}, nil},
		{
			`{"ok": 1, "low": -1, "high": 101, "huge": 1e30, "float": 50.0, "exp": 1e1, "text": "50", "bool": true, "null": null, "list": [1]}`,
			map[string]int{"ok": 1},
			[]string{`"bool": the value true`, `"exp": the value 1e1`, `"float": the value 50.0`, `"high": the value 101`, `"huge": the value 1e30`,
				`"list": the value [1]`, `"low": the value -1`, `"null": the value null`, `"text": the value "50"`},
		},
		{
			`{"ok": 1, "": 1, ".": 1, "..": 1, "a/b": 1, "a\u0000": 1, "Upper": 1, "` + strings.Repeat("x", 256) + `": 1}`,
			map[string]int{"ok": 1},
			[]string{`"": invalid decider name`, `".": invalid`, `"..": invalid`, `"Upper": invalid`, `"a\x00": invalid`, `"a/b": invalid`, `"xxx`},
		},
	}
	for _, test := range tests {
		values, skipped, err := ParseDecider([]byte(test.content))
		if err != nil || !maps.Equal(values, test.want) || values == nil {
			t.Errorf("ParseDecider(%s) = %v, %v; want %v", test.content, values, err, test.want)
		}
		if len(skipped) != len(test.skipped) {
			t.Fatalf("ParseDecider(%s) skipped %q, want %q", test.content, skipped, test.skipped)
		}
		for i := range skipped {
			if !strings.HasPrefix(skipped[i].String(), test.skipped[i]) {
				t.Errorf("skipped %q, want %q", skipped[i], test.skipped[i])
			}
		}
	}
	for _, content := range []string{"null", "[]", "3", `"x"`, "{", `{"a": 1} x`, "{\"a\xff\": 1}", " "} {
		if values, _, err := ParseDecider([]byte(content)); !errors.Is(err, store.Invalid) || values != nil {
			t.Errorf("ParseDecider(%q) = %v, %v; want Invalid", content, values, err)
		}
	}
}

func TestRenderDeciderValue(t *testing.T) {
	for value, want := range map[int]string{0: "0\n", 50: "50\n", 100: "100\n"} {
		if got := RenderDeciderValue(value); got != want {
			t.Errorf("RenderDeciderValue(%d) = %q, want %q", value, got, want)
		}
	}
}

func TestCheckDomainKey(t *testing.T) {
	for _, pair := range [][2]string{{"admin", "decider"}, {"A-1", "_x"}} {
		if err := CheckDomainKey(pair[0], pair[1]); err != nil {
			t.Errorf("CheckDomainKey(%q): %v", pair, err)
		}
	}
	for _, bad := range []string{"", "a.b", "a/b", "a b", "a\n", "ä", "..", "a:b", "a[b", "a@b", "a`b", "a{b"} {
		for what, err := range map[string]error{"domain": CheckDomainKey(bad, "x"), "key": CheckDomainKey("x", bad)} {
			if !errors.Is(err, store.Invalid) || !strings.Contains(err.Error(), what) {
				t.Errorf("%q as %s: %v, want Invalid", bad, what, err)
			}
		}
	}
}

func FuzzParseDecider(f *testing.F) {
	for _, seed := range []string{"", "{}", "null", `{"a": 1}`, `{"a": 101, "B": 1, "c": "1", "": 0}`, `{"\u0000": 1}`, "{\"\xff\": 1}", `{"a": 1`, `{"İ": 1}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		values, skipped, err := ParseDecider(content)
		if err != nil {
			if !errors.Is(err, store.Invalid) || values != nil || skipped != nil {
				t.Errorf("ParseDecider(%q) = %v, %q, %v", content, values, skipped, err)
			}
			return
		}
		for name, value := range values {
			if value < 0 || value > MaxDecider || CheckDeciderName(name) != nil {
				t.Errorf("ParseDecider(%q) has %q at %d", content, name, value)
			}
		}
		if !slices.IsSortedFunc(skipped, func(a, b BadDecider) int { return strings.Compare(a.Name, b.Name) }) {
			t.Errorf("skipped %q is not sorted", skipped)
		}
	})
}
