package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kingpinfs/kingpin/internal/devcluster"
	"github.com/kingpinfs/kingpin/internal/devcluster/devtest"
)

// unit is a monitor under a stand-in for systemd.
type unit struct {
	*monitor
	service *devtest.SystemdService
	stderr  *transcript
}

// newUnit makes a unit, whose service isn't started.
func (f *fleet) newUnit(mode string, storeMax int, watchdog time.Duration) *unit {
	f.t.Helper()
	port, err := devcluster.FreePort()
	if err != nil {
		f.t.Fatal(err)
	}
	u := &unit{
		monitor: &monitor{process: &process{t: f.t}, f: f, mode: mode, dirs: f.newDirs(), adminAddr: "127.0.0.1:" + strconv.Itoa(port)},
		stderr:  newTranscript(),
	}
	f.t.Cleanup(func() {
		if f.t.Failed() {
			f.t.Logf("stderr of the unit:\n%s", u.stderr.tail(200))
		}
	})
	u.service = devtest.Systemd(f.t, devtest.SystemdConfig{
		StoreMax: storeMax, Watchdog: watchdog,
		Command: func() *exec.Cmd {
			cmd := exec.Command(binary(f.t), "monitor", "--mode", mode, "--admin-addr", u.adminAddr, "-d", boxDep,
				"--config-dir", u.dirs.config, "--serverset-dir", u.dirs.serverset, "--state-dir", u.dirs.state)
			cmd.Env, cmd.Dir, cmd.Stderr = f.env(), f.dir, u.stderr
			return cmd
		},
	})
	return u
}

// mountOf returns the line of /proc/self/mountinfo of what is mounted at a path;
// "" if nothing is.
func mountOf(t testing.TB, path string) string {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if fields := strings.Fields(line); fields[4] == path {
			return line
		}
	}
	return ""
}

// TestMountsAreHandedOver restarts a monitor, and kills it and its worker, while
// the service manager keeps its descriptors. The mounts stay: reads wait while
// nobody serves, and none fails; nobody sees anything older.
func TestMountsAreHandedOver(t *testing.T) {
	t.Parallel()
	needFUSE(t)
	f := newFleet(t, gofakes3)
	names := f.subscribe("changed", "quiet")
	f.publish("changed", 1)
	f.publish("quiet", 1)
	u := f.newUnit("fuse", 32, 0)
	u.service.Start()
	u.service.Await("READY=1")
	watchReads(u.monitor, names...)
	mount := mountOf(t, u.dirs.config)
	stored := u.service.Stored()
	for _, name := range []string{"config-dev", "config-ledger", "config-root", "serverset-dev", "serverset-ledger", "serverset-root"} {
		if !slices.Contains(stored, name) {
			t.Errorf("the service manager keeps %q, without %q", stored, name)
		}
	}
	restart := func(end func()) func() {
		return func() {
			end()
			u.service.Start()
		}
	}
	for i, way := range []struct {
		name string
		do   func()
	}{
		{"restarted", func() {
			if state := u.service.Restart(); state.ExitCode() != 0 {
				t.Errorf("at a restart it ends with %v", state)
			}
		}},
		{"the holder is killed", restart(func() {
			u.service.Signal(syscall.SIGKILL)
			u.service.Wait()
		})},
		{"both are killed", restart(u.service.KillAll)},
		{"the worker, then the holder is killed", restart(func() {
			kill(t, u.workerPID(), syscall.SIGKILL)
			u.service.Signal(syscall.SIGKILL)
			u.service.Wait()
		})},
		{"restarted again", func() { u.service.Restart() }},
	} {
		t.Log(way.name)
		n := i + 2
		fd, err := openFile(u.config(names[0]))
		if err != nil {
			t.Fatal(err)
		}
		worker := u.workerPID()
		way.do()
		f.publish("changed", n)
		u.service.Await("READY=1")
		u.awaitSoon(names[0], n)
		u.mustServe(names[1], 1)
		mustKeep(t, fd, numbered(n-1, contentSize))
		if now := mountOf(t, u.dirs.config); now != mount {
			t.Errorf("the mount was\n%sand is\n%s", mount, now)
		}
		if s := u.awaitOtherWorker(worker); s.Mode != "fuse" || s.HolderPID != u.service.PID() {
			t.Errorf("the status is %+v", s)
		}
		if now := u.service.Stored(); !slices.Equal(now, stored) {
			t.Errorf("the service manager kept %q and keeps %q", stored, now)
		}
	}
	if state := u.service.Stop(); state.ExitCode() != 0 {
		t.Errorf("when stopped it ends with %v", state)
	}
	if left := mountsBelow(t, filepath.Dir(u.dirs.config)); len(left) > 0 {
		t.Errorf("when stopped it leaves the mounts %q", left)
	}
	for _, name := range names {
		if err := has(u.config(name), numbered(map[string]int{names[0]: 6, names[1]: 1}[name], contentSize)); err != nil {
			t.Errorf("when stopped: %v", err)
		}
	}
}

// TestRestartWhereNobodyKeepsMounts restarts a monitor whose descriptors nobody
// keeps: the mounts are taken away, and the plain files serve until it is back.
func TestRestartWhereNobodyKeepsMounts(t *testing.T) {
	t.Parallel()
	needFUSE(t)
	f := newFleet(t, gofakes3)
	names := f.subscribe("changed")
	f.publish("changed", 1)
	u := f.newUnit("fuse", 0, 0)
	u.service.Start()
	u.service.Await("READY=1")
	watchReads(u.monitor, names...)
	u.service.Signal(syscall.SIGUSR2)
	if state := u.service.Wait(); state.ExitCode() != 0 {
		t.Errorf("it ends with %v", state)
	}
	if left := mountsBelow(t, filepath.Dir(u.dirs.config)); len(left) > 0 {
		t.Errorf("it leaves the mounts %q", left)
	}
	u.mustServe(names[0], 1)
	u.service.Start()
	u.service.Await("READY=1")
	u.awaitMounts()
	u.mustServe(names[0], 1)
}

// TestOtherDirectoryAfterARestart starts a monitor with other directories than
// those of which the service manager keeps the mounts: these go.
func TestOtherDirectoryAfterARestart(t *testing.T) {
	t.Parallel()
	needFUSE(t)
	f := newFleet(t, gofakes3)
	names := f.subscribe("changed")
	f.publish("changed", 1)
	other := f.newDirs()
	u := f.newUnit("fuse", 32, 0)
	u.service.Start()
	u.service.Await("READY=1")
	before := u.dirs
	u.service.Signal(syscall.SIGUSR2)
	u.service.Wait()
	u.dirs = other
	u.service.Start()
	u.service.Await("READY=1")
	u.awaitMounts()
	u.mustServe(names[0], 1)
	if left := mountsBelow(t, filepath.Dir(before.config)); len(left) > 0 {
		t.Errorf("it leaves the mounts %q", left)
	}
	if err := has(filepath.Join(before.config, names[0]), numbered(1, contentSize)); err != nil {
		t.Error(err)
	}
}

// TestServiceManagerIsTold checks what the service manager hears of a monitor.
func TestServiceManagerIsTold(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"fuse", "plain"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, gofakes3)
			f.subscribe("changed")
			f.publish("changed", 1)
			u := f.newUnit(mode, 32, 20*time.Second)
			u.service.Start()
			ready := u.service.Await("READY=1")
			if status := ready.Value("STATUS"); !strings.HasPrefix(status, "ready mode="+mode+" configs=1 ") {
				t.Errorf("with READY=1 the status is %q", status)
			}
			var now unix.Timespec
			if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
				t.Fatal(err)
			}
			u.service.Signal(syscall.SIGHUP)
			reloading := u.service.Await("RELOADING=1")
			if at, err := strconv.ParseInt(reloading.Value("MONOTONIC_USEC"), 10, 64); err != nil || at < now.Nano()/1000 {
				t.Errorf("at %d µs it says %q", now.Nano()/1000, reloading.Lines)
			}
			u.service.Await("READY=1")
			worker := u.workerPID()
			kill(t, worker, syscall.SIGKILL)
			u.awaitOtherWorker(worker)
			u.service.Await("WATCHDOG=1")
			for _, m := range u.service.Messages() {
				if m.PID != u.service.PID() {
					t.Errorf("process %d says %q, and isn't the main one, %d", m.PID, m.Lines, u.service.PID())
				}
			}
			u.service.Signal(syscall.SIGTERM)
			u.service.Await("STOPPING=1")
			if state := u.service.Wait(); state.ExitCode() != 0 {
				t.Errorf("it ends with %v", state)
			}
			if stored := u.service.Stored(); len(stored) > 0 {
				t.Errorf("when stopped it leaves %q with the service manager", stored)
			}
		})
	}
}
