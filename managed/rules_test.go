package managed

import (
	"errors"
	"strings"
	"testing"

	"github.com/kingpinfs/kingpin/store"
)

func TestShapeOf(t *testing.T) {
	for file, want := range map[string]Shape{
		DeciderFile: DeciderShape, "config.manageddata.spam.grey_list": AnyBytes, "config.manageddata.spam.rules_json": AnyJSON,
		"config.manageddata.spam.rules-JSON": AnyJSON, "config.app.json": AnyJSON, "config.manageddata.spam.notjson": AnyBytes,
		"config.manageddata.admin.deciders": AnyBytes,
	} {
		if got := ShapeOf(file); got != want {
			t.Errorf("ShapeOf(%q) = %v, want %v", file, got, want)
		}
	}
}

func TestRules(t *testing.T) {
	tests := []struct {
		shape   Shape
		content string
		want    string // "" for none
	}{
		{AnyBytes, "any \x00\xff", ""},
		{AnyBytes, "", "it is empty"},
		{AnyBytes, "12345678901", "it has 11 bytes, the limit is 10"},
		{AnyJSON, `"x"`, ""},
		{AnyJSON, "{\n x}", `it is not JSON: line 2, column 2: 'x' stands where`},
		{AnyJSON, "[1] \x00", `line 1, column 5: '\x00' stands where the end`},
		{AnyJSON, "NaN", "not finite"},
		{ListShape, `[1, "a"]`, ""},
		{ListShape, ` {}`, "line 1, column 2: want a JSON array, not an object"},
		{MapShape, `{"a": []}`, ""},
		{MapShape, `[]`, "want a JSON object, not an array"},
		{MappedListShape, `{"a": []}`, ""},
		{MappedListShape, `{"a": 1}`, "line 1, column 7 (/a): want a JSON array, not a number"},
		{MappedListShape, `{"a/":{}}`, "(/a~1): want a JSON array"},
		{DeciderShape, `{"a": 100}`, ""},
		{DeciderShape, `{}`, ""},
		{DeciderShape, `{"a": 101}`, "line 1, column 7 (/a): the value 101 is not a whole number from 0 to 100"},
		{DeciderShape, `{"a": -1}`, "the value -1"},
		{DeciderShape, `{"a":1e1}`, "the value 1e1"},
		{DeciderShape, `{"a":"5"}`, `the value "5"`},
		{DeciderShape, `{"A": 1}`, `(/A): invalid decider name "A": it is not in lower case`},
		{DeciderShape, `{"":1}`, `invalid decider name "": it is empty`},
		{DeciderShape, `50`, "want a JSON object, not a number"},
	}
	for _, test := range tests {
		err := Rules{Name: "x", Shape: test.shape, MaxSize: 10}.Check([]byte(test.content))
		switch {
		case test.want == "" && err != nil:
			t.Errorf("%v %q: %v", test.shape, test.content, err)
		case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
			t.Errorf("%v %q: %v, want %q", test.shape, test.content, err, test.want)
		case err != nil && !errors.Is(err, store.Invalid) && !errors.Is(err, store.TooLarge):
			t.Errorf("%v %q: the kind of %v is %v", test.shape, test.content, err, store.KindOf(err))
		}
	}
}

func TestRulesNameTheFirstFaults(t *testing.T) {
	err := Rules{Name: "config.x", Shape: DeciderShape}.Check([]byte(`{"b": 101, "a": -1, "c": 1, "d": 1.5, "e": null, "f": [], "g": {}}`))
	want := `checking the content of "config.x": invalid: ` +
		`line 1, column 7 (/b): the value 101 is not a whole number from 0 to 100; ` +
		`line 1, column 17 (/a): the value -1 is not a whole number from 0 to 100; ` +
		`line 1, column 34 (/d): the value 1.5 is not a whole number from 0 to 100; ` +
		`line 1, column 44 (/e): the value null is not a whole number from 0 to 100; ` +
		`line 1, column 55 (/f): the value [] is not a whole number from 0 to 100; and 1 more`
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func TestSchema(t *testing.T) {
	schema, err := CompileSchema([]byte(`{
		"type": "object",
		"properties": {"hosts": {"type": "array", "items": {"type": "string", "format": "ipv4"}}, "n": {"type": "integer", "maximum": 10}},
		"required": ["hosts"]
	}`))
	if err != nil {
		t.Fatal(err)
	}
	for content, want := range map[string]string{
		`{"hosts": ["10.0.0.1"], "n": 10}`:              "",
		`{"n": 10}`:                                     "line 1, column 1: missing property 'hosts'",
		"{\"hosts\": [\"10.0.0.1\",\n \"10.0.0.256\"]}": "line 2, column 2 (/hosts/1): '10.0.0.256' is not valid ipv4",
		`{"hosts": "x", "n": 1e-999999999}`:             "(/hosts): got string, want array",
		`{"hosts": [], "n": 1e999999999}`:               "not finite",
		`{"hosts": [], "n": 11}`:                        "(/n): maximum: got 11, want 10",
		`x`:                                             "not JSON",
	} {
		err := Rules{Name: "x", Schema: schema}.Check([]byte(content))
		if want == "" && err != nil || want != "" && (!errors.Is(err, store.Invalid) || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", content, err, want)
		}
	}
	for text, want := range map[string]string{
		`{"type": "objekt"}`:               "line 1, column 10 (/type)",
		"{\n\"type\": ":                    "line 2, column 9",
		`{"$ref": "file:///etc/passwd"}`:   "lies outside of the schema",
		`{"$ref": "http://example.com/s"}`: "lies outside of the schema",
		`{"pattern": "("}`:                 "(/pattern)",
		`{"$schema": "http://x/y"}`:        "lies outside of the schema",
		``:                                 "not JSON",
		`[]`:                               "",
	} {
		if _, err := CompileSchema([]byte(text)); !errors.Is(err, store.Invalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("CompileSchema(%s): %v, want %q", text, err, want)
		}
	}
}

func FuzzRules(f *testing.F) {
	schema, err := CompileSchema([]byte(`{"type": "object", "additionalProperties": {"type": "array", "items": {"maximum": 5, "multipleOf": 0.5}, "uniqueItems": true}}`))
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{`{"a": [1, 2.5]}`, `[]`, `{"a": [1e400]}`, `{"a": [1e-400, 6, 1, 1]}`, `{"a": 101}`, `{"a/~": {"b": "\ud800"}}`, "\x00"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, content string) {
		for _, rules := range []Rules{{Shape: ListShape}, {Shape: MapShape}, {Shape: MappedListShape}, {Shape: DeciderShape}, {Schema: schema}} {
			if err := rules.Check([]byte(content)); err != nil && !errors.Is(err, store.Invalid) {
				t.Errorf("%+v.Check(%q): %v", rules, content, err)
			}
		}
	})
}
