package fs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestMountKeepsThePlainFilesCurrent(t *testing.T) {
	v := mountVolume(t, Config{Subdirs: []string{"decider"}})
	for i := range 3 {
		publish(t, v, "x", entry(fmt.Sprint(i)))
		publish(t, v, "decider/y", entry(fmt.Sprint(i)))
	}
	publish(t, v, "gone", entry("x"))
	check(t, v.Remove("gone"))
	check(t, v.Flush())
	check(t, v.Close())
	if p, err := look(v.cfg.Dir); err != nil || p.mount.Type == mountType {
		t.Fatalf("after Close: %+v, %v", p, err)
	}
	wantFile(t, v, "x", "2")
	wantFile(t, v, "decider/y", "2")
	if _, err := os.Stat(filepath.Join(v.cfg.Dir, "gone")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a removed file: %v", err)
	}
	if st := stat(t, filepath.Join(v.cfg.Dir, "x")); st.Mtim.Nano() != testTime.UnixNano() || st.Mode != syscall.S_IFREG|0o444 {
		t.Errorf("the plain file: %+v", st)
	}
}

func TestMountIsTakenFromUnderItsUsers(t *testing.T) {
	v := mountVolume(t, Config{})
	publish(t, v, "x", entry("x"))
	publish(t, v, "unread", entry("unread"))
	cached, err := os.Open(filepath.Join(v.cfg.Dir, "x"))
	check(t, err)
	defer cached.Close()
	wantFile(t, v, "x", "x")
	unread, err := os.Open(filepath.Join(v.cfg.Dir, "unread"))
	check(t, err)
	defer unread.Close()
	check(t, v.Close())
	wantFile(t, v, "unread", "unread") // the plain one
	if got, err := io.ReadAll(cached); err != nil || string(got) != "x" {
		t.Errorf("what was read before: %q, %v", got, err)
	}
	if got, err := io.ReadAll(unread); !isDead(err) {
		t.Errorf("what wasn't read before: %q, %v", got, err)
	}
}

func TestMountFallsBackWhenItIsTakenAway(t *testing.T) {
	for name, take := range map[string]func(t *testing.T, dir string){
		"unmounted": func(t *testing.T, dir string) {
			t.Helper()
			check(t, unix.Unmount(dir, 0))
		},
		// An open file keeps the aborted mount in its place.
		"aborted": func(t *testing.T, dir string) {
			t.Helper()
			f, err := os.Open(filepath.Join(dir, "x"))
			check(t, err)
			defer f.Close()
			if err := unix.Unmount(dir, unix.MNT_FORCE); !errors.Is(err, unix.EBUSY) {
				t.Fatalf("unmounting a mount in use: %v", err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			v := mountVolume(t, Config{})
			publish(t, v, "x", entry("old"))
			wantFile(t, v, "x", "old")
			take(t, v.cfg.Dir)
			await(t, "the volume to notice", func() bool { mode, _ := v.Face(); return mode == Plain })
			if _, why := v.Face(); !strings.Contains(why, "taken away") {
				t.Errorf("the reason is %q", why)
			}
			wantFile(t, v, "x", "old")
			publish(t, v, "x", entry("new"))
			wantFile(t, v, "x", "new")
		})
	}
}

// Who is in the middle of reading when the mount is taken from its place is
// served to the end.
func TestMountServesItsLastUsers(t *testing.T) {
	v := mountVolume(t, Config{})
	content := strings.Repeat("x", 1<<20)
	publish(t, v, "x", entry(content))
	f, err := os.Open(filepath.Join(v.cfg.Dir, "x"))
	check(t, err)
	unmounted := make(chan error, 1)
	go func() { unmounted <- v.holding.Unmount(t.Context()) }()
	await(t, "the mount to leave its place", func() bool {
		p, err := look(v.cfg.Dir)
		return err == nil && p.mount.Type != mountType
	})
	publish(t, v, "x", entry("new"))
	wantFile(t, v, "x", "new")
	got, err := io.ReadAll(f)
	if err != nil || string(got) != content {
		t.Errorf("the last user reads %d bytes, %v", len(got), err)
	}
	check(t, f.Close())
	check(t, <-unmounted) // with the last user
}

func TestMountCoveredByAnother(t *testing.T) {
	v := mountVolume(t, Config{})
	publish(t, v, "x", entry("x"))
	dir := v.cfg.Dir
	check(t, unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"))
	publish(t, v, "x", entry("y"))
	check(t, v.Close())
	if p, err := look(dir); err != nil || p.mount.Type != "tmpfs" {
		t.Fatalf("somebody's mount went: %+v, %v", p, err)
	}
	check(t, unix.Unmount(dir, 0))
	if _, err := os.Stat(dir); !isDead(err) {
		t.Errorf("beneath it: %v", err)
	}
	check(t, newVolume(t, Config{Dir: dir, Mode: Plain}).Close())
	wantFile(t, v, "x", "y")
}
