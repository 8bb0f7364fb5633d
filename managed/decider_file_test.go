package managed

import (
	"errors"
	"strconv"
	"strings"
	"testing"

	"github.com/kingpinfs/kingpin/store"
)

func TestParseDeciderFile(t *testing.T) {
	for content, want := range map[string]int{
		"0": 0, "50": 50, "100\n": 100, " 7\n": 7, "7 \t\n": 7, "007\n": 7, "\t42": 42,
	} {
		if got, err := ParseDeciderFile([]byte(content)); err != nil || got != want {
			t.Errorf("%q is %d, %v", content, got, err)
		}
	}
	for _, content := range []string{
		"", "\n", " ", "101", "-1", "-0", "+5", "1e3", "1_0", "5.0", "0x10", "fifty", "50%", "5 0", "50\n\n", "\n50", "50\r\n", "50\x00",
		"\x00", "٥", "100000000000000000000000", "12\n34\n",
	} {
		got, err := ParseDeciderFile([]byte(content))
		if !errors.Is(err, store.Invalid) {
			t.Errorf("%q is %d, %v", content, got, err)
		} else if len(content) > 1 && strings.Contains(err.Error(), content) {
			t.Errorf("the error quotes the content: %v", err)
		}
	}
}

// What a monitor writes into a decider's file can be written back, and whatever
// is accepted is a decider's value.
func FuzzParseDeciderFile(f *testing.F) {
	for _, seed := range []string{"50\n", "0", "101", " 1 \n", "-1", "1e3", "\x00", ""} {
		f.Add([]byte(seed))
	}
	for value := range MaxDecider + 1 {
		f.Add([]byte(RenderDeciderValue(value)))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		value, err := ParseDeciderFile(content)
		if err != nil {
			return
		}
		if value < 0 || value > MaxDecider {
			t.Errorf("%q is %d", content, value)
		}
		if again, err := ParseDeciderFile([]byte(RenderDeciderValue(value))); err != nil || again != value {
			t.Errorf("%d became %d, %v", value, again, err)
		}
		if !strings.Contains(string(content), strconv.Itoa(value)) {
			t.Errorf("%q is %d", content, value)
		}
	})
}

func TestRefusalWithoutContent(t *testing.T) {
	schema, err := CompileSchema([]byte(`{"items": {"type": "string", "maxLength": 3}}`))
	if err != nil {
		t.Fatal(err)
	}
	rules := Rules{Name: "config.manageddata.test.x", Schema: schema, MaxSize: 50}
	for content, want := range map[string]string{
		"[\"a\",\n\"secret\", 5]": `checking the content of "config.manageddata.test.x": invalid: line 2, column 1; line 2, column 11`,
		`["secret`:                `checking the content of "config.manageddata.test.x": invalid: line 1, column 9`,
		"":                        `checking the content of "config.manageddata.test.x": invalid`,
		strings.Repeat("s", 51):   `checking the content of "config.manageddata.test.x": too large`,
	} {
		refusal, ok := errors.AsType[*ContentError](rules.Check([]byte(content)))
		if !ok || refusal.WithoutContent() != want {
			t.Errorf("%q: %q (%v), want %q", content, refusal.WithoutContent(), refusal, want)
		}
	}
}

func TestClientAt(t *testing.T) {
	b := newBench(t)
	file := b.config(t, "test", "x")
	elsewhere := store.Ref{Path: "/config/elsewhere", Prefix: "other/x"}
	if err := b.values.CreatePointer(t.Context(), elsewhere); err != nil {
		t.Fatal(err)
	}
	unknown := errors.New("never heard of it")
	client := NewClientAt(b.values, func(name string) (store.Ref, error) {
		if name != file {
			return store.Ref{}, unknown
		}
		return elsewhere, nil
	})
	if _, err := client.Put(t.Context(), file, []byte("there"), store.Write{}); err != nil {
		t.Fatal(err)
	}
	if value, err := b.values.Get(t.Context(), elsewhere); err != nil || string(value.Content) != "there" {
		t.Errorf("there is %q, %v", value.Content, err)
	}
	if version, err := b.Version(t.Context(), file); err != nil || version != "" {
		t.Errorf("where the name says is version %q, %v", version, err)
	}
	if _, err := client.Put(t.Context(), "config.manageddata.test.y", []byte("x"), store.Write{}); !errors.Is(err, unknown) {
		t.Errorf("the error is %v", err)
	}
}
