package integration

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
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

	d.put(textName, "two\n")
	d.put(textName, "three\n")
	d.put(deciderMap, "two\n")
	d.put(feed, "20\n")
	d.put(deciderMap, "three\n")
	d.put("decider/created", "5\n")

	source := filepath.Join(s.work, "source")
	mustWrite(t, source, "two\n")
	env := []string{"SRC=" + source, "F=" + s.m.config(textName), "DECIDER=" + s.m.config(feed), "CREATED=" + s.m.config("decider/created")}
	for _, script := range []string{`cp "$SRC" "$F"`, `cat "$SRC" "$SRC" > "$F"`, `echo 20 > "$DECIDER"`, `echo 5 > "$CREATED"`} {
		if ran := s.as(member, script, env...); ran.code != 0 {
			t.Errorf("%q exited with %d and said %q", script, ran.code, ran.stderr)
		}
	}
	for _, path := range watched {
		for _, w := range control.watchers[path] {
			t.Logf("%s of %q on plain files: %v", w.kind, path, w.events())
		}
	}
	control.awaitEvents("decider", "created")
	for path, watchers := range served.watchers {
		for i, w := range watchers {
			want := fmt.Sprint(control.watchers[path][i].events())
			await(t, fmt.Sprintf("%s of %q to see %s", w.kind, path, want), func() error {
				seen := w.events()
				for name, events := range seen {
					seen[name] = slices.DeleteFunc(events, func(event string) bool { return strings.HasPrefix(event, "CLOSE_WRITE") })
				}
				if got := fmt.Sprint(seen); got != want {
					return fmt.Errorf("it saw %s", got)
				}
				return nil
			})
		}
	}
}

// A temporary file that is renamed onto a config is one, to who watches the
// directory, in the mount as elsewhere.
func TestWatchersSeeARename(t *testing.T) {
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
