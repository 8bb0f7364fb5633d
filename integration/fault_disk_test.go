package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// fill uses up a filesystem to the last byte, and returns what gives the room
// back.
func fill(t testing.TB, dir string) (empty func()) {
	t.Helper()
	path := filepath.Join(dir, "filler")
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CREAT|unix.O_CLOEXEC, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	for block := make([]byte, 4096); err == nil; {
		_, err = unix.Write(fd, block)
	}
	if err != unix.ENOSPC {
		t.Fatalf("filling %s: %v", dir, err)
	}
	return func() {
		t.Helper()
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

// remount makes a tmpfs read-only or writable again. It fails while somebody
// has a file open for writing, which passes.
func remount(t testing.TB, dir string, flags uintptr) {
	t.Helper()
	await(t, "the filesystem to be remounted", func() error {
		return unix.Mount("kingpin-test", dir, "tmpfs", unix.MS_REMOUNT|flags, "")
	})
}

// awaitWarning waits until the status warns of something, in one warning that
// holds all of these texts.
func (m *monitor) awaitWarning(texts ...string) {
	m.t.Helper()
	await(m.t, fmt.Sprintf("a warning in the status of %q", texts), func() error {
		warnings := m.status().Warnings
		for _, w := range warnings {
			if containsAll(w, texts...) {
				return nil
			}
		}
		return fmt.Errorf("its warnings are %q", warnings)
	})
}

// awaitNoWarning waits until the status warns of nothing.
func (m *monitor) awaitNoWarning() {
	m.t.Helper()
	await(m.t, "the status to warn of nothing", func() error {
		if warnings := m.status().Warnings; len(warnings) > 0 {
			return fmt.Errorf("its warnings are %q", warnings)
		}
		return nil
	})
}

func containsAll(text string, parts ...string) bool {
	for _, part := range parts {
		if !strings.Contains(text, part) {
			return false
		}
	}
	return true
}

// TestDiskFullOrReadOnly fills up the filesystem beneath the served directory,
// and makes it read-only, while a config changes. A mount serves the change all
// the same and says that the files beneath it are behind; plain files stay what
// they were and say why. Both heal by themselves.
func TestDiskFullOrReadOnly(t *testing.T) {
	t.Parallel()
	f := newFleet(t, gofakes3)
	names := f.subscribe("changed", "quiet")
	f.publish("changed", 1)
	f.publish("quiet", 1)
	disks := map[*monitor]string{}
	var faces []*monitor
	for _, mode := range []string{"fuse", "plain"} {
		disk := tmpfs(t, 4)
		m := f.launchFace(mode, monitorConfig{Dirs: dirs{
			filepath.Join(disk, "config"), filepath.Join(disk, "serverset"), filepath.Join(tempDir(t), "state"),
		}})
		m.awaitReady()
		watchReads(m, names...)
		disks[m] = disk
		faces = append(faces, m)
	}
	mend := map[*monitor]func(){}
	for i, trouble := range []struct {
		name, says, advice string
		begin              func(m *monitor)
	}{
		{"full", "no space left on device", "make room", func(m *monitor) { mend[m] = fill(t, disks[m]) }},
		{"read-only", "read-only file system", "remount it writable", func(m *monitor) {
			remount(t, disks[m], unix.MS_RDONLY)
			mend[m] = func() { remount(t, disks[m], 0) }
		}},
	} {
		t.Log(trouble.name)
		n := i + 2
		for _, m := range faces {
			trouble.begin(m)
		}
		f.publish("changed", n)
		for _, m := range faces {
			if m.mode == "fuse" {
				m.awaitSoon(names[0], n)
				m.awaitState(names[0], "fresh", `^$`)
				m.awaitWarning("out of date", trouble.says, trouble.advice, m.config(names[0]))
			} else {
				m.awaitState(names[0], "stale", trouble.says+`.*`+trouble.advice)
				m.mustServe(names[0], n-1)
			}
			m.mustServe(names[1], 1)
		}
		for _, m := range faces {
			mend[m]()
		}
		for _, m := range faces {
			m.awaitSoon(names[0], n)
			m.awaitState(names[0], "fresh", `^$`)
			m.awaitNoWarning()
			m.mustBeWell()
		}
	}
	for _, m := range faces {
		m.terminate()
		// What lies beneath a mount is what it served.
		m.mustServe(names[0], 3)
		m.mustServe(names[1], 1)
	}
}

// TestStateDiskFull fills up the filesystem of the state directory: everything
// is served as ever, and the status says what that means for a restart. Once
// there is room the state is saved again, without a change to be saved.
func TestStateDiskFull(t *testing.T) {
	t.Parallel()
	b, f := startBackends(t)
	names := f.subscribe("changed", "quiet")
	f.publish("changed", 1)
	f.publish("quiet", 1)
	var faces []*monitor
	var all []*readers
	disks := map[*monitor]string{}
	for _, mode := range []string{"fuse", "plain"} {
		disk := tmpfs(t, 1)
		d := f.newDirs()
		d.state = filepath.Join(disk, "state")
		m := f.launchFace(mode, monitorConfig{Dirs: d})
		m.awaitReady()
		all = append(all, watchReads(m, names...))
		disks[m] = disk
		faces = append(faces, m)
	}
	last := 1
	for _, m := range faces {
		empty := fill(t, disks[m])
		// The last page of the file has room for some records.
		for range 40 {
			last++
			f.publish("changed", last)
		}
		for _, m := range faces {
			m.awaitSoon(names[0], last)
			m.awaitState(names[0], "fresh", `^$`)
		}
		m.awaitWarning("state can't be saved", "free or mend", "no space left on device")
		empty()
		m.awaitNoWarning()
		m.mustBeWell()
	}
	// What was saved is what counts at a start without backends.
	for i, m := range faces {
		all[i].stop()
		m.kill()
	}
	b.stop(true, true)
	for _, m := range faces {
		again := f.launchFace(m.mode, monitorConfig{Dirs: m.dirs})
		again.awaitListening()
		again.awaitState(names[0], "stale", ``)
		again.mustServe(names[0], last)
		again.mustServe(names[1], 1)
	}
}
