package fs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// stormTime is how long a storm blows.
const stormTime = 3 * time.Second

// numbered returns a content that says everywhere which version it is.
func numbered(n uint64, size int) []byte {
	b := make([]byte, size)
	binary.LittleEndian.PutUint64(b, n)
	for done := 8; done < size; done *= 2 {
		copy(b[done:], b[:done])
	}
	return b
}

// numberOf returns which version a content is; an error if it is of several, or
// not whole.
func numberOf(b []byte, size int) (uint64, error) {
	if len(b) != size {
		return 0, fmt.Errorf("%d bytes, want %d", len(b), size)
	}
	n := binary.LittleEndian.Uint64(b)
	for i := 8; i < size; i += 8 {
		if m := binary.LittleEndian.Uint64(b[i:]); m != n {
			return 0, fmt.Errorf("version %d, and %d at byte %d", n, m, i)
		}
	}
	return n, nil
}

// newestSeen is, for each file, the newest version that any process has seen. It
// is memory that processes share.
type newestSeen []atomic.Uint64

func openNewest(path string, files int) (newestSeen, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := f.Truncate(int64(8 * files)); err != nil {
		return nil, err
	}
	m, err := unix.Mmap(int(f.Fd()), 0, 8*files, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, err
	}
	return unsafe.Slice((*atomic.Uint64)(unsafe.Pointer(&m[0])), files), nil
}

// saw notes that a version has been seen.
func (s newestSeen) saw(file int, n uint64) {
	for {
		old := s[file].Load()
		if n <= old || s[file].CompareAndSwap(old, n) {
			return
		}
	}
}

// readHelper reads the files 0, 1, 2, … of a directory, args[0], over and over
// until standard input ends. It fails if a content isn't one version, whole, or
// if an open shows an older version than one that any process had seen before.
// args[1] is the file of newestSeen, args[2] the number of files, args[3] their
// size in bytes.
func readHelper(args []string) error {
	files, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	size, err := strconv.Atoi(args[3])
	if err != nil {
		return err
	}
	newest, err := openNewest(args[1], files)
	if err != nil {
		return err
	}
	r := &stormReader{dir: args[0], size: size, newest: newest}
	var all sync.WaitGroup
	errs := make([]error, 3)
	all.Go(func() { errs[0] = r.loop(r.readWhole) })
	all.Go(func() { errs[1] = r.loop(r.readInHalves) })
	all.Go(func() { errs[2] = r.loop(func(int) error { return r.list() }) })
	fmt.Fprintln(os.Stdout, "reading")
	_, err = io.Copy(io.Discard, os.Stdin)
	r.over.Store(true)
	all.Wait()
	fmt.Fprintf(os.Stdout, "%d reads\n", r.reads.Load())
	return errors.Join(append(errs, err)...)
}

type stormReader struct {
	dir    string
	size   int
	newest newestSeen
	over   atomic.Bool
	reads  atomic.Uint64
}

func (r *stormReader) loop(read func(file int) error) error {
	for !r.over.Load() {
		if err := read(rand.IntN(len(r.newest))); err != nil {
			return err
		}
		r.reads.Add(1)
	}
	return nil
}

// open opens a file and returns the newest version that had been seen by then.
func (r *stormReader) open(file int) (f *os.File, seen uint64, err error) {
	seen = r.newest[file].Load()
	f, err = os.Open(filepath.Join(r.dir, strconv.Itoa(file)))
	return f, seen, err
}

// verify checks what was read of a file.
func (r *stormReader) verify(file int, seen uint64, content []byte) error {
	n, err := numberOf(content, r.size)
	if err != nil {
		return fmt.Errorf("file %d is torn: %w", file, err)
	}
	if n < seen {
		return fmt.Errorf("file %d goes back from version %d to %d", file, seen, n)
	}
	r.newest.saw(file, n)
	return nil
}

func (r *stormReader) readWhole(file int) error {
	f, seen, err := r.open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	content, err := io.ReadAll(f)
	if err != nil {
		return err
	}
	return r.verify(file, seen, content)
}

// readInHalves reads another file between one half and the other.
func (r *stormReader) readInHalves(file int) error {
	f, seen, err := r.open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	content := make([]byte, info.Size())
	half := len(content) / 16 * 8
	if _, err := f.ReadAt(content[half:], int64(half)); err != nil {
		return err
	}
	if err := r.readWhole((file + 1) % len(r.newest)); err != nil {
		return err
	}
	if _, err := f.ReadAt(content[:half], 0); err != nil {
		return err
	}
	return r.verify(file, seen, content)
}

// list lists the directory as ls -l does, and checks that all files are there.
func (r *stormReader) list() error {
	entries, err := os.ReadDir(r.dir)
	if err != nil {
		return err
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
		if _, err := os.Lstat(filepath.Join(r.dir, e.Name())); err != nil {
			return err
		}
	}
	for i := range r.newest {
		if !slices.Contains(names, strconv.Itoa(i)) {
			return fmt.Errorf("file %d isn't listed", i)
		}
	}
	return nil
}

// storm is a volume under readers in other processes.
type storm struct {
	v      *Volume
	files  int
	size   int
	last   []uint64 // by file: the version that was published last
	newest newestSeen
	all    []*helper
}

func startStorm(t *testing.T, mode Mode, files, size int) *storm {
	t.Helper()
	v := newVolume(t, Config{Mode: mode})
	mount(t, v)
	if face, why := v.Face(); face != mode {
		t.Fatalf("face %q: %s", face, why)
	}
	s := &storm{v: v, files: files, size: size, last: make([]uint64, files)}
	for file := range files {
		s.publish(t, file)
	}
	shared := filepath.Join(t.TempDir(), "newest")
	var err error
	s.newest, err = openNewest(shared, files)
	check(t, err)
	for range 2 {
		h := startHelper(t, &syscall.SysProcAttr{Setpgid: true}, "read", v.cfg.Dir, shared, strconv.Itoa(files), strconv.Itoa(size))
		s.all = append(s.all, h)
		// Otherwise few versions would be published where there are few
		// processors.
		check(t, unix.Setpriority(unix.PRIO_PGRP, h.Process.Pid, 10))
	}
	for _, h := range s.all {
		h.line(t)
	}
	return s
}

// publish publishes a file's next version.
func (s *storm) publish(t *testing.T, file int) {
	t.Helper()
	s.last[file]++
	e := Entry{Content: numbered(s.last[file], s.size), ModTime: testTime, Version: strconv.FormatUint(s.last[file], 10)}
	publish(t, s.v, strconv.Itoa(file), e)
}

// publishFor publishes one version after the other for some time.
func (s *storm) publishFor(t *testing.T, d time.Duration) {
	t.Helper()
	over := time.After(d)
	for versions := 0; ; versions++ {
		select {
		case <-over:
			t.Logf("%d versions", versions)
			return
		default:
			s.publish(t, rand.IntN(s.files))
		}
	}
}

// end ends the readers and checks that every file shows its last version.
func (s *storm) end(t *testing.T) {
	t.Helper()
	for _, h := range s.all {
		h.end(t)
	}
	for file, want := range s.last {
		content, err := os.ReadFile(filepath.Join(s.v.cfg.Dir, strconv.Itoa(file)))
		check(t, err)
		if n, err := numberOf(content, s.size); err != nil || n != want {
			t.Errorf("file %d is version %d at last (%v), want %d", file, n, err, want)
		}
		if s.newest[file].Load() == 0 {
			t.Errorf("nobody has seen file %d", file)
		}
	}
}

// Large versions are never torn, and never come after a newer one.
func TestStorm(t *testing.T) {
	for _, mode := range []Mode{FUSE, Plain} {
		t.Run(string(mode), func(t *testing.T) {
			s := startStorm(t, mode, 2, 300<<10)
			s.publishFor(t, stormTime)
			s.end(t)
			await(t, "the kernel to forget old versions", func() bool { return s.v.tree.inodes() == s.files })
		})
	}
}

// A kernel that remembers no name has to look up and list while versions change,
// and what it was told last must not stay with it.
func TestStormOfLookups(t *testing.T) {
	needFUSE(t)
	s := startStorm(t, FUSE, 8, 64)
	conn := s.v.face.Load().conn
	stop := make(chan struct{})
	var dropping sync.WaitGroup
	dropping.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			err := conn.notify(entryNotification(rootID, strconv.Itoa(rand.IntN(s.files))))
			if err != nil && !errors.Is(err, unix.ENOENT) {
				t.Error(err)
				return
			}
		}
	})
	s.publishFor(t, stormTime)
	close(stop)
	dropping.Wait()
	s.end(t)
}
