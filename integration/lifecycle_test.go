package integration

import (
	"errors"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// oneConfig creates a dependency web.dep with one config that holds a content,
// and returns the config's name.
func (f *fleet) oneConfig(content string) string {
	f.t.Helper()
	f.run("dependency", "create", "web.dep")
	name := f.newConfig("spam", "grey_list", "web.dep")
	f.put(name, content)
	return name
}

// SIGTERM ends a monitor cleanly whatever its files are used for; what it served
// stays in its place as plain files.
func TestTerminateUnmounts(t *testing.T) {
	t.Parallel()
	uses := map[string]func(t *testing.T, m *monitor, name string){
		"idle": func(*testing.T, *monitor, string) {},
		"with an open file": func(t *testing.T, m *monitor, name string) {
			fd, err := openFile(m.config(name))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { unix.Close(fd) })
		},
		"with a working directory inside": func(t *testing.T, m *monitor, _ string) {
			cmd := exec.Command("cat")
			cmd.Dir = m.dirs.config
			input, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			cat := startProcess(t, cmd)
			// What comes back shows that it runs, in its directory.
			if _, err := io.WriteString(input, "here\n"); err != nil {
				t.Fatal(err)
			}
			cat.awaitOutput(cat.stdout, 0, "here")
		},
	}
	eachFace(t, func(t *testing.T, mode string) {
		for what, use := range uses {
			t.Run(what, func(t *testing.T) {
				f := newFleet(t, gofakes3)
				name := f.oneConfig("one")
				m := f.startMonitor(monitorConfig{Mode: mode, Dependencies: []string{"web.dep"}})
				if mode == "fuse" {
					m.awaitMounts()
				} else if mounts := mountsBelow(t, filepath.Dir(m.dirs.config)); len(mounts) > 0 {
					t.Fatalf("the mounts are %q", mounts)
				}
				use(t, m, name)
				m.terminate()
				if err := has(m.config(name), "one"); err != nil {
					t.Errorf("after the monitor's end: %v", err)
				}
			})
		}
	})
}

func TestAdminKill(t *testing.T) {
	t.Parallel()
	eachFace(t, func(t *testing.T, mode string) {
		f := newFleet(t, gofakes3)
		name := f.oneConfig("one")
		m := f.startMonitor(monitorConfig{Mode: mode, Dependencies: []string{"web.dep"}})
		if code, _ := m.request(http.MethodGet, "/admin/kill"); code != http.StatusMethodNotAllowed || !m.running() {
			t.Fatalf("GET /admin/kill: %d; the monitor runs: %v", code, m.running())
		}
		m.post("/admin/kill")
		m.mustEnd()
		if err := has(m.config(name), "one"); err != nil {
			t.Errorf("after the monitor's end: %v", err)
		}
	})
}

// A second monitor is told who is in its way, and is in nobody's.
func TestSecondMonitorIsRefused(t *testing.T) {
	t.Parallel()
	eachFace(t, func(t *testing.T, mode string) {
		f := newFleet(t, gofakes3)
		name := f.oneConfig("one")
		m := f.startMonitor(monitorConfig{Mode: mode, Dependencies: []string{"web.dep"}})
		others := f.newDirs()
		before := mustStat(t, m.config(name))
		for what, d := range map[string]dirs{
			"all directories":         m.dirs,
			"the config directory":    {m.dirs.config, others.serverset, others.state},
			"the serverset directory": {others.config, m.dirs.serverset, others.state},
			"the state directory":     {others.config, others.serverset, m.dirs.state},
		} {
			for _, otherMode := range []string{"fuse", "plain", "auto"} {
				second := f.launchMonitor(monitorConfig{Mode: otherMode, Dependencies: []string{"web.dep"}, Dirs: d})
				if code := second.wait(); code != 3 {
					t.Errorf("a %s monitor on %s of another: exit code %d, not 3", otherMode, what, code)
				}
				// The last line is what a person reads.
				message := second.stderr.tail(2)
				if !strings.Contains(message, strconv.Itoa(m.pid())) {
					t.Errorf("a %s monitor on %s of another doesn't say that %d is in its way:\n%s", otherMode, what, m.pid(), message)
				}
			}
		}
		if after := mustStat(t, m.config(name)); after != before {
			t.Errorf("the first one's file was %+v and is %+v", before, after)
		}
		f.put(name, "two")
		m.awaitConfig(name, "two")
		m.terminate()

		// Now that it is gone there is room.
		m = f.startMonitor(monitorConfig{Mode: mode, Dependencies: []string{"web.dep"}, Dirs: m.dirs})
		if err := has(m.config(name), "two"); err != nil {
			t.Error(err)
		}
	})
}

// What kill -9 leaves is taken away: by the worker of a monitor that was killed,
// and if that was killed, too, by the next monitor.
func TestRestartAfterKill(t *testing.T) {
	t.Parallel()
	eachFace(t, func(t *testing.T, mode string) {
		f := newFleet(t, gofakes3)
		name := f.oneConfig("one")
		cfg := monitorConfig{Mode: mode, Dependencies: []string{"web.dep"}, Dirs: f.newDirs()}
		for round, killBoth := range []bool{false, true, true, false} {
			m := f.startMonitor(cfg)
			worker := m.workerPID()
			if round > 1 { // somebody keeps the mount, or its corpse, busy
				fd, err := openFile(m.config(name))
				if err != nil {
					t.Fatal(err)
				}
				defer unix.Close(fd)
			}
			if killBoth {
				// Stopped first, so that it takes nothing away in between.
				kill(t, worker, syscall.SIGSTOP)
				m.signal(syscall.SIGKILL)
				kill(t, worker, syscall.SIGKILL)
			}
			m.kill() // and wait for both
			if mode == "fuse" && killBoth {
				if _, err := readFile(m.config(name)); !errors.Is(err, unix.ENOTCONN) {
					t.Fatalf("round %d: behind the dead mount: %v, not ENOTCONN", round, err)
				}
			} else if err := has(m.config(name), "one"); err != nil {
				t.Errorf("round %d: after kill -9: %v", round, err)
			}
			if left := mountsBelow(t, filepath.Dir(m.dirs.config)); !killBoth && len(left) > 0 {
				t.Errorf("round %d: after kill -9 the worker left the mounts %q", round, left)
			}
		}
		m := f.startMonitor(cfg)
		if err := has(m.config(name), "one"); err != nil {
			t.Error(err)
		}
		if mode == "fuse" {
			m.awaitMounts()
		}
		f.put(name, "two")
		m.awaitConfig(name, "two")
	})
}

// SIGHUP reads everything again, and changes nothing that hasn't changed.
func TestHangupReadsEverythingAgain(t *testing.T) {
	t.Parallel()
	eachFace(t, func(t *testing.T, mode string) {
		f := newFleet(t, gofakes3)
		name := f.oneConfig("one")
		m := f.startMonitor(monitorConfig{Mode: mode, Dependencies: []string{"web.dep"}})
		before := mustStat(t, m.config(name))
		was, _ := m.file(name)
		published := m.metrics()["kingpin_published_total"]
		m.signal(syscall.SIGHUP)
		await(t, "the config to be read again", func() error {
			if now, _ := m.file(name); now.SyncedAt == nil || !now.SyncedAt.After(*was.SyncedAt) {
				return errNotYet
			}
			return nil
		})
		if after := mustStat(t, m.config(name)); after != before {
			t.Errorf("stat was %+v and is %+v", before, after)
		}
		if now := m.metrics()["kingpin_published_total"]; now != published {
			t.Errorf("%v versions were published, and now %v", published, now)
		}
	})
}
