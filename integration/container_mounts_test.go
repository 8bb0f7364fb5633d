package integration

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// containerFleet is a monitor of a series and what contains it.
type containerFleet struct {
	*fleet
	m      *monitor
	cfg    monitorConfig
	name   string // of the series' file
	newest string // what readers share, see startContainer
	n      int    // the number of the newest version
}

func newContainerFleet(t *testing.T, mode string) *containerFleet {
	t.Helper()
	f := &containerFleet{fleet: newFleet(t, gofakes3), newest: filepath.Join(tempDir(t), "newest")}
	mustWrite(t, f.newest, "")
	// Nobody in a user namespace is anybody's owner here.
	if err := unix.Chmod(f.newest, 0o666); err != nil {
		t.Fatal(err)
	}
	f.run("dependency", "create", "web.dep")
	f.name = f.newConfig("spam", "series", "web.dep")
	f.cfg = monitorConfig{Mode: mode, Dependencies: []string{"web.dep"}, Dirs: hostDirs(t)}
	f.publish()
	return f
}

func (f *containerFleet) publish() {
	f.t.Helper()
	f.n++
	f.publishRaw("/config/manageddata/spam/series", seriesVersion(f.n), seriesContent(f.n))
}

// startMonitor starts the monitor, again.
func (f *containerFleet) startMonitor() {
	f.t.Helper()
	f.m = f.fleet.startMonitor(f.cfg)
	f.m.awaitConfig(f.name, seriesContent(f.n))
}

// container starts a container that is given the directory of configs itself.
func (f *containerFleet) container(kind string) *container {
	f.t.Helper()
	return startContainer(f.t, kind, f.cfg.Dirs.config, f.name, f.newest)
}

// parentContainer starts one that is given the directory in which that lies.
func (f *containerFleet) parentContainer(kind string) *container {
	f.t.Helper()
	return startContainer(f.t, kind, filepath.Dir(f.cfg.Dirs.config), "config/"+f.name, f.newest)
}

// nothing is a pattern of no problem.
const nothing = "^$"

// mustHaveRead ends a container and checks that its reader saw several versions
// and had no problems but those that match a pattern.
func mustHaveRead(t *testing.T, c *container, excused string) {
	t.Helper()
	report := c.stop()
	t.Logf("the reader in the container %s: %d reads, %d versions", c.what, report.Reads, report.Versions)
	problems := slices.DeleteFunc(report.Problems, func(problem string) bool {
		return regexp.MustCompile(excused).MatchString(problem)
	})
	if len(problems) > 0 || report.Versions < 2 {
		t.Errorf("the reader in the container %s reports %+v", c.what, report)
	}
}

// Whatever a container's mounts are like: made before the worker is killed, they
// have what is current after it, without a failed read, and who watches there by
// inotify sees what changes.
func TestContainersOutliveTheWorker(t *testing.T) {
	t.Parallel()
	eachFace(t, func(t *testing.T, mode string) {
		f := newContainerFleet(t, mode)
		f.startMonitor()
		var containers []*container
		var watchers []*watcher
		for kind := range containerKinds {
			for _, c := range []*container{f.container(kind), f.parentContainer(kind)} {
				containers = append(containers, c)
				if kind != "rslave-user" { // nsenter would have to enter that, too
					watchers = append(watchers, c.watch())
				}
			}
		}
		for range 4 {
			before := map[*watcher]int{}
			for _, w := range watchers {
				before[w] = strings.Count(w.stdout.String(), f.name)
			}
			f.m.killWorker()
			f.publish()
			for _, c := range containers {
				c.await(f.n)
			}
			for _, w := range watchers {
				await(t, "inotifywait of "+w.path+" to see the change", func() error {
					if strings.Count(w.stdout.String(), f.name) == before[w] {
						return errNotYet
					}
					return nil
				})
			}
		}
		for _, c := range containers {
			mustHaveRead(t, c, nothing)
		}
	})
}

// A monitor that is stopped and started, or whose mounts are taken away because
// its workers hang, mounts anew. A container that is given the directory in which
// the mount is made has what the machine has, all the time; so has one that was
// given the mount's directory before the mount was there, as the mount or as the
// plain files beneath. But one that was given the mount itself keeps the former
// one, which nobody serves any more.
func TestContainersThroughOtherMounts(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change func(f *containerFleet)
		// excused are problems of reads that are under way when a mount is
		// taken away by force.
		excused string
	}{
		"restart": {change: func(f *containerFleet) {
			f.m.terminate()
			f.startMonitor()
		}, excused: nothing},
		"fallback": {change: func(f *containerFleet) {
			f.m.stopWorkers()
			f.publish()
			f.m.awaitConfig(f.name, seriesContent(f.n)) // by a plain file, perhaps
			f.m.awaitMounts()
		}, excused: "transport endpoint is not connected|software caused connection abort"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newContainerFleet(t, "fuse")
			early, beneath := f.container("rslave"), f.container("private")
			f.startMonitor()
			direct := f.container("rslave")
			var parents []*container
			for _, kind := range []string{"rslave", "rslave-user", "rslave-pid"} {
				parents = append(parents, f.parentContainer(kind))
			}
			watch := parents[0].configWatch()
			for range 2 {
				test.change(f)
				f.publish()
				f.m.awaitConfig(f.name, seriesContent(f.n))
				for _, c := range append(parents, early, beneath) {
					c.await(f.n)
				}
				if err := direct.has(f.n); !errors.Is(err, unix.ENOTCONN) && !errors.Is(err, unix.ECONNABORTED) {
					t.Errorf("the container %s, of a mount that is gone: %v", direct.what, err)
				}
				await(t, "config watch in a container to print what is new", func() error {
					all := watch.printed()
					if last := all[len(all)-1]; last.Content != seriesContent(f.n) {
						return fmt.Errorf("it printed %q last", abridged(last.Content))
					}
					return nil
				})
			}
			for _, c := range parents {
				mustHaveRead(t, c, test.excused)
			}
			for _, c := range []*container{early, beneath} { // than the first file
				mustHaveRead(t, c, "^open .*: no such file or directory$|"+test.excused)
			}
			direct.stop()
		})
	}
}

// A container that is given one file keeps the version that it was given: each
// one is a file of its own.
func TestContainersWithASingleFile(t *testing.T) {
	t.Parallel()
	eachFace(t, func(t *testing.T, mode string) {
		f := newContainerFleet(t, mode)
		f.startMonitor()
		single := startContainer(t, "rslave", f.m.config(f.name), "", filepath.Join(tempDir(t), "newest"))
		whole := f.container("rslave")
		f.publish()
		whole.await(f.n)
		if err := single.has(f.n - 1); err != nil {
			t.Errorf("the container %s: %v", single.what, err)
		}
		single.stop()
		whole.stop()
	})
}

// A monitor in a container: the machine gets its mounts if they propagate there,
// as by Docker's rshared or Kubernetes' Bidirectional; if not, the machine has the
// plain files beneath.
func TestMonitorInAContainer(t *testing.T) {
	t.Parallel()
	for _, propagation := range []string{"unchanged", "private"} {
		t.Run(propagation, func(t *testing.T) {
			f := newContainerFleet(t, "fuse")
			f.cfg.Wrap = []string{"unshare", "--mount", "--propagation", propagation}
			other := f.parentContainer("rslave")
			f.startMonitor()
			if propagation == "unchanged" {
				f.m.awaitMounts()
			} else if found := mountsBelow(t, filepath.Dir(f.cfg.Dirs.config)); len(found) > 0 {
				t.Errorf("the machine has the mounts %q", found)
			}
			other.await(f.n)
			f.m.killWorker()
			f.publish()
			f.m.awaitConfig(f.name, seriesContent(f.n))
			other.await(f.n)
			f.m.terminate()
			if err := other.has(f.n); err != nil {
				t.Errorf("after the monitor was stopped: %v", err)
			}
			other.stop()
		})
	}
}

// Without the device, or the right to mount, a monitor in a container serves
// plain files, and says why.
func TestMonitorInAnUnprivilegedContainer(t *testing.T) {
	t.Parallel()
	needProgram(t, "setpriv")
	for name, wrap := range map[string][]string{
		"no device":        {"unshare", "--mount", "--propagation", "private", "sh", "-ec", `mount -t tmpfs tmpfs /dev; mknod -m 666 /dev/null c 1 3; exec "$0" "$@"`},
		"no CAP_SYS_ADMIN": {"setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newContainerFleet(t, "auto")
			f.cfg.Wrap = wrap
			f.startMonitor()
			if !strings.HasPrefix(f.m.ready, "ready mode=plain ") {
				t.Errorf("it is %q", f.m.ready)
			}
			f.m.awaitLine(0, "reason=")
		})
	}
}
