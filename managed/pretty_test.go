package managed

import (
	"errors"
	"strings"
	"testing"

	"github.com/kingpinfs/kingpin/store"
)

func TestPrettify(t *testing.T) {
	for _, test := range []struct{ content, text, edited, restored string }{
		{`["a", "\u00fc"]`, "[\n  \"a\",\n  \"ü\"\n]\n", "[\"x\",\n\"ö\"]", `["x", "\u00f6"]`},
		{`{"a": 1, "b": 2}`, "{\n  \"a\": 1,\n  \"b\": 2\n}\n", `{"b":3,"a":1}`, `{"a": 1, "b": 3}`},
		{`{"b": 1, "a": 2}`, "{\n  \"b\": 1,\n  \"a\": 2\n}\n", `{"b":3,"a":1}`, `{"b": 3, "a": 1}`},
		{`{"a":1}`, `{"a":1}`, `{"a":2}`, `{"a":2}`},
		{"[1]\n", "[1]\n", "[2]", "[2]"},
		{"no JSON", "no JSON", "x", "x"},
		{"", "", "x", "x"},
	} {
		p := Prettify([]byte(test.content))
		if string(p.Text) != test.text {
			t.Errorf("Prettify(%q) = %q", test.content, p.Text)
		}
		if got, err := p.Restore(p.Text); err != nil || string(got) != test.content {
			t.Errorf("%q unchanged became %q, %v", test.content, got, err)
		}
		if got, err := p.Restore([]byte(test.edited)); err != nil || string(got) != test.restored {
			t.Errorf("%q became %q, %v", test.edited, got, err)
		}
	}
	_, err := Prettify([]byte("[]")).Restore([]byte("[\n1,\n]"))
	if !errors.Is(err, store.Invalid) || !strings.Contains(err.Error(), "line 3, column 1") {
		t.Errorf("what is no JSON became %v", err)
	}
}
