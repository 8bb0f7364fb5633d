package integration

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// watched is a line that `kingpin config watch --output json` prints.
type watched struct {
	Name    string    `json:"name"`
	Version string    `json:"version"`
	ModTime time.Time `json:"mtime"`
	Content string    `json:"content"`
}

// watchCommand is a running `kingpin config watch --output json` of a config
// whose contents are numbers that grow.
type watchCommand struct {
	*process
}

// startWatchCommand runs it until the test ends, when it must exit with 0. It
// knows nothing of the fleet.
func startWatchCommand(t testing.TB, dir, name string) *watchCommand {
	t.Helper()
	w := &watchCommand{startProcess(t, exec.Command(binary(t), "config", "watch", "--config-dir", dir, "--output", "json", name))}
	t.Cleanup(func() {
		if w.running() {
			w.signal(syscall.SIGTERM)
		}
		if code := w.wait(); code != 0 {
			t.Errorf("config watch exited with %d", code)
		}
	})
	return w
}

// printed returns all that it has printed.
func (w *watchCommand) printed() []watched {
	w.t.Helper()
	var all []watched
	text := w.stdout.String()
	for line := range strings.Lines(text[:strings.LastIndex(text, "\n")+1]) {
		var v watched
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			w.t.Fatalf("it printed %q: %v", line, err)
		}
		all = append(all, v)
	}
	return all
}

// await waits until the n-th content is the last that it has printed, and checks
// that all are in their order. It returns that version.
func (w *watchCommand) await(n int) watched {
	w.t.Helper()
	var last watched
	await(w.t, fmt.Sprintf("config watch to print %d", n), func() error {
		all := w.printed()
		if len(all) == 0 {
			return errNotYet
		}
		if last = all[len(all)-1]; last.Content != strconv.Itoa(n) {
			return fmt.Errorf("it printed %q last", last.Content)
		}
		return nil
	})
	before := -1
	for _, v := range w.printed() {
		number, err := strconv.Atoi(v.Content)
		if err != nil || number <= before {
			w.t.Fatalf("it printed %q after %d", v.Content, before)
		}
		before = number
	}
	return last
}

// TestConfigWatch runs `kingpin config watch` through all that can become of a
// monitor: what it prints are the versions, each once and in their order.
func TestConfigWatch(t *testing.T) {
	t.Parallel()
	eachFace(t, func(t *testing.T, mode string) {
		f := newFleet(t, gofakes3)
		f.run("dependency", "create", "web.dep")
		name := f.newConfig("spam", "watched", "web.dep")
		cfg := monitorConfig{Mode: mode, Dependencies: []string{"web.dep"}, Dirs: f.newDirs()}
		w := startWatchCommand(t, cfg.Dirs.config, name) // before anything is there
		w.awaitLine(0, "there is no such file; waiting")
		early := w.stderr.String()

		n := 0
		var version string
		put := func() {
			t.Helper()
			n++
			version = f.put(name, strconv.Itoa(n))
		}
		seen := func() {
			t.Helper()
			last := w.await(n)
			if want := map[string]string{"fuse": version}[mode]; last.Version != want || last.ModTime.UnixNano() != versionTime(t, version) || last.Name != name {
				t.Errorf("it printed %+v, the version is %s", last, version)
			}
		}
		put()
		m := f.startMonitor(cfg)
		seen()
		put()
		seen()

		for range 3 { // the worker
			if err := unix.Kill(m.status().WorkerPID, unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
			put()
			seen()
		}

		if mode == "fuse" { // by an operator; the mount comes back
			if err := unix.Unmount(cfg.Dirs.config, unix.MNT_FORCE|unix.MNT_DETACH); err != nil {
				t.Fatal(err)
			}
			put()
			w.await(n)
			await(t, "the mount to come back", func() error {
				if len(mountsBelow(t, filepath.Dir(cfg.Dirs.config))) < 2 {
					return errNotYet
				}
				return nil
			})
			put()
			seen()
		}

		m.terminate()
		put()
		m = f.startMonitor(cfg)
		seen()
		m.kill()
		put()
		f.startMonitor(cfg)
		seen()
		put()
		seen()

		// Gone with the subscription, and back.
		f.run("dependency", "remove", "web.dep", name)
		w.awaitLine(len(early), "there is no such file; waiting")
		f.run("dependency", "add", "web.dep", name)
		put()
		seen()
	})
}

// TestConfigWatchCommand runs a command with each version of a decider.
func TestConfigWatchCommand(t *testing.T) {
	t.Parallel()
	eachFace(t, func(t *testing.T, mode string) {
		f := newFleet(t, gofakes3)
		f.run("dependency", "create", "web.dep")
		f.newConfig("admin", "decider", "web.dep")
		version := f.put(deciderMap, `{"feature": 10}`)
		m := f.startMonitor(monitorConfig{Mode: mode, Dependencies: []string{"web.dep"}})
		w := f.start("", "config", "watch", "--config-dir", m.dirs.config, "decider/feature", "--",
			"sh", "-c", `echo "$KINGPIN_NAME ${KINGPIN_VERSION:-unknown} $(cat)"`)
		shown := func(version string) string {
			if mode == "plain" {
				return "unknown"
			}
			return version
		}
		w.awaitOutput(w.stdout, 0, "^decider/feature "+shown(version)+" 10\n")
		version = f.put(deciderMap, `{"feature": 20}`)
		w.awaitOutput(w.stdout, 0, "^decider/feature "+shown(version)+" 20\n")
		w.signal(syscall.SIGINT)
		if code := w.wait(); code != 0 {
			t.Errorf("it exited with %d", code)
		}
	})
}

// TestServersetWatch prints the members that come and go.
func TestServersetWatch(t *testing.T) {
	t.Parallel()
	eachFace(t, func(t *testing.T, mode string) {
		f := newFleet(t, gofakes3)
		f.run("dependency", "create", "web.dep")
		name := f.newServerset("search", "prod", "web.dep")
		f.zk.join("/discovery/search/prod", "10.0.0.1:80")
		f.zk.join("/discovery/search/prod", "10.0.0.2:80")
		m := f.startMonitor(monitorConfig{Mode: mode, Dependencies: []string{"web.dep"}})
		w := f.start("", "serverset", "watch", "--serverset-dir", m.dirs.serverset, name)
		awaitPrinted := func(want string) {
			t.Helper()
			await(t, fmt.Sprintf("%q to be printed", want), func() error {
				if got := w.stdout.String(); got != want {
					return fmt.Errorf("it printed %q", got)
				}
				return nil
			})
		}
		all := lines("10.0.0.1:80", "10.0.0.2:80")
		awaitPrinted(all)
		third := f.zk.join("/discovery/search/prod", "10.0.0.3:80")
		all += lines("10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80")
		awaitPrinted(all)
		f.zk.remove(third)
		all += lines("10.0.0.1:80", "10.0.0.2:80")
		awaitPrinted(all)
		w.signal(syscall.SIGTERM)
		if code := w.wait(); code != 0 {
			t.Errorf("it exited with %d", code)
		}
	})
}
