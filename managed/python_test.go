package managed

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/kingpinfs/kingpin/internal/pyjson"
	"github.com/kingpinfs/kingpin/store"
)

// pythonSeedEnv repeats a run's choices.
const pythonSeedEnv = "KINGPIN_PYTHON_SEED"

// pythonChange is a line of testdata/changes.py.
type pythonChange struct {
	structure, text, field, item string
	after                        string // what Python writes
}

// pythonChanges returns random changes, made by Debian's Python.
func pythonChanges(t *testing.T, count int) []pythonChange {
	t.Helper()
	seed := os.Getenv(pythonSeedEnv)
	if seed == "" {
		seed = fmt.Sprint(rand.Uint32())
	}
	t.Logf("%s=%s", pythonSeedEnv, seed)
	cmd := exec.CommandContext(t.Context(), "/usr/bin/python3", "testdata/changes.py", fmt.Sprint(count), seed)
	output, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v: run `make deps`, which installs python3", cmd, err)
	}
	var changes []pythonChange
	for line := range bytes.Lines(output) {
		var c [5]string
		if err := json.Unmarshal(line, &c); err != nil {
			t.Fatal(err)
		}
		changes = append(changes, pythonChange{c[0], c[1], c[2], c[3], c[4]})
	}
	return changes
}

// Whoever wrote a value, after a change of ours its text is the one that Python
// writes after the same change, byte for byte: what isn't changed too.
func TestChangesAgreeWithPython(t *testing.T) {
	b := newBench(t)
	files := map[string]string{"list": b.config(t, "spam", "list"), "map": b.config(t, "spam", "map"), "mapped list": b.config(t, "spam", "mapped")}
	options := Options{Client: b.Client}
	list, fields, lists := NewList("spam", "list", options), NewMap("spam", "map", options), NewMappedList("spam", "mapped", options)
	const count = 2000
	written, refused := 0, 0
	changes := pythonChanges(t, count)
	for _, c := range changes {
		file := files[c.structure]
		b.put(t, file, c.text)
		var err error
		switch c.structure {
		case "list":
			_, err = list.Add(t.Context(), who, c.item)
		case "map":
			_, err = fields.Set(t.Context(), who, c.field, c.item)
		default:
			_, err = lists.Add(t.Context(), who, c.field, c.item)
		}
		got, getErr := b.Get(t.Context(), file)
		if getErr != nil {
			t.Fatal(getErr)
		}
		switch {
		case err == nil && sameText(got.Content, c):
			written++
		case err == nil:
			t.Errorf("in the %s %.300q we change %q, %q and make\n%.300s\nand Python\n%.300s", c.structure, c.text, c.field, c.item, got.Content, c.after)
		case errors.Is(err, store.Invalid) && !everybodysJSON(t, c.after) && string(got.Content) == c.text:
			refused++
		default:
			t.Errorf("changing %q, %q in the %s %.300q: %v; it is %.300s", c.field, c.item, c.structure, c.text, err, got.Content)
		}
	}
	t.Logf("%d were written and %d refused", written, refused)
	if len(changes) != count || written < count/4 || refused < count/20 {
		t.Errorf("of %d changes %d were written and %d refused: that shows little", len(changes), written, refused)
	}
}

// sameText tells whether a content is what Python writes, or what was there if
// that means the same: what changes nothing isn't written.
func sameText(content []byte, c pythonChange) bool {
	if string(content) == c.after {
		return true
	}
	before, err := pyjson.Parse([]byte(c.text))
	return err == nil && string(content) == c.text && string(before.Append(nil, c.structure != "list")) == c.after
}

// everybodysJSON tells whether a text of Python's is what others call JSON: one
// that isn't is refused.
func everybodysJSON(t *testing.T, text string) bool {
	t.Helper()
	v, err := pyjson.Parse([]byte(text))
	if err != nil {
		t.Fatalf("%.300s: %v", text, err)
	}
	return v.Check([]byte(text)) == nil
}

// The same below the rules that refuse what only Python understands.
func TestTextsAgreeWithPython(t *testing.T) {
	for _, c := range pythonChanges(t, 2000) {
		v, err := pyjson.Parse([]byte(c.text))
		if err != nil {
			t.Errorf("%.300q, which Python reads: %v", c.text, err)
			continue
		}
		switch c.structure {
		case "list":
			v = addTexts(v, []string{c.item})
		case "map":
			v = v.With(c.field, pyjson.Text(c.item))
		default:
			items, _ := v.Field(c.field)
			v = v.With(c.field, addTexts(items, []string{c.item}))
		}
		if got := string(v.Append(nil, c.structure != "list")); got != c.after {
			t.Errorf("of the %s %.300q with %q, %q we make\n%.300s\nand Python\n%.300s", c.structure, c.text, c.field, c.item, got, c.after)
		}
		again, err := pyjson.Parse([]byte(c.after))
		if err != nil || !again.Equal(v) || !strings.HasPrefix(c.after, "[") && string(again.Append(nil, true)) != c.after {
			t.Errorf("Python's %.300s is read as %.300s, %v", c.after, again, err)
		}
	}
}
