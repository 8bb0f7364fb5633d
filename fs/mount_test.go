package fs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// requests returns what was asked of the volume while do ran, FORGETs left out:
// the kernel sends them whenever it likes.
func requests(v *Volume, do func()) map[string]uint64 {
	before := v.Requests()
	do()
	after := v.Requests()
	for op, n := range before {
		after[op] -= n
	}
	maps.DeleteFunc(after, func(op string, n uint64) bool {
		return n == 0 || strings.HasSuffix(op, "FORGET")
	})
	return after
}

func TestMountShowsWhatWasAdoptedAndPublished(t *testing.T) {
	needFUSE(t)
	v := newVolume(t, Config{Mode: FUSE, FSName: "kingpin-config", Subdirs: []string{"decider"}})
	publish(t, v, "before", entry("published before\n"))
	check(t, v.Adopt("adopted", entry("adopted\n")))
	mount(t, v)
	publish(t, v, "decider/after", entry("50\n"))
	if mode, why := v.Face(); mode != FUSE || why != "" {
		t.Errorf("face %q, %q", mode, why)
	}
	wantFile(t, v, "before", "published before\n")
	wantFile(t, v, "adopted", "adopted\n")
	wantFile(t, v, "decider/after", "50\n")
	var names []string
	check(t, filepath.WalkDir(v.cfg.Dir, func(path string, _ os.DirEntry, err error) error {
		names = append(names, strings.TrimPrefix(path, v.cfg.Dir))
		return err
	}))
	if want := []string{"", "/adopted", "/before", "/decider", "/decider/after"}; !slices.Equal(names, want) {
		t.Errorf("the mount holds %q, want %q", names, want)
	}
	p, err := look(v.cfg.Dir)
	check(t, err)
	if p.mount.Type != "fuse.kingpin" || p.mount.Source != "kingpin-config" {
		t.Errorf("mounted: %+v", p.mount)
	}
}

func TestMountStat(t *testing.T) {
	v := mountVolume(t, Config{Subdirs: []string{"decider"}})
	for _, size := range []int{0, 1, 512, 513, 4097} {
		e := entry(strings.Repeat("x", size))
		publish(t, v, "x", e)
		st := stat(t, filepath.Join(v.cfg.Dir, "x"))
		if st.Size != int64(size) || st.Blocks != int64(size+511)/512 || st.Blksize != 4096 || st.Nlink != 1 ||
			st.Mode != syscall.S_IFREG|0o444 || st.Uid != 0 || st.Mtim.Nano() != testTime.UnixNano() {
			t.Errorf("%d bytes: %+v", size, st)
		}
	}
	for path, nlink := range map[string]int{"": 3, "decider": 2} {
		if st := stat(t, filepath.Join(v.cfg.Dir, path)); int(st.Nlink) != nlink || st.Mode != syscall.S_IFDIR|0o755 {
			t.Errorf("directory %q: %+v", path, st)
		}
	}
	var st unix.Statfs_t
	check(t, unix.Statfs(v.cfg.Dir, &st))
	if st.Bsize != 4096 || st.Namelen != 255 || st.Blocks != 0 || st.Files != 0 {
		t.Errorf("statfs: %+v", st)
	}
}

func TestMountEveryVersionIsAnotherInode(t *testing.T) {
	v := mountVolume(t, Config{})
	path := filepath.Join(v.cfg.Dir, "x")
	e := entry("the same content")
	seen := map[uint64]bool{}
	for i := range 5 {
		e.Version = fmt.Sprintf("%d.000000", i)
		publish(t, v, "x", e)
		st := stat(t, path)
		if seen[st.Ino] {
			t.Fatalf("inode number %d is used again", st.Ino)
		}
		seen[st.Ino] = true
		if st.Mtim.Nano() != testTime.UnixNano() {
			t.Error("the time changed and the content didn't")
		}
		entries, err := os.ReadDir(v.cfg.Dir)
		check(t, err)
		listed, err := entries[0].Info()
		check(t, err)
		if sys, ok := listed.Sys().(*syscall.Stat_t); !ok || sys.Ino != st.Ino {
			t.Errorf("listed with %+v, want inode %d", listed.Sys(), st.Ino)
		}
	}
}

func TestMountOpenFilesKeepTheirVersion(t *testing.T) {
	v := mountVolume(t, Config{})
	path := filepath.Join(v.cfg.Dir, "x")
	old := strings.Repeat("old ", 100_000)
	publish(t, v, "x", entry(old))
	unread, err := os.Open(path)
	check(t, err)
	defer unread.Close()
	half, err := os.Open(path)
	check(t, err)
	defer half.Close()
	buf := make([]byte, len(old)/2)
	_, err = io.ReadFull(half, buf)
	check(t, err)
	for i := range 20 {
		publish(t, v, "x", entry(fmt.Sprintf("new %d", i)))
		wantFile(t, v, "x", fmt.Sprintf("new %d", i))
	}
	rest, err := io.ReadAll(half)
	check(t, err)
	if string(buf)+string(rest) != old {
		t.Error("a file that was half read changed")
	}
	all, err := io.ReadAll(unread)
	check(t, err)
	if string(all) != old {
		t.Error("a file that was open changed")
	}
	check(t, v.Remove("x"))
	again := make([]byte, len(old))
	_, err = unread.ReadAt(again, 0)
	check(t, err)
	if string(again) != old {
		t.Error("a file that was removed changed")
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a removed file: %v", err)
	}
}

func TestMountMappedFilesKeepTheirVersion(t *testing.T) {
	v := mountVolume(t, Config{})
	old := strings.Repeat("old ", 100_000)
	publish(t, v, "x", entry(old))
	fd, err := unix.Open(filepath.Join(v.cfg.Dir, "x"), unix.O_RDONLY, 0)
	check(t, err)
	m, err := unix.Mmap(fd, 0, len(old), unix.PROT_READ, unix.MAP_SHARED)
	check(t, err)
	check(t, unix.Close(fd))
	publish(t, v, "x", entry("new"))
	wantFile(t, v, "x", "new")
	// Read elsewhere: a page fault in this process would wait for itself if
	// the runtime stopped meanwhile.
	r, w, err := os.Pipe()
	check(t, err)
	defer r.Close()
	go func() {
		_, err := w.Write(m)
		if err != nil {
			t.Error(err)
		}
		w.Close()
	}()
	got, err := io.ReadAll(r)
	check(t, err)
	if string(got) != old {
		t.Error("a mapped file changed")
	}
	check(t, unix.Munmap(m))
}

func TestMountReadingAgainAsksNothing(t *testing.T) {
	v := mountVolume(t, Config{Subdirs: []string{"decider"}})
	content := strings.Repeat("0123456789", 30_000)
	publish(t, v, "x", entry(content))
	publish(t, v, "decider/y", entry("50\n"))
	read := func() {
		wantFile(t, v, "x", content)
		wantFile(t, v, "decider/y", "50\n")
		stat(t, filepath.Join(v.cfg.Dir, "x"))
		if _, err := os.Stat(filepath.Join(v.cfg.Dir, "none")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("what doesn't exist: %v", err)
		}
	}
	if first := requests(v, read); first["READ"] == 0 || first["LOOKUP"] != 4 {
		t.Errorf("the first time asks for %v", first)
	}
	// When something was read, the kernel takes the time of the last access for
	// changed, and asks once more.
	if second := requests(v, read); second["GETATTR"] != 1 || len(second) != 1 {
		t.Errorf("the second time asks for %v", second)
	}
	for range 3 {
		if again := requests(v, read); len(again) != 0 {
			t.Errorf("another time asks for %v", again)
		}
	}
	publish(t, v, "other", entry("other"))
	read()
	read()
	if again := requests(v, read); len(again) != 0 {
		t.Errorf("after another file's change: %v", again)
	}
	publish(t, v, "x", entry("changed"))
	got := requests(v, func() { wantFile(t, v, "x", "changed") })
	if want := map[string]uint64{"LOOKUP": 1, "GETATTR": 1, "READ": 1}; !maps.Equal(got, want) {
		t.Errorf("after a change: %v, want %v", got, want)
	}
}

func TestMountListingAgainAsksNothing(t *testing.T) {
	v := mountVolume(t, Config{})
	const files = 1000
	for i := range files {
		publish(t, v, fmt.Sprintf("f%04d", i), entry("x"))
	}
	ls := func() {
		out, err := exec.Command("ls", "-l", v.cfg.Dir).CombinedOutput()
		check(t, err)
		if n := bytes.Count(out, []byte("\n")); n != files+1 {
			t.Errorf("ls lists %d files", n-1)
		}
	}
	if first := requests(v, ls); first["LOOKUP"] > 2 || first["READDIRPLUS"] > files/100 || first["GETXATTR"] > 4 {
		t.Errorf("the first ls -l asks for %v", first)
	}
	if again := requests(v, ls); again["LOOKUP"] > 0 || again["READDIRPLUS"]+again["READDIR"] > 0 || again["GETXATTR"] > 4 {
		t.Errorf("another ls -l asks for %v", again)
	}
}

func TestMountListingIsAlwaysCurrent(t *testing.T) {
	v := mountVolume(t, Config{Subdirs: []string{"decider"}})
	for _, sub := range []string{"", "decider/"} {
		dir, err := os.Open(filepath.Join(v.cfg.Dir, sub))
		check(t, err)
		defer dir.Close()
		rewound := func() []string {
			_, err := dir.Seek(0, io.SeekStart)
			check(t, err)
			names, err := dir.Readdirnames(-1)
			check(t, err)
			return names
		}
		for i := range 30 {
			name := fmt.Sprintf("%sf%d", sub, i)
			base := filepath.Base(name)
			path := filepath.Join(v.cfg.Dir, name)
			// Every other name is one that the kernel knows not to exist.
			if i%2 == 0 {
				if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
					t.Fatalf("%s before it is published: %v", name, err)
				}
			}
			before := stat(t, filepath.Dir(path)).Mtim
			publish(t, v, name, entry("x"))
			if !slices.Contains(rewound(), base) || !slices.Contains(listDir(t, filepath.Dir(path)), base) {
				t.Fatalf("%s isn't listed", name)
			}
			if stat(t, filepath.Dir(path)).Mtim == before {
				t.Errorf("the directory's time stands still")
			}
			wantFile(t, v, name, "x")
			if i%3 == 0 {
				check(t, v.Remove(name))
				if slices.Contains(rewound(), base) || slices.Contains(listDir(t, filepath.Dir(path)), base) {
					t.Fatalf("%s is listed after its removal", name)
				}
				if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
					t.Fatalf("%s after its removal: %v", name, err)
				}
			}
		}
	}
}

func listDir(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	check(t, err)
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names
}

func TestMountExtendedAttributes(t *testing.T) {
	v := mountVolume(t, Config{})
	path := filepath.Join(v.cfg.Dir, "x")
	publish(t, v, "x", entry("x"))
	v.SetStatus("x", Status{State: "fresh", SyncedAt: testTime})
	get := func(path, name string) (string, error) {
		buf := make([]byte, 100)
		n, err := unix.Getxattr(path, name, buf)
		return string(buf[:max(n, 0)]), err
	}
	for name, want := range map[string]string{attrVersion: "1.000001", attrState: "fresh", attrSyncedAt: "2026-03-04T05:06:07.000089Z"} {
		if got, err := get(path, name); err != nil || got != want {
			t.Errorf("%s: %q, %v, want %q", name, got, err, want)
		}
	}
	for name, want := range map[string]error{
		attrError: unix.ENODATA, "user.none": unix.ENODATA, "security.capability": unix.EOPNOTSUPP, "trusted.none": unix.EOPNOTSUPP,
	} {
		if got, err := get(path, name); !errors.Is(err, want) {
			t.Errorf("%s: %q, %v, want %v", name, got, err, want)
		}
	}
	// A status changes without a new version.
	ino := stat(t, path).Ino
	v.SetStatus("x", Status{State: "stale", Err: "S3 is away"})
	if got, err := get(path, attrError); err != nil || got != "S3 is away" {
		t.Errorf("%s: %q, %v", attrError, got, err)
	}
	if stat(t, path).Ino != ino {
		t.Error("a status made another version")
	}
	size, err := unix.Listxattr(path, nil)
	check(t, err)
	list := make([]byte, size)
	_, err = unix.Listxattr(path, list)
	check(t, err)
	if got, want := string(list), "user.kingpin.version\x00user.kingpin.zk_path\x00user.kingpin.state\x00user.kingpin.error\x00"; got != want {
		t.Errorf("attributes %q, want %q", got, want)
	}
	if got, err := get(v.cfg.Dir, attrPID); err != nil || got != strconv.Itoa(os.Getpid()) {
		t.Errorf("%s: %q, %v", attrPID, got, err)
	}
}

func TestMountFreesOldVersions(t *testing.T) {
	v := mountVolume(t, Config{})
	path := filepath.Join(v.cfg.Dir, "x")
	var open []*os.File
	for i := range 500 {
		publish(t, v, "x", entry(fmt.Sprint(i)))
		f, err := os.Open(path)
		check(t, err)
		open = append(open, f)
		listDir(t, v.cfg.Dir)
	}
	if n := v.tree.inodes(); n != 500 {
		t.Errorf("%d versions are kept while 500 are open", n)
	}
	for i, f := range open {
		got, err := io.ReadAll(f)
		check(t, err)
		if string(got) != fmt.Sprint(i) {
			t.Errorf("version %d holds %q", i, got)
		}
		check(t, f.Close())
	}
	await(t, "the kernel to forget the old versions", func() bool { return v.tree.inodes() == 1 })
	check(t, v.Remove("x"))
	await(t, "the kernel to forget the last version", func() bool { return v.tree.inodes() == 0 })
}

func TestMountRefusesWritesFromRoot(t *testing.T) {
	v := mountVolume(t, Config{Subdirs: []string{"decider"}})
	publish(t, v, "x", entry("x"))
	path := filepath.Join(v.cfg.Dir, "x")
	refused := func() {
		t.Helper()
		for name, do := range map[string]func() error{
			"create":   func() error { return os.WriteFile(path+"new", nil, 0o600) },
			"write":    func() error { return os.WriteFile(path, []byte("y"), 0o600) },
			"truncate": func() error { return os.Truncate(path, 0) },
			"chmod":    func() error { return os.Chmod(path, 0o777) },
			"mkdir":    func() error { return os.Mkdir(path+"dir", 0o777) },
			"remove":   func() error { return os.Remove(path) },
			"rename":   func() error { return os.Rename(path, path+"new") },
			"link":     func() error { return os.Link(path, path+"new") },
			"symlink":  func() error { return os.Symlink(path, path+"new") },
			"setxattr": func() error { return unix.Setxattr(path, "user.x", []byte("x"), 0) },
			"rmdir":    func() error { return unix.Rmdir(filepath.Join(v.cfg.Dir, "decider")) },
			"mknod":    func() error { return unix.Mknod(path+"fifo", unix.S_IFIFO|0o600, 0) },
		} {
			if err := do(); !errors.Is(err, unix.EROFS) {
				t.Errorf("%s: %v, want %v", name, err, unix.EROFS)
			}
		}
		wantFile(t, v, "x", "x")
	}
	got := requests(v, refused)
	for _, op := range []string{"CREATE", "SETATTR", "MKDIR", "UNLINK", "RENAME2", "LINK", "SYMLINK", "SETXATTR", "RMDIR", "MKNOD"} {
		if got[op] > 0 {
			t.Errorf("%s is refused by the daemon, not by the mount", op)
		}
	}
	// The daemon would refuse as well.
	check(t, unix.Mount("", v.cfg.Dir, "", unix.MS_REMOUNT|unix.MS_NOSUID|unix.MS_NODEV, ""))
	refused()
}

func TestMountIsReadableByEveryone(t *testing.T) {
	v := mountVolume(t, Config{Dir: publicDir(t)})
	publish(t, v, "x", entry("for all\n"))
	cat := exec.Command("cat", filepath.Join(v.cfg.Dir, "x"))
	cat.SysProcAttr = nobody()
	out, err := cat.CombinedOutput()
	if err != nil || string(out) != "for all\n" {
		t.Errorf("nobody reads %q, %v", out, err)
	}
}

func nobody() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
}

// publicDir returns a directory that any user can reach, which t.TempDir's can't
// be.
func publicDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "kingpin-fs-test")
	check(t, err)
	t.Cleanup(func() { check(t, os.RemoveAll(dir)) })
	check(t, os.Chmod(dir, 0o755))
	return dir
}
