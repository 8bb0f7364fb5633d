package integration

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// killWorker kills the process that serves and returns its pid.
func (m *monitor) killWorker() int {
	m.t.Helper()
	s := m.status()
	if s.WorkerPID == s.HolderPID {
		m.t.Fatalf("the holder, pid %d, is the worker, too", s.HolderPID)
	}
	if err := unix.Kill(s.WorkerPID, unix.SIGKILL); err != nil {
		m.t.Fatal(err)
	}
	return s.WorkerPID
}

// children returns the processes that a process has started.
func children(t testing.TB, pid int) []int {
	t.Helper()
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		t.Fatal(err)
	}
	var all []int
	for _, list := range lists {
		text, err := os.ReadFile(list)
		if err != nil {
			continue // that thread is gone
		}
		for _, field := range strings.Fields(string(text)) {
			child, err := strconv.Atoi(field)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, child)
		}
	}
	return all
}

// stopWorkers stops each worker until the monitor has given up and its mounts
// are gone.
func (m *monitor) stopWorkers() {
	m.t.Helper()
	await(m.t, "the mounts to be taken away", func() error {
		left := mountsBelow(m.t, filepath.Dir(m.dirs.config))
		if len(left) == 0 {
			return nil
		}
		for _, pid := range children(m.t, m.pid()) {
			// One that isn't a worker yet would keep the holder in its fork(2).
			if command, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); strings.Contains(string(command), "monitor-worker") {
				_ = unix.Kill(pid, unix.SIGSTOP) // it may be gone
			}
		}
		return fmt.Errorf("mounts are left: %q", left)
	})
}

// awaitMounts waits until all that the monitor serves is mounted.
func (m *monitor) awaitMounts() {
	m.t.Helper()
	await(m.t, "the mounts to be there", func() error {
		// The configs', the one within it for those who write, and the serversets'.
		if found := mountsBelow(m.t, filepath.Dir(m.dirs.config)); len(found) != 3 {
			return fmt.Errorf("there are %q", found)
		}
		return nil
	})
}

// Who watches when a worker is killed goes on seeing what changes, and every
// change: those that the dead one didn't tell, its successor does.
func TestWatchersOutliveTheWorker(t *testing.T) {
	t.Parallel()
	f := newFleet(t, gofakes3)
	f.run("dependency", "create", "web.dep")
	name, quiet := f.newConfig("spam", "changed", "web.dep"), f.newConfig("spam", "quiet", "web.dep")
	f.newConfig("admin", "decider", "web.dep")
	f.put(name, "0")
	f.put(quiet, "0")
	f.put(deciderMap, `{"feature": 0}`)
	m := f.startMonitor(monitorConfig{Mode: "fuse", Dependencies: []string{"web.dep"}})
	f.settleWatches(m, name)
	kinds := slices.Sorted(maps.Keys(watcherKinds))
	s := watchScene(t, m.dirs.config, kinds, ".", "decider", quiet)
	told := func(path, name string) (counts []int) {
		for _, w := range s.watchers[path] {
			counts = append(counts, len(w.events()[name]))
		}
		return counts
	}
	const kills = 6
	for n := range kills {
		configs, deciders := told(".", name), told("decider", "feature")
		if n%2 == 0 {
			m.killWorker()
		}
		f.put(name, strconv.Itoa(n+1))
		f.put(deciderMap, fmt.Sprintf(`{"feature": %d}`, n+1))
		if n%2 != 0 {
			m.killWorker()
		}
		for path, before := range map[string][]int{".": configs, "decider": deciders} {
			changed := map[string]string{".": name, "decider": "feature"}[path]
			for i, w := range s.watchers[path] {
				await(t, fmt.Sprintf("%s to see another change of %s", w.kind, changed), func() error {
					if now := told(path, changed); now[i] <= before[i] {
						return fmt.Errorf("it saw %d", now[i])
					}
					return nil
				})
			}
		}
		if err := has(m.config(name), strconv.Itoa(n+1)); err != nil {
			t.Errorf("after what was told: %v", err)
		}
	}
	for _, w := range s.watchers[quiet] {
		if seen := w.events(); len(seen) > 0 {
			t.Errorf("%s saw, of a file that didn't change, %v", w.kind, seen)
		}
	}
	f.put(quiet, "1")
	for _, w := range s.watchers[quiet] {
		w.awaitOutput(w.stdout, 0, `^(DELETE_SELF|REMOVE|deleted) `)
	}
}

// When workers hang, the mounts are taken away and the plain files serve, until
// the mounts come back. Who watches by inotify alone is told that what it
// watched is gone, and can watch anew; `kingpin config watch` does that by
// itself, and prints nothing twice and nothing older.
func TestWatchersThroughAFallback(t *testing.T) {
	f := newFleet(t, gofakes3)
	f.run("dependency", "create", "web.dep")
	name := f.newConfig("spam", "watched", "web.dep")
	f.put(name, "1")
	m := f.startMonitor(monitorConfig{Mode: "fuse", Dependencies: []string{"web.dep"}})
	command := startWatchCommand(t, m.dirs.config, name)
	mounted := command.await(1)
	if mounted.Version == "" {
		t.Errorf("it printed %+v", mounted)
	}
	on := startWatcher(t, "python", m.dirs.config)

	start := time.Now()
	m.stopWorkers()
	t.Logf("the mounts were taken away %v after the first worker hung", time.Since(start).Round(time.Millisecond))
	on.awaitOutput(on.stdout, 0, "^UNMOUNT ")
	if err := has(m.config(name), "1"); err != nil {
		t.Errorf("after the mount was taken away: %v", err)
	}
	f.put(name, "2")
	command.await(2)

	m.awaitMounts()
	again := startWatcher(t, "python", m.dirs.config)
	f.put(name, "3")
	again.awaitOutput(again.stdout, 0, "^MOVED_TO .*"+name)
	if got := command.await(3); got.Version == "" {
		t.Errorf("with the mount back it printed %+v", got)
	}
}
