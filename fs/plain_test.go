package fs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// plainVolume is newVolume with the plain face.
func plainVolume(t testing.TB, cfg Config) *Volume {
	t.Helper()
	cfg.Mode = Plain
	v := newVolume(t, cfg)
	check(t, v.Mount(t.Context()))
	return v
}

func TestPlainPublish(t *testing.T) {
	old := unix.Umask(0o077)
	defer unix.Umask(old)
	v := plainVolume(t, Config{Subdirs: []string{"decider"}})
	if mode, why := v.Face(); mode != Plain || why == "" {
		t.Errorf("face %q, %q", mode, why)
	}
	for _, name := range []string{"x", "decider/x"} {
		path := filepath.Join(v.cfg.Dir, name)
		var inos []uint64
		for i, content := range []string{"", "content\n", strings.Repeat("long ", 100_000), "short"} {
			e := entry(content)
			e.ModTime = testTime.Add(time.Duration(i) * time.Millisecond)
			publish(t, v, name, e)
			wantFile(t, v, name, content)
			st := stat(t, path)
			if st.Mode != syscall.S_IFREG|0o444 || st.Nlink != 1 || st.Mtim.Nano() != e.ModTime.UnixNano() {
				t.Errorf("%s: %+v", name, st)
			}
			if slices.Contains(inos, st.Ino) && len(inos) > 0 && inos[len(inos)-1] == st.Ino {
				t.Errorf("%s was written in place", name)
			}
			inos = append(inos, st.Ino)
		}
		if st := stat(t, filepath.Dir(path)); name != "x" && st.Mode != syscall.S_IFDIR|0o755 {
			t.Errorf("the directory of %s has mode %o", name, st.Mode)
		}
	}
	check(t, v.Flush())
	check(t, v.Flush())
	for range 2 {
		check(t, v.Remove("x"))
	}
	if _, err := os.Stat(filepath.Join(v.cfg.Dir, "x")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a removed file: %v", err)
	}
	if got := listDir(t, filepath.Join(v.cfg.Dir, ownDir)); !slices.Equal(got, []string{lockFile}) {
		t.Errorf("%s holds %q", ownDir, got)
	}
	if n := v.Requests(); len(n) != 0 {
		t.Errorf("requests %v without a mount", n)
	}
}

func TestPlainOpenFilesKeepTheirVersion(t *testing.T) {
	v := plainVolume(t, Config{})
	publish(t, v, "x", entry("old"))
	f, err := os.Open(filepath.Join(v.cfg.Dir, "x"))
	check(t, err)
	defer f.Close()
	publish(t, v, "x", entry("new"))
	buf := make([]byte, 3)
	if _, err := f.ReadAt(buf, 0); err != nil || string(buf) != "old" {
		t.Errorf("the open file holds %q, %v", buf, err)
	}
}

func TestPlainModesAndGroup(t *testing.T) {
	needFUSE(t)
	cfg := Config{FileMode: 0o664, DirMode: 0o775, GID: 4242, Subdirs: []string{"decider"}}
	plain := plainVolume(t, cfg)
	mount := mountVolume(t, cfg)
	for _, v := range []*Volume{plain, mount} {
		publish(t, v, "decider/x", entry("x"))
		if st := stat(t, filepath.Join(v.cfg.Dir, "decider/x")); st.Mode != syscall.S_IFREG|0o664 || st.Gid != 4242 {
			t.Errorf("%s: file %+v", v.cfg.Mode, st)
		}
		if st := stat(t, filepath.Join(v.cfg.Dir, "decider")); st.Mode != syscall.S_IFDIR|0o775 {
			t.Errorf("%s: directory %+v", v.cfg.Mode, st)
		}
	}
}

func TestPlainReadBack(t *testing.T) {
	dir := t.TempDir()
	v := plainVolume(t, Config{Dir: dir, Subdirs: []string{"decider"}})
	publish(t, v, "x", entry("content"))
	publish(t, v, "decider/empty", entry(""))
	check(t, v.Close())

	v = newVolume(t, Config{Dir: dir, Subdirs: []string{"decider"}, Mode: Plain})
	for name, want := range map[string]string{"x": "content", "decider/empty": ""} {
		content, modTime, err := v.ReadLast(name)
		check(t, err)
		if string(content) != want || !modTime.Equal(testTime) {
			t.Errorf("%s: %q, %v", name, content, modTime)
		}
	}
	if len(v.Names()) != 0 {
		t.Errorf("served before they are adopted: %q", v.Names())
	}
	ino := stat(t, filepath.Join(dir, "x")).Ino
	check(t, v.Adopt("x", entry("content")))
	wantErr(t, v.Adopt("../x", entry("no name")), ErrName)
	if got := v.Names(); !slices.Equal(got, []string{"x"}) {
		t.Errorf("served: %q", got)
	}
	if stat(t, filepath.Join(dir, "x")).Ino != ino {
		t.Error("an adopted file was written again")
	}
	if _, _, err := v.ReadLast("none"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what doesn't exist: %v", err)
	}
	if _, _, err := v.ReadLast("../x"); !errors.Is(err, ErrName) {
		t.Errorf("a bad name: %v", err)
	}
	check(t, os.Mkdir(filepath.Join(dir, "directory"), 0o700))
	check(t, os.Symlink("x", filepath.Join(dir, "link")))
	check(t, unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600))
	huge := filepath.Join(dir, "huge")
	check(t, os.WriteFile(huge, nil, 0o600))
	check(t, os.Truncate(huge, maxPlain+1))
	for _, name := range []string{"directory", "link", "fifo", "huge"} {
		if _, _, err := v.ReadLast(name); err == nil || !strings.Contains(err.Error(), filepath.Join(dir, name)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPlainLeavesOthersFilesAlone(t *testing.T) {
	dir := t.TempDir()
	check(t, os.WriteFile(filepath.Join(dir, "mine"), []byte("somebody's"), 0o640))
	check(t, os.WriteFile(filepath.Join(dir, "taken"), []byte("somebody's"), 0o640))
	check(t, os.MkdirAll(filepath.Join(dir, "decider/nested"), 0o700))
	check(t, os.Mkdir(filepath.Join(dir, "directory"), 0o700))
	check(t, os.Symlink("/etc/passwd", filepath.Join(dir, "link")))
	v := plainVolume(t, Config{Dir: dir, Subdirs: []string{"decider"}})
	if got, want := v.Foreign(), []string{"decider/nested", "directory", "link", "mine", "taken"}; !slices.Equal(got, want) {
		t.Errorf("foreign: %q, want %q", got, want)
	}
	publish(t, v, "taken", entry("ours"))
	publish(t, v, "new", entry("ours"))
	wantFile(t, v, "taken", "ours")
	wantFile(t, v, "mine", "somebody's")
	for name, want := range map[string]string{"directory": "a directory", "link": "a symbolic link", "decider/nested": "a directory"} {
		for doing, err := range map[string]error{"writing": v.Publish(name, entry("x")), "removing": v.Remove(name)} {
			wantErr(t, err, nil, doing, filepath.Join(dir, name), want, "move it away")
		}
		if _, _, ok := v.Get(name); ok {
			t.Errorf("%s is served", name)
		}
	}
	if target, err := os.Readlink(filepath.Join(dir, "link")); err != nil || target != "/etc/passwd" {
		t.Errorf("the link leads to %q, %v", target, err)
	}
	if got, want := v.Foreign(), []string{"decider/nested", "directory", "link", "mine"}; !slices.Equal(got, want) {
		t.Errorf("foreign: %q, want %q", got, want)
	}
	check(t, v.Remove("mine")) // its publisher's, of an earlier run
	if got := listDir(t, dir); slices.Contains(got, "mine") {
		t.Errorf("left: %q", got)
	}
}

func TestPlainFollowsNoLinks(t *testing.T) {
	dir, elsewhere := t.TempDir(), t.TempDir()
	check(t, os.WriteFile(filepath.Join(elsewhere, "x"), []byte("somebody's"), 0o600))
	check(t, os.Symlink(elsewhere, filepath.Join(dir, "decider")))
	v := plainVolume(t, Config{Dir: dir, Subdirs: []string{"decider"}})
	if got := v.Foreign(); !slices.Equal(got, []string{"decider"}) {
		t.Errorf("foreign: %q", got)
	}
	wantErr(t, v.Publish("decider/x", entry("ours")), nil, filepath.Join(dir, "decider/x"), "not a directory", "move it away")
	wantErr(t, v.Remove("decider/x"), nil, "not a directory")
	if _, _, err := v.ReadLast("decider/x"); err == nil {
		t.Error("a file was read through a link")
	}
	content, err := os.ReadFile(filepath.Join(elsewhere, "x"))
	if err != nil || string(content) != "somebody's" {
		t.Errorf("behind the link: %q, %v", content, err)
	}
	publish(t, v, "x", entry("x"))
	// It heals when the link goes.
	check(t, os.Remove(filepath.Join(dir, "decider")))
	publish(t, v, "decider/x", entry("ours"))
	wantFile(t, v, "decider/x", "ours")
}

func TestPlainRemovesWhatACrashLeft(t *testing.T) {
	dir := t.TempDir()
	v := plainVolume(t, Config{Dir: dir})
	check(t, v.Close())
	own := filepath.Join(dir, ownDir)
	check(t, os.WriteFile(filepath.Join(own, stagePrefix+"7"), []byte("half"), 0o600))
	v = plainVolume(t, Config{Dir: dir})
	if got := listDir(t, own); !slices.Equal(got, []string{lockFile}) {
		t.Errorf("%s holds %q", ownDir, got)
	}
	// A name that is taken nevertheless does no harm for long.
	check(t, os.WriteFile(filepath.Join(own, stagePrefix+"1"), []byte("half"), 0o600))
	if err := v.Publish("x", entry("x")); !errors.Is(err, os.ErrExist) {
		t.Errorf("staging over a file: %v", err)
	}
	publish(t, v, "x", entry("x"))
	wantFile(t, v, "x", "x")
	// Nor does losing the directory.
	check(t, os.RemoveAll(own))
	publish(t, v, "x", entry("y"))
	wantFile(t, v, "x", "y")
}

// readOnly returns a directory on a filesystem of its own, and a function that
// makes that writable or not.
func readOnly(t *testing.T) (dir string, writable func(bool)) {
	t.Helper()
	needFUSE(t)
	base := t.TempDir()
	cleanMounts(t, base)
	check(t, unix.Mount("tmpfs", base, "tmpfs", 0, "size=1m"))
	dir = filepath.Join(base, "dir")
	check(t, os.Mkdir(dir, 0o755))
	return dir, func(yes bool) {
		t.Helper()
		var flags uintptr = unix.MS_REMOUNT
		if !yes {
			flags |= unix.MS_RDONLY
		}
		check(t, unix.Mount("tmpfs", base, "tmpfs", flags, ""))
	}
}

func TestPlainOnAReadOnlyFilesystem(t *testing.T) {
	dir, writable := readOnly(t)
	writable(false)
	v := plainVolume(t, Config{Dir: dir, Subdirs: []string{"decider"}})
	err := v.Publish("decider/x", entry("x"))
	wantErr(t, err, unix.EROFS, filepath.Join(dir, "decider/x"), "remount it writable")
	if _, _, ok := v.Get("decider/x"); ok {
		t.Error("what couldn't be published is served")
	}
	wantErr(t, New(Config{Dir: dir}).Open(t.Context()), ErrInUse)
	writable(true)
	publish(t, v, "decider/x", entry("x"))
	wantFile(t, v, "decider/x", "x")
	// What is open of it doesn't keep it from being made read-only again.
	writable(false)
	wantErr(t, v.Publish("decider/x", entry("y")), unix.EROFS)
	wantErr(t, v.Remove("decider/x"), unix.EROFS, "removing")
	wantFile(t, v, "decider/x", "x")
}

func TestPlainOnAFullFilesystem(t *testing.T) {
	dir, _ := readOnly(t)
	v := plainVolume(t, Config{Dir: dir})
	publish(t, v, "x", entry("x"))
	err := v.Publish("x", entry(strings.Repeat("y", 2<<20)))
	wantErr(t, err, unix.ENOSPC, "make room")
	wantFile(t, v, "x", "x")
	publish(t, v, "x", entry("z"))
	wantFile(t, v, "x", "z")
}

func TestMountWithoutACopyBeneath(t *testing.T) {
	dir, writable := readOnly(t)
	v := mountVolume(t, Config{Dir: dir})
	publish(t, v, "x", entry("old"))
	publish(t, v, "gone", entry("old"))
	check(t, v.CopyErr())
	writable(false)
	for i := range 3 {
		publish(t, v, "x", entry(fmt.Sprint(i)))
		wantFile(t, v, "x", fmt.Sprint(i))
	}
	check(t, v.Remove("gone"))
	wantErr(t, v.CopyErr(), unix.EROFS, "2 of the files beneath the mount are out of date")
	if mode, why := v.Face(); mode != FUSE || !strings.Contains(why, "out of date") {
		t.Errorf("face %q, %q", mode, why)
	}
	writable(true)
	// It is brought up to date by itself.
	await(t, "the plain files to be brought up to date", func() bool { return v.CopyErr() == nil })
	if mode, why := v.Face(); mode != FUSE || why != "" {
		t.Errorf("face %q, %q", mode, why)
	}
	writable(false)
	publish(t, v, "x", entry("last"))
	writable(true)
	publish(t, v, "other", entry("this one works and so that one is tried"))
	await(t, "the plain files to be brought up to date", func() bool { return v.CopyErr() == nil })
	check(t, v.Close())
	wantFile(t, v, "x", "last")
	if got := listDir(t, dir); slices.Contains(got, "gone") {
		t.Errorf("the plain files are %q", got)
	}
}
