package integration

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// unserved says of an error of reading that it is that of a mount whose monitor
// is dead.
func unserved(err error) bool {
	return errors.Is(err, unix.ENOTCONN) || errors.Is(err, unix.ECONNABORTED)
}

// TestKilledDuringChanges kills monitors with SIGKILL while a config changes all
// the time, and starts them again on what they left. The worker of a dead monitor
// takes the mounts away, so that its plain files serve. No read fails, and nobody
// ever sees anything older than what anybody has seen, not even across the kill.
func TestKilledDuringChanges(t *testing.T) {
	t.Parallel()
	const kills = 4
	f := newFleet(t, gofakes3)
	names := f.subscribe("changed", "quiet")
	f.publish("changed", 1)
	f.publish("quiet", 1)
	faces := f.startFaces(monitorConfig{})
	for _, m := range faces {
		watchReads(m, names...)
	}
	n := 1
	pace := time.NewTicker(5 * time.Millisecond)
	defer pace.Stop()
	for range kills {
		for range 30 {
			n++
			f.publish("changed", n)
			<-pace.C
		}
		for _, m := range faces {
			m.kill()
		}
		n++
		f.publish("changed", n) // what they haven't heard of
		for i, m := range faces {
			beneath := m.config(names[1])
			if m.mode == "plain" {
				if err := has(beneath, numbered(1, contentSize)); err != nil {
					t.Errorf("after the kill: %v", err)
				}
			}
			faces[i] = f.launchFace(m.mode, monitorConfig{Dirs: m.dirs})
		}
		for _, m := range faces {
			m.awaitReady()
			m.awaitSoon(names[0], n)
			m.mustServe(names[1], 1)
			m.awaitState(names[0], "fresh", `^$`)
			// What the dead one was writing is not left lying about.
			left, err := filepath.Glob(filepath.Join(m.dirs.config, ".kingpin", "new-*"))
			if err != nil || m.mode == "plain" && len(left) > 0 {
				t.Errorf("half written files are left: %q, %v", left, err)
			}
		}
	}
}

// TestMountTakenAway unmounts the mount under a running monitor, in the ways that
// there are. Readers notice nothing, because the same files lie beneath, unless
// they were waiting for an answer when it was forced away; the monitor says what
// happened, and mounts again.
func TestMountTakenAway(t *testing.T) {
	t.Parallel()
	needFUSE(t)
	for _, how := range []struct {
		name  string
		flags int
	}{{"umount -R", 0}, {"umount -l", unix.MNT_DETACH}, {"umount -f -R", unix.MNT_FORCE}, {"umount -f -l", unix.MNT_FORCE | unix.MNT_DETACH}} {
		t.Run(how.name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, gofakes3)
			names := f.subscribe("changed", "quiet")
			znode, serverset := f.subscribeServerset("search", "10.0.0.1:8001")
			f.publish("changed", 1)
			f.publish("quiet", 1)
			m := f.launchFace("fuse", monitorConfig{})
			m.awaitReady()
			if how.flags&unix.MNT_FORCE != 0 {
				watchReadsExcusing(m, unserved, names...)
			} else {
				watchReads(m, names...)
			}
			before := mustStat(t, m.config(names[1])).Mtim

			// A reader has a file open at most moments.
			await(t, "the mount to be unused for a moment", func() error { return takeAway(m.dirs.config, how.flags) })
			m.awaitLine(0, `level=WARN .*taken away by somebody.*`+m.dirs.config)
			f.publish("changed", 2)
			m.awaitSoon(names[0], 2)
			if after := mustStat(t, m.config(names[1])).Mtim; after != before {
				t.Errorf("the time of a file that didn't change was %v and is %v", before, after)
			}
			m.awaitMounts()
			await(t, "the status to tell", func() error {
				s, ok := m.tryStatus()
				if !ok || s.Mode != "fuse" || s.Restarts != 1 || !strings.Contains(s.LastExit, "to make a mount again") {
					return fmt.Errorf("it says %+v", s)
				}
				return nil
			})
			m.mustBeAtWork()
			m.mustServe(names[1], 1)
			f.zk.join(znode, "10.0.0.1:8002")
			m.awaitServerset(serverset, "10.0.0.1:8001", "10.0.0.1:8002")
			f.publish("changed", 3)
			m.awaitSoon(names[0], 3)
			m.terminate()
			m.mustServe(names[0], 3)
		})
	}
}

// takeAway takes a mount away, with what is mounted within, as umount -R does. When
// force alone was used in vain, the mount is dead all the same, and may be gone
// before the next attempt.
func takeAway(dir string, flags int) error {
	if flags&unix.MNT_DETACH == 0 {
		_ = unix.Unmount(filepath.Join(dir, ".rw"), flags) // it may be gone, or be out of reach
	}
	err := unix.Unmount(dir, flags)
	if flags == unix.MNT_FORCE && errors.Is(err, unix.EINVAL) {
		return nil
	}
	return err
}

// TestMountCovered mounts something else over the mount. It is left alone, and
// what it covered is given up; once it is gone, the monitor mounts again.
func TestMountCovered(t *testing.T) {
	t.Parallel()
	needFUSE(t)
	f := newFleet(t, gofakes3)
	names := f.subscribe("changed")
	f.publish("changed", 1)
	m := f.launchFace("fuse", monitorConfig{})
	m.awaitReady()
	if err := unix.Mount("cover", m.dirs.config, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatal(err)
	}
	m.awaitLine(0, `level=WARN .*taken away by somebody.*`+m.dirs.config)
	m.awaitLine(0, `level=WARN .*something else was mounted over it`)
	if names := listDir(t, m.dirs.config); len(names) > 0 {
		t.Errorf("what covers the mount shows %q", names)
	}
	if err := unix.Unmount(m.dirs.config, 0); err != nil {
		t.Fatal(err)
	}
	f.publish("changed", 2)
	m.awaitSoon(names[0], 2)
	await(t, "a mount", func() error {
		if s, ok := m.tryStatus(); !ok || s.Mode != "fuse" {
			return fmt.Errorf("the status is %+v", s)
		}
		return nil
	})
	m.awaitMounts()
	f.publish("changed", 3)
	m.awaitSoon(names[0], 3)
}

// TestMountAborted aborts the connection of the mount, as an administrator does
// with one that hangs: the mount, which answers nobody any more, must not stay
// in the way of the files beneath, and is made again.
func TestMountAborted(t *testing.T) {
	t.Parallel()
	needFUSE(t)
	f := newFleet(t, gofakes3)
	names := f.subscribe("changed", "quiet")
	f.publish("changed", 1)
	f.publish("quiet", 1)
	m := f.launchFace("fuse", monitorConfig{})
	m.awaitReady()
	watchReadsExcusing(m, unserved, names...)
	var st unix.Stat_t
	if err := unix.Stat(m.dirs.config, &st); err != nil {
		t.Fatal(err)
	}
	abortConnection(t, st.Dev)
	for _, name := range names {
		await(t, name+" to be served again", func() error { return has(m.config(name), numbered(1, contentSize)) })
	}
	f.publish("changed", 2)
	m.awaitSoon(names[0], 2)
	m.awaitLine(0, `level=WARN .*taken away by somebody.*`+m.dirs.config)
	m.awaitMounts()
	m.signal(syscall.SIGHUP)
	m.mustServe(names[1], 1)
	m.mustBeAtWork()
}

// abortConnection ends a FUSE mount by the kernel's control filesystem, which it
// mounts for the purpose.
func abortConnection(t testing.TB, device uint64) {
	t.Helper()
	control := filepath.Join(tempDir(t), "control")
	if err := os.Mkdir(control, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("fusectl", control, "fusectl", 0, ""); err != nil {
		t.Fatalf("mounting fusectl: %v", err)
	}
	defer func() {
		if err := unix.Unmount(control, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	}()
	abort := filepath.Join(control, strconv.FormatUint(uint64(unix.Minor(device)), 10), "abort")
	if err := os.WriteFile(abort, []byte("1"), 0o200); err != nil {
		t.Fatal(err)
	}
}
