package pyjson

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// corpus are texts of which Python has an opinion.
var corpus = []string{
	`null`, `true`, `false`, ` [1 ,2 ] `, `{}`, `[]`, `""`, `{"a":[],"b":{}}`, "\t{\r\n\"a\" : 1 }\n",
	`0`, `-0`, `-0.0`, `0.0`, `1`, `-17`, `1.0`, `1.10`, `100`, `1e2`, `1E2`, `1e+2`, `1e-2`, `12345678901234567890123`, `-12345678901234567890123`,
	`1e15`, `1e16`, `1e17`, `123456789012345678.0`, `0.1`, `0.0001`, `0.00001`, `0.000012345`, `1e-7`, `5e-324`, `2e-324`, `1.7976931348623157e308`,
	`1e309`, `-1e309`, `1e-400`, `9007199254740993.0`, `0.30000000000000004`, `1e22`, `1e21`, `1e23`, `4.35`, `2.675`, `1.5e300`,
	`NaN`, `Infinity`, `-Infinity`, `[NaN, -Infinity]`, `1e1000000000`, `1e-1000000000`,
	strings.Repeat("9", 4300), "-" + strings.Repeat("9", 4300), strings.Repeat("9", 4301), strings.Repeat("9", 5000) + ".0", "[" + strings.Repeat("1", 5000) + "]",
	`"plain"`, `"\"\\\/\b\f\n\r\t"`, `"\u0000\u001f\u007f\u0080\u00e4\u2028\uffff"`, "\"\x7f ä € 😀 \u2028\"", `"/"`, `"<>&'"`,
	`"\ud83d\ude00"`, `"\ud83d"`, `"\ude00"`, `"\ude00\ud83d"`, `"\ud83d\ud83d\ude00"`, `"\ud83dx\ude00"`, `"\ud83d\n"`, `"\uD83D\uDE00"`, `"\ud83d\u0041"`,
	`{"b": 1, "a": 2}`, `{"a": 1, "a": 2}`, `{"a": 1, "b": 2, "a": 3}`, `{"B": 1, "a": 2, "A": 3, "": 4, "aa": 5, "a ": 6}`,
	`{"\ud800": 1, "\ue000": 2, "\ud83d\ude00": 3, "\uffff": 4, "z": 5, "ä": 6}`, `{"z": {"y": 1, "x": [{"w": 2, "v": 3}]}, "a": 0}`, `{"10": 1, "9": 2}`,
	strings.Repeat("[", 400) + strings.Repeat("]", 400),
	// What is no JSON.
	``, ` `, `{`, `[`, `"`, `[1,]`, `[,1]`, `[1 2]`, `{"a"}`, `{"a":}`, `{"a":1,}`, `{a: 1}`, `{'a': 1}`, `{1: 2}`, `1 2`, `[1]]`, `01`, `-01`, `1.`, `.5`, `-`, `+1`, `1e`, `1e+`, `1.e1`,
	`0x10`, `1_000`, `nul`, `nullx`, `True`, `nan`, `-NaN`, `+Infinity`, `Inf`, `"\x"`, `"\u12"`, `"\u12g4"`, `"\u+123"`, `"\u 123"`, `"\`, `"\u`, "\"a\nb\"", "\"\x00\"", "\"\x1f\"", "[1]\x00", "\x00",
	"\ufeff[]", "[\u00a01]", "[1]\f", "\"\xff\"", "\xff", "\"\xed\xa0\x80\"", "\"\xc0\x80\"", "\"\xf4\x90\x80\x80\"", `"\ud83d\u00"`, `[1}`, `{"a": 1]`, `"\u１２３４"`, `１`, `1１`,
}

// python runs testdata/dumps.py with Debian's Python, and returns the lines that
// it prints.
func python(t *testing.T, input string, args ...string) []string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/usr/bin/python3", append([]string{"testdata/dumps.py"}, args...)...)
	cmd.Stdin = strings.NewReader(input)
	output, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v: run `make deps`, which installs python3", cmd, err)
	}
	return strings.Split(strings.TrimSuffix(string(output), "\n"), "\n")
}

// ours is what dumps.py prints, by this package.
func ours(text string) string {
	v, err := Parse([]byte(text))
	if err != nil {
		return "refused"
	}
	return string(v.Append(nil, false)) + "\t" + v.String()
}

func compare(t *testing.T, texts []string) {
	t.Helper()
	var input strings.Builder
	for _, text := range texts {
		input.WriteString(hex.EncodeToString([]byte(text)) + "\n")
	}
	theirs := python(t, input.String())
	if len(theirs) != len(texts) {
		t.Fatalf("Python printed %d lines for %d texts", len(theirs), len(texts))
	}
	for i, text := range texts {
		if got := ours(text); got != theirs[i] {
			t.Errorf("of %.100q we make\n%.200s\nand Python\n%.200s", text, got, theirs[i])
		}
	}
}

func TestAgreesWithPython(t *testing.T) { compare(t, corpus) }

// seedEnv repeats a run's choices.
const seedEnv = "KINGPIN_PYTHON_SEED"

func TestAgreesWithPythonOnRandomValues(t *testing.T) {
	seed := os.Getenv(seedEnv)
	if seed == "" {
		seed = fmt.Sprint(rand.Uint32())
	}
	t.Logf("%s=%s", seedEnv, seed)
	var texts []string
	for _, line := range python(t, "", "3000", seed) {
		text, err := hex.DecodeString(line)
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, string(text))
	}
	compare(t, texts)
	for _, text := range texts {
		if got, _, _ := strings.Cut(ours(text), "\t"); got != text {
			t.Errorf("of Python's %s we make %s", text, got)
		}
	}
}
