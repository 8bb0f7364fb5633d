package integration

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// deciderMap is the config whose entries are files in decider/.
const deciderMap = "config.manageddata.admin.decider"

// Whoever watches a file or a directory sees what it would see if somebody
// replaced plain files: compared with exactly that.
func TestWatchersSeeWhatPlainFilesCause(t *testing.T) {
	kinds := slices.Sorted(maps.Keys(watcherKinds))
	kinds = append(kinds, kinds[0]) // two of a kind
	eachFace(t, func(t *testing.T, mode string) {
		f := newFleet(t, gofakes3)
		f.run("dependency", "create", "web.dep")
		changed, removed := f.newConfig("spam", "changed", "web.dep"), f.newConfig("spam", "removed", "web.dep")
		f.newConfig("admin", "decider", "web.dep")
		const created, last = "config.manageddata.spam.created", "config.manageddata.spam.last"
		f.put(changed, "one\n")
		f.put(removed, "one\n")
		f.put(deciderMap, `{"changed": 1, "kept": 1, "removed": 1}`)
		m := f.startMonitor(monitorConfig{Mode: mode, Dependencies: []string{"web.dep"}})

		f.settleWatches(m, changed)

		d := newPlainDir(t)
		for _, name := range []string{changed, removed, deciderMap, "decider/changed", "decider/kept", "decider/removed"} {
			d.put(name, "one\n")
		}
		files := []string{changed, removed, "decider/changed", "decider/removed"}
		watched := append([]string{".", "decider"}, files...)
		control := watchScene(t, d.dir, kinds, watched...)
		served := watchScene(t, m.dirs.config, kinds, watched...)

		d.put(changed, "two\n")
		d.put(created, "one\n")
		d.remove(removed)
		d.put(deciderMap, "two\n")
		d.put("decider/changed", "2\n")
		d.put("decider/created", "2\n")
		d.remove("decider/removed")
		d.put(last, "one\n")
		d.put("decider/last", "1\n")
		control.awaitEvents(".", last, 1)
		control.awaitEvents("decider", "last", 1)
		for _, path := range files {
			for _, w := range control.watchers[path] {
				w.awaitOutput(w.stdout, 0, `^(DELETE_SELF|REMOVE|deleted) `)
			}
		}
		for path, watchers := range control.watchers {
			for _, w := range watchers {
				t.Logf("%s of %q on plain files: %v", w.kind, path, w.events())
			}
		}

		f.put(changed, "two\n")
		m.awaitConfig(changed, "two\n")
		f.newConfig("spam", "created", "web.dep")
		f.put(created, "one\n")
		m.awaitConfig(created, "one\n")
		f.run("dependency", "remove", "web.dep", removed)
		await(t, removed+" to go", func() error { return gone(m.config(removed)) })
		f.put(deciderMap, `{"changed": 2, "created": 2, "kept": 1, "last": 1}`)
		m.awaitConfig("decider/last", "1\n")
		f.newConfig("spam", "last", "web.dep")
		f.put(last, "one\n")
		m.awaitConfig(last, "one\n")
		served.awaitSame(control)
	})
}

// Who begins to watch a file that has just been published is told how it ends, and
// not how it came to be there, which of a plain file nobody hears either.
func TestWatchingWhatIsNew(t *testing.T) {
	t.Parallel()
	eachFace(t, func(t *testing.T, mode string) {
		f := newFleet(t, gofakes3)
		f.run("dependency", "create", "web.dep")
		name := f.newConfig("spam", "new", "web.dep")
		f.put(name, "0")
		m := f.startMonitor(monitorConfig{Mode: mode, Dependencies: []string{"web.dep"}})
		startWatcher(t, "inotifywait", m.dirs.config) // so that there is something to tell
		w := startWatcher(t, "inotifywait", m.config(name))
		for n := range 20 {
			content := fmt.Sprint(n + 1)
			f.put(name, content)
			m.awaitConfig(name, content)
			next := startWatcher(t, "inotifywait", m.config(name)) // before all is told, at times
			w.awaitOutput(w.stdout, 0, "^DELETE_SELF ")
			if seen := fmt.Sprint(w.events()); seen != "map[:[ATTRIB DELETE_SELF]]" {
				t.Errorf("who watched version %d saw %s", n, seen)
			}
			w.kill()
			w = next
		}
	})
}

// However a burst of changes is told, who reads when something is told ends up
// with the last one. That is so for each of two who watch, and for tail -F.
func TestWatchersSeeTheLastOfABurst(t *testing.T) {
	t.Parallel()
	eachFace(t, func(t *testing.T, mode string) {
		f := newFleet(t, gofakes3)
		f.run("dependency", "create", "web.dep")
		name := f.newConfig("spam", "burst", "web.dep")
		f.newConfig("admin", "decider", "web.dep")
		f.put(deciderMap, `{"burst": 0}`)
		content := func(n int) string { return fmt.Sprintf("%d\n", n) }
		next := 0
		f.publishRaw("/config/manageddata/spam/burst", seriesVersion(next), content(next))
		m := f.startMonitor(monitorConfig{Mode: mode, Dependencies: []string{"web.dep"}})

		tail := startProcess(t, tailCommand(t, m.config(name)))
		tail.awaitOutput(tail.stdout, 0, `^0\n`)
		type reader struct {
			*watcher
			name string // of the file to read when there is an event
		}
		var readers []reader
		for _, kind := range []string{"inotifywait", "fsnotify", "inotifywait"} {
			readers = append(readers,
				reader{startWatcher(t, kind, m.dirs.config), name},
				reader{startWatcher(t, kind, filepath.Dir(m.config("decider/burst"))), "decider/burst"})
		}

		for range 3 {
			for range 20 {
				next++
				f.publishRaw("/config/manageddata/spam/burst", seriesVersion(next), content(next))
				f.publishRaw("/config/manageddata/admin/decider", laterVersion(next), fmt.Sprintf(`{"burst": %d}`, next))
			}
			for _, r := range readers {
				at := 0
				last := "" // read after the event before
				await(t, fmt.Sprintf("%s to lead to version %d of %s", r.kind, next, r.name), func() error {
					if told := strings.Count(r.stdout.String(), filepath.Base(r.name)); told > at {
						at = told
						last = mustRead(t, m.config(r.name))
					}
					if last != content(next) {
						return fmt.Errorf("after %d events it had been led to %q", at, last)
					}
					return nil
				})
			}
			tail.awaitOutput(tail.stdout, 0, fmt.Sprintf(`^%d\n`, next))
		}
	})
}

// laterVersion is seriesVersion, but later than what `kingpin config put` makes.
func laterVersion(n int) string { return "9" + seriesVersion(n) }

// Nobody watches, and so nothing is done for watchers; as soon as somebody does,
// it is.
func TestNothingIsRenamedWhileNobodyWatches(t *testing.T) {
	t.Parallel()
	f := newFleet(t, gofakes3)
	f.run("dependency", "create", "web.dep")
	name := f.newConfig("spam", "quiet", "web.dep")
	f.put(name, "0")
	m := f.startMonitor(monitorConfig{Mode: "fuse", Dependencies: []string{"web.dep"}})
	renames := func() (count float64) {
		for sample, value := range m.metrics() {
			if strings.HasPrefix(sample, `kingpin_fuse_requests_total{operation="RENAME`) {
				count += value
			}
		}
		return count
	}
	for n := range 20 {
		f.put(name, fmt.Sprint(n+1))
		m.awaitConfig(name, fmt.Sprint(n+1))
	}
	if count := renames(); count != 0 {
		t.Errorf("there were %v renames, though nobody watches", count)
	}
	// Watching another filesystem is of no matter.
	startWatcher(t, "inotifywait", f.dir)
	startWatcher(t, "inotifywait", m.dirs.serverset)
	f.put(name, "unseen")
	m.awaitConfig(name, "unseen")

	w := startWatcher(t, "inotifywait", m.dirs.config)
	f.put(name, "seen")
	w.awaitOutput(w.stdout, 0, "MOVED_TO .*"+name)
	if count := renames(); count != 1 {
		t.Errorf("there were %v renames for the one version that somebody watched for", count)
	}
}
