package follow_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kingpinfs/kingpin/internal/follow"
)

// What a monitor does: it mounts over the directory, keeps the files beneath
// current, and takes the mount away.
func TestFollowsMounts(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	replace(t, path, "plain 1")
	beneath, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer beneath.Close()
	replaceBeneath := func(content string) {
		t.Helper()
		if err := beneath.WriteFile(".new", []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := beneath.Rename(".new", "file"); err != nil {
			t.Fatal(err)
		}
	}
	f := start(t, path, follow.Options{})
	f.wants("plain 1")

	unmount := mount(t, dir)
	f.misses()
	replaceBeneath("plain 2") // nobody sees it
	replace(t, path, "mount 1")
	f.wants("mount 1")
	replaceBeneath("plain 3")
	replace(t, path, "mount 2")
	f.wants("mount 2")

	// In use, it goes from its place all the same.
	user, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer user.Close()
	unmount()
	f.wants("plain 3")
	replace(t, path, "plain 4")
	f.wants("plain 4")

	// Twice, one over the other.
	lower := mount(t, dir)
	f.misses()
	replace(t, path, "lower 1")
	f.wants("lower 1")
	upper := mount(t, dir)
	f.misses()
	replace(t, path, "upper 1")
	f.wants("upper 1")
	upper()
	f.wants("lower 1")
	replace(t, path, "lower 2")
	f.wants("lower 2")
	lower()
	f.wants("plain 4")
}

// A mount that appears over a directory further up.
func TestFollowsMountsAbove(t *testing.T) {
	base := t.TempDir()
	dir := mkdir(t, filepath.Join(base, "a", "b"))
	path := filepath.Join(dir, "file")
	replace(t, path, "one")
	f := start(t, path, follow.Options{})
	f.wants("one")
	unmount := mount(t, base)
	f.misses()
	mkdir(t, dir)
	replace(t, path, "two")
	f.wants("two")
	unmount()
	f.wants("one")
}

// The directory is one that only a mount has.
func TestFollowsIntoMounts(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "decider", "file")
	f := start(t, path, follow.Options{})
	f.misses()
	unmount := mount(t, dir)
	mkdir(t, filepath.Dir(path))
	replace(t, path, "one")
	f.wants("one")
	unmount()
	f.misses()
}

// A filesystem that doesn't answer doesn't keep Run from ending.
func TestEndsThoughTheFilesystemHangs(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("mounting takes root: run the tests as root, or by `make test`, which uses sudo")
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	replace(t, path, "one")
	f := start(t, path, follow.Options{})
	f.wants("one")

	server, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		t.Fatalf("%v: run `make deps`, which installs fuse3; in a container add --device /dev/fuse", err)
	}
	defer server.Close()
	options := fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", server.Fd())
	if err := unix.Mount("kingpin-test", dir, "fuse.kingpin-test", 0, options); err != nil {
		t.Fatal(err)
	}
	hanging := true
	heal := func() {
		if hanging {
			hanging = false
			if err := unix.Unmount(dir, unix.MNT_FORCE|unix.MNT_DETACH); err != nil {
				t.Error(err)
			}
		}
	}
	defer heal()
	g := start(t, path, follow.Options{})
	for _, f := range []*following{f, g} {
		f.cancel()
		select {
		case err := <-f.done:
			f.done <- err
		case <-time.After(patience):
			t.Fatal("Run doesn't return")
		}
	}
	heal()

	// The aborted filesystem's errors are over at once, and so never told.
	f = start(t, path, follow.Options{})
	f.wants("one")
}
