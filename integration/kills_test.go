package integration

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// How often the worker is killed.
const hundredKills = 100

// TestHundredKills kills the worker a hundred times, while versions are published,
// under all who use a mount: four readers, a loop of stat and one of ls -l, an
// open file, a watch by inotify, and a container that was given the directory
// before. Nobody gets an error, a torn content or an older one, and each change is
// told to who watches. Then the same with another build installed before each kill.
func TestHundredKills(t *testing.T) {
	needFUSE(t)
	for _, c := range []struct {
		name     string
		replaced bool
	}{{"of the same build", false}, {"and another build each time", true}} {
		t.Run(c.name, func(t *testing.T) {
			f := newContainerFleet(t, "fuse")
			program := filepath.Join(tempDir(t), "kingpin")
			install(t, binary(t), program)
			builds := [2]string{binary(t), binary(t)}
			if c.replaced {
				builds[1] = filepath.Join(filepath.Dir(program), "newer")
				build(t, builds[1], otherVersion)
			}
			f.cfg.Program = program
			f.startMonitor()
			u := startUsers(t, f)
			for n := range hundredKills {
				if c.replaced {
					install(t, builds[(n+1)%2], program)
				}
				u.kill(n)
			}
			if s := f.m.mustBeAtWork(); s.Restarts != hundredKills || s.Mode != "fuse" {
				t.Errorf("after %d kills the status is %+v", hundredKills, s)
			}
			u.stop()
		})
	}
}

// users are all who use a monitor's mount.
type users struct {
	t         *testing.T
	f         *containerFleet
	path      string // of the file that changes
	readers   *readerGroup
	loops     []*process
	watcher   *watcher
	container *container
	open      int // a descriptor
	was       string

	longest time.Duration // of one open, read and close after a kill
}

func startUsers(t *testing.T, f *containerFleet) *users {
	t.Helper()
	u := &users{t: t, f: f, path: f.m.config(f.name), was: seriesContent(f.n)}
	dir := f.m.dirs.config
	for _, loop := range []string{
		fmt.Sprintf("while stat %s >/dev/null; do sleep 0.02; done", u.path),
		fmt.Sprintf("while ls -l %s >/dev/null; do sleep 0.02; done", dir),
	} {
		u.loops = append(u.loops, startProcess(t, exec.Command("sh", "-c", loop)))
	}
	u.readers = startReaders(t, u.path, "quick", "quick", "slow", "slow")
	u.container = f.container("private")
	u.container.await(f.n)
	u.watcher = startWatcher(t, "inotifywait", dir)
	fd, err := openFile(u.path)
	if err != nil {
		t.Fatal(err)
	}
	u.open = fd
	t.Cleanup(func() { _ = unix.Close(fd) }) // stop may have
	return u
}

// told returns how often the watcher was told of the file.
func (u *users) told() int { return len(u.watcher.events()[u.f.name]) }

// kill kills the worker, before a version is published or after.
func (u *users) kill(n int) {
	u.t.Helper()
	told, worker := u.told(), u.f.m.workerPID()
	if n%2 == 0 {
		u.f.publish()
	}
	kill(u.t, worker, syscall.SIGKILL)
	start := time.Now()
	if _, err := readFile(u.path); err != nil {
		u.t.Errorf("reading after kill %d: %v", n+1, err)
	}
	u.longest = max(u.longest, time.Since(start))
	if n%2 != 0 {
		u.f.publish()
	}
	u.readers.await(u.f.n)
	u.container.await(u.f.n)
	await(u.t, fmt.Sprintf("the watcher to be told after kill %d", n+1), func() error {
		if u.told() <= told {
			return errNotYet
		}
		return nil
	})
}

// stop ends all users, who must have had no trouble.
func (u *users) stop() {
	u.t.Helper()
	for _, p := range u.loops {
		if !p.running() {
			u.t.Errorf("the loop %q ended: %s", p.cmd.Args, p.stderr)
		}
	}
	// What the kernel has in memory of it doesn't count.
	if err := unix.Fadvise(u.open, 0, 0, unix.FADV_DONTNEED); err != nil {
		u.t.Fatal(err)
	}
	mustKeep(u.t, u.open, u.was)
	for _, report := range u.readers.stop() {
		u.t.Logf("a %s reader: %d reads, %d versions", report.Kind, report.Reads, report.Versions)
		if len(report.Problems) > 0 || report.Versions < 2 {
			u.t.Errorf("a reader reports %+v", report)
		}
	}
	mustHaveRead(u.t, u.container, nothing)
	u.t.Logf("the longest open, read and close after a kill: %v", u.longest)
}
