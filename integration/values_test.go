package integration

import (
	"strings"
	"testing"
)

// wantRefusal checks a command's exit code, and that its error says a text. A
// code of 0 stands for any but success.
func wantRefusal(t testing.TB, r result, code int, text string) {
	t.Helper()
	if r.code == 0 || code != 0 && r.code != code {
		t.Errorf("the exit code is %d, not %d\n%s", r.code, code, r.stderr)
	}
	if !strings.Contains(r.stderr, text) {
		t.Errorf("the error doesn't say %q:\n%s", text, r.stderr)
	}
}

// historyEntry is a line of `kingpin config history --output json`.
type historyEntry struct {
	Version string `json:"version"`
	Size    int    `json:"size"`
	Author  string `json:"author"`
	Comment string `json:"comment"`
	Current bool   `json:"current"`
}

func TestVersionsAreKept(t *testing.T) {
	t.Parallel()
	eachS3(t, func(t *testing.T, kind s3Kind) {
		f := newFleet(t, kind)
		name := f.newConfig("spam", "grey_list")
		f.newConfig("spam", "grey_list_2") // whose keys begin with the other's
		f.put("config.manageddata.spam.grey_list_2", "somebody else's")
		contents := []string{"one", "two\n", "drei, mit Umlaut: ü, und einer Null: \x00"}
		var versions []string
		for _, content := range contents {
			versions = append(versions, f.put(name, content, "--author", "alice@example", "--comment", "say “"+content[:3]+"”"))
		}
		for i, version := range versions {
			// Not run, which takes a line's end away.
			if r := f.try("", "config", "get", name, "--version", version); r.code != 0 || r.stdout != contents[i] {
				t.Errorf("version %s is %q (exit code %d), not %q", version, r.stdout, r.code, contents[i])
			}
		}
		if r := f.try("", "config", "get", name); r.stdout != contents[2] {
			t.Errorf("the current content is %q, not %q", r.stdout, contents[2])
		}
		var history []historyEntry
		f.runJSON(&history, "config", "history", name)
		if len(history) != len(contents) {
			t.Fatalf("the history is %+v", history)
		}
		for i, entry := range history {
			j := len(contents) - 1 - i // the newest comes first
			want := historyEntry{versions[j], len(contents[j]), "alice@example", "say “" + contents[j][:3] + "”", i == 0}
			if entry != want {
				t.Errorf("line %d of the history is %+v, not %+v", i, entry, want)
			}
		}
		wantRefusal(t, f.try("", "config", "get", name, "--version", "17.5"), 1, "has no version 17.5")
	})
}

func TestConditionalPut(t *testing.T) {
	t.Parallel()
	eachS3(t, func(t *testing.T, kind s3Kind) {
		f := newFleet(t, kind)
		name := f.newConfig("spam", "grey_list")
		first := f.put(name, "one", "--expect-version", "")
		wantRefusal(t, f.try("lost", "config", "put", name, "-", "--expect-version", ""), 3, first)
		second := f.put(name, "two", "--expect-version", first)
		wantRefusal(t, f.try("lost", "config", "put", name, "-", "--expect-version", first), 3, second)
		if got := f.run("config", "get", name); got != "two" {
			t.Errorf("the content is %q", got)
		}
		var history []historyEntry
		f.runJSON(&history, "config", "history", name)
		if len(history) != 2 {
			t.Errorf("refused writes left versions: %+v", history)
		}
	})
}
