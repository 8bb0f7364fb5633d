package pyjson

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
)

func mustParse(t *testing.T, text string) Value {
	t.Helper()
	v, err := Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestParseErrorsNameThePlace(t *testing.T) {
	for text, want := range map[string]string{
		"":                        "line 1, column 1: the text ends where a value is expected",
		"[1,\n 2,\n ä]":           "line 3, column 2: 'ä' stands where a value is expected",
		"{\"ä\": 1\n \"b\": 2}":   `line 2, column 2: '"' stands where ',' or '}' is expected`,
		"[1] x":                   "line 1, column 5: 'x' stands where the end is expected",
		"{\"a\": 1,}":             "line 1, column 9: '}' stands where a name in double quotes is expected",
		"\"a\xff\"":               "line 1, column 3: it is not UTF-8",
		"\"a\nb\"":                `line 1, column 3: '\n' stands in a string: it must be written as an escape`,
		`["\q"]`:                  `line 1, column 4: 'q' stands where one of "\/bfnrtu is expected`,
		`["\u12"]`:                `line 1, column 3: \u must be followed by four hexadecimal digits`,
		strings.Repeat("[", 501):  "line 1, column 501: it is nested deeper than 500 times",
		strings.Repeat("1", 4301): "line 1, column 1: a whole number has 4301 digits, and Python reads no more than 4300",
	} {
		_, err := Parse([]byte(text))
		if err == nil || err.Error() != want {
			t.Errorf("Parse(%.30q): %v, want %s", text, err, want)
		}
		if at, ok := errors.AsType[*Error](err); !ok || at.Unwrap() == nil {
			t.Errorf("Parse(%.30q): the error is a %T", text, err)
		}
	}
}

func TestCheck(t *testing.T) {
	for text, want := range map[string]string{
		`{"a": [1, 1e300, "😀"]}`:  "",
		"{\"a\": [1,\n NaN]}":     "line 2, column 2 (/a/1): the number is not finite, which JSON can't say",
		`-Infinity`:               "line 1, column 1: the number is not finite, which JSON can't say",
		`{"a/b~": 1e999}`:         "line 1, column 10 (/a~1b~0): the number is not finite, which JSON can't say",
		`["\ud800"]`:              "line 1, column 2 (/0): the text holds half of a surrogate pair, which is no character",
		`{"x": {"\udc00": true}}`: "line 1, column 18 (/x): a name holds half of a surrogate pair, which is no character",
	} {
		got := ""
		if err := mustParse(t, text).Check([]byte(text)); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("Check(%s): %s, want %s", text, got, want)
		}
	}
}

func TestEqual(t *testing.T) {
	same := [][2]string{{`1.0`, `1e0`}, {`{"a": 1, "b": 2}`, `{"b": 2, "a": 1}`}, {`["\u00e4"]`, `["ä"]`}, {`-0`, `0`}, {`null`, ` null`}, {`true`, `true`}}
	differ := [][2]string{{`1`, `1.0`}, {`1`, `"1"`}, {`[1]`, `[1, 1]`}, {`{"a": 1}`, `{"a": 2}`}, {`{"a": 1}`, `{"b": 1}`}, {`true`, `false`}, {`0.0`, `-0.0`}, {`[1, 2]`, `[2, 1]`}, {`null`, `false`}}
	for _, pair := range same {
		if !mustParse(t, pair[0]).Equal(mustParse(t, pair[1])) {
			t.Errorf("%s and %s differ", pair[0], pair[1])
		}
	}
	for _, pair := range differ {
		if mustParse(t, pair[0]).Equal(mustParse(t, pair[1])) {
			t.Errorf("%s and %s are equal", pair[0], pair[1])
		}
	}
}

func TestGo(t *testing.T) {
	const text = `{"a": [null, true, "x", 1, 1e2, 12345678901234567890], "b": "\ud800"}`
	want := map[string]any{
		"a": []any{nil, true, "x", json.Number("1"), json.Number("100.0"), json.Number("12345678901234567890")},
		"b": "\uFFFD",
	}
	if got := mustParse(t, text).Go(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %#v", got)
	}
}

func TestChange(t *testing.T) {
	v := mustParse(t, `{"b": 1, "a": 2}`)
	changed := v.With("b", Text("ü")).With("c", Texts([]string{"x"})).Without("a")
	if got, want := string(changed.Append(nil, false)), `{"b": "\u00fc", "c": ["x"]}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := v.String(), `{"a": 2, "b": 1}`; got != want {
		t.Errorf("the original became %s", got)
	}
	if got := Int(-5).String(); got != "-5" {
		t.Errorf("got %s", got)
	}
	if got := Text("a\xffb").String(); got != `"a\ufffdb"` {
		t.Errorf("what is not UTF-8 became %s", got)
	}
	if got := mustParse(t, `{"a": [0, {"b~/": "deep"}]}`).At([]string{"a", "1", "b~/", "beyond"}); got.Text != "deep" {
		t.Errorf("At leads to %s", got)
	}
}

func TestAppendIndented(t *testing.T) {
	const text = `{"b": [], "a": {}, "ü\u0000\ud800\u200b\"": [1e5, {"x": null}, "\ufffd"]}`
	const want = "{\n  \"b\": [],\n  \"a\": {},\n  \"ü\\u0000\\ud800\\u200b\\\"\": [\n    100000.0,\n    {\n      \"x\": null\n    },\n    \"\\ufffd\"\n  ]\n}"
	if got := string(mustParse(t, text).AppendIndented(nil)); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range corpus {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		v, err := Parse(text)
		if err != nil {
			if at, ok := errors.AsType[*Error](err); !ok || at.Line < 1 || at.Column < 1 {
				t.Errorf("Parse(%q): %v", text, err)
			}
			return
		}
		// What is written reads back as the same, and is written the same again.
		for _, sortKeys := range []bool{true, false} {
			written := v.Append(nil, sortKeys)
			again, err := Parse(written)
			if err != nil {
				t.Fatalf("Parse(%s), which was written: %v", written, err)
			}
			if !again.Equal(v) || string(again.Append(nil, sortKeys)) != string(written) {
				t.Errorf("%s became %s", written, again.Append(nil, sortKeys))
			}
		}
		if again, err := Parse(v.AppendIndented(nil)); err != nil || again.String() != v.String() {
			t.Errorf("%s indented is %s, %v", v, v.AppendIndented(nil), err)
		}
		// What passes Check is what everybody else calls JSON.
		if v.Check(text) == nil && !json.Valid(text) {
			t.Errorf("%q passes for JSON", text)
		}
	})
}
