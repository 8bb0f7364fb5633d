package integration

import (
	"fmt"
	"path/filepath"
	"testing"
)

// Who watches sees of a write through the mount what it would see if the file had
// been replaced, as of any other change. Before that it sees the writer open the
// old file and close it unwritten, which is the kernel's way to the new one.
func TestWatchersSeeAWriteAsAReplacement(t *testing.T) {
	s := newWriteScene(t, newFleet(t, gofakes3), writeConfig)
	s.settleWatches(s.m, textName)
	d := newPlainDir(t)
	for _, name := range []string{limitsName, textName, deciderMap, feed} {
		d.put(name, "one\n")
	}
	kinds := []string{"inotifywait", "python"}
	files := []string{textName, feed}
	watched := append([]string{".", "decider"}, files...)
	control := watchScene(t, d.dir, kinds, watched...)
	served := watchScene(t, s.m.dirs.config, kinds, watched...)

	source := filepath.Join(s.work, "source")
	mustWrite(t, source, "two\n")
	env := []string{"SRC=" + source, "F=" + s.m.config(textName), "DECIDER=" + s.m.config(feed), "CREATED=" + s.m.config("decider/created")}
	told := map[string]int{} // how often who watches the directory has been told, by name
	for _, step := range []struct {
		script string
		names  []string // of what it changes
	}{
		{`cp "$SRC" "$F"`, []string{textName}},
		{`echo 20 > "$DECIDER"`, []string{deciderMap, feed}},
		{`cat "$SRC" "$SRC" > "$F"`, []string{textName}},
		{`echo 5 > "$CREATED"`, []string{deciderMap, "decider/created"}},
	} {
		for _, name := range step.names {
			d.put(name, step.script)
		}
		if ran := s.as(member, step.script, env...); ran.code != 0 {
			t.Errorf("%q exited with %d and said %q", step.script, ran.code, ran.stderr)
		}
		// Changes that come too soon after each other are told as one.
		for _, name := range step.names {
			told[name]++
			control.awaitEvents(filepath.Dir(name), filepath.Base(name), told[name])
			served.awaitEvents(filepath.Dir(name), filepath.Base(name), told[name])
		}
	}
	for path, watchers := range served.watchers {
		for i, w := range watchers {
			await(t, fmt.Sprintf("%s of %q to see what happens to plain files", w.kind, path), func() error {
				if got, want := fmt.Sprint(w.replacements()), fmt.Sprint(control.watchers[path][i].replacements()); got != want {
					return fmt.Errorf("it saw %s, not %s", got, want)
				}
				return nil
			})
		}
	}
}

// A temporary file that is renamed onto a config is one, to who watches the
// directory, in the mount as elsewhere.
func TestWatchersSeeARename(t *testing.T) {
	t.Parallel()
	s := newWriteScene(t, newFleet(t, gofakes3), writeConfig)
	s.settleWatches(s.m, textName)
	w := startWatcher(t, "inotifywait", s.m.dirs.config)
	file := startWatcher(t, "inotifywait", s.m.config(textName))
	script := `set -C && echo two > "$D/.two" && mv -f "$D/.two" "$F"`
	if ran := s.as(member, script, "D="+s.m.dirs.config, "F="+s.m.config(textName)); ran.code != 0 {
		t.Fatalf("it exited with %d and said %q", ran.code, ran.stderr)
	}
	w.awaitOutput(w.stdout, 0, "^MOVED_TO .*/"+textName)
	file.awaitOutput(file.stdout, 0, "^DELETE_SELF ")
	if err := has(s.m.config(textName), "two\n"); err != nil {
		t.Error(err)
	}
}
