package serverset

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	iofs "io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// openFile follows a file until the test ends.
func openFile(t *testing.T, path string, options FileOptions) *File {
	t.Helper()
	if options.Logger == nil {
		options.Logger = slog.New(slog.DiscardHandler)
	}
	f := NewFile(path, options)
	if err := f.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return f
}

// awaitErr waits until something is, or nothing is any more, wrong with a file.
func awaitErr(t *testing.T, f *File, want error) {
	t.Helper()
	awaitState(t, f, fmt.Sprint(want), func(err error) bool { return errors.Is(err, want) })
}

func awaitState(t *testing.T, f *File, what string, is func(error) bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	timeout := time.After(patience)
	for !is(f.Err()) {
		select {
		case <-tick.C:
		case <-timeout:
			t.Fatalf("Err is %v, want %s", f.Err(), what)
		}
	}
}

// journal is a log that can be read.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

func (j *journal) logger() *slog.Logger { return slog.New(slog.NewTextHandler(j, nil)) }

func TestFileReads(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	tests := []struct {
		name, content string
		want          []string
		bad           int
	}{
		{"as written", "10.0.0.1:80\n10.0.0.2:80\n", []string{"10.0.0.1:80", "10.0.0.2:80"}, 0},
		{"as Python wrote it", "10.0.0.2:80\n10.0.0.1:80", []string{"10.0.0.1:80", "10.0.0.2:80"}, 0},
		{"run together", "10.0.0.1:9010.0.0.2:90\n", []string{"10.0.0.1:90", "10.0.0.2:90"}, 0},
		{"CRLF", "a:1\r\n\r\nb:1\r\n", []string{"a:1", "b:1"}, 0},
		{"blanks", "  a:1\t\n \n", []string{"a:1"}, 0},
		{"duplicates", "a:1\nb:1\na:1\n", []string{"a:1", "b:1"}, 0},
		{"IPv6", "[::1]:80\n[2001:db8::7]:80\n", []string{"[2001:db8::7]:80", "[::1]:80"}, 0},
		{"IPv6 without brackets", "::1:80\na:1\n", []string{"a:1"}, 1},
		{"no port", "a\nb:\nc:1\n", []string{"c:1"}, 2},
		{"ports out of range", "a:0\nb:70000\nc:-1\nd:1\n", []string{"d:1"}, 3},
		{"half written", "10.0.0.1:80\n10.0.0", []string{"10.0.0.1:80"}, 1},
		{"a line of a megabyte", "a:1\n" + long + "\n", []string{"a:1"}, 1},
		{"a megabyte of colons", "a:1\n" + strings.Repeat(":", 1<<20), []string{"a:1"}, 1},
		{"NULs", "a:1\n\x00\x00\x00", []string{"a:1"}, 1},
		{"no UTF-8", "a:1\n\xff\xfe:80\n", []string{"a:1"}, 1},
		{"nothing", "", nil, 0},
		{"nothing good", "a\nb\n", nil, 2},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "f")
			replace(t, path, test.content)
			var told []BadMember
			f := openFile(t, path, FileOptions{OnBad: func(bad []BadMember) { told = bad }})
			if got := f.Endpoints(); !slices.Equal(got, test.want) {
				t.Errorf("the endpoints are %q, want %q", got, test.want)
			}
			if f.BadLines() != test.bad || len(told) != test.bad {
				t.Errorf("there are %d bad lines, and OnBad is told of %d, want %d", f.BadLines(), len(told), test.bad)
			}
			var want error
			if len(test.want) == 0 {
				want = ErrNoHosts
			}
			if err := f.Err(); !errors.Is(err, want) {
				t.Errorf("Err is %v, want %v", err, want)
			}
		})
	}
}

// Whatever becomes of the file, its last hosts stay until it has others.
func TestFileKeepsTheLastHosts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		name string
		lose func()
		want error
		mend func()
	}{
		{"empty", func() { replace(t, path, "") }, ErrNoHosts, func() {}},
		{"nothing good", func() { replace(t, path, "nonsense\n") }, ErrNoHosts, func() {}},
		{"missing", func() { do(os.Remove(path)) }, iofs.ErrNotExist, func() {}},
		{"its directory is missing", func() { do(os.RemoveAll(filepath.Dir(path))) }, iofs.ErrNotExist,
			func() { do(os.Mkdir(filepath.Dir(path), 0o755)) }},
		{"a directory", func() { do(os.Remove(path)); do(os.Mkdir(path, 0o755)) }, nil, func() { do(os.Remove(path)) }},
		{"can't be read", func() { do(os.Remove(path)); do(os.Symlink(path, path)) }, unix.ELOOP, func() { do(os.Remove(path)) }},
	}
	replace(t, path, "h:1\n")
	var log journal
	f := openFile(t, path, FileOptions{Logger: log.logger()})
	for i, test := range tests {
		before := f.Endpoints()
		test.lose()
		if test.want != nil {
			awaitErr(t, f, test.want)
		} else {
			awaitState(t, f, "that it can't be read", func(err error) bool { return err != nil && !errors.Is(err, iofs.ErrNotExist) })
		}
		if got := f.Endpoints(); !slices.Equal(got, before) {
			t.Errorf("%s: the endpoints are %q, want still %q", test.name, got, before)
		}
		// The same again, and so no new list, and then another.
		test.mend()
		replace(t, path, strings.Join(before, "\n"))
		awaitErr(t, f, nil)
		next := fmt.Sprintf("h:%d", i+2)
		replace(t, path, next)
		await(t, f, next, func(now []string) bool { return slices.Equal(now, []string{next}) })
	}
	if back := strings.Count(log.String(), "gives hosts again"); back != len(tests) {
		t.Errorf("the log tells %d times that there are hosts again, want %d:\n%s", back, len(tests), log.String())
	}
}

// A bad line is logged once, not with each content that still has it, and never
// at length.
func TestFileLogsBadLinesOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	bad := "bad" + strings.Repeat("-", 1<<20)
	replace(t, path, bad)
	var log journal
	f := openFile(t, path, FileOptions{Logger: log.logger()})
	for i := range 3 {
		next := fmt.Sprintf("h:%d", i+1)
		replace(t, path, bad+"\n"+next)
		await(t, f, next, func(now []string) bool { return slices.Equal(now, []string{next}) })
	}
	if n := strings.Count(log.String(), "is no endpoint"); n != 1 {
		t.Errorf("the line is logged %d times", n)
	}
	many := "last:1\n"
	for i := range 1000 {
		many += fmt.Sprintf("other-%d\n", i)
	}
	replace(t, path, many)
	await(t, f, "last:1", func(now []string) bool { return slices.Equal(now, []string{"last:1"}) })
	if n := strings.Count(log.String(), "is no endpoint"); n > 1+maxNamed || n < 2 {
		t.Errorf("a thousand bad lines make %d messages, want up to %d", n-1, maxNamed)
	}
	if n := len(log.String()); n > 10_000 {
		t.Errorf("the log has %d bytes", n)
	}
}

// What inotify doesn't tell is found by polling.
func TestFilePolls(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	replace(t, path, "host:1\n")
	f := openFile(t, path, FileOptions{Poll: time.Millisecond})
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	// A write to memory is no event.
	memory, err := unix.Mmap(fd, 0, len("host:1\n"), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Munmap(memory); err != nil {
			t.Error(err)
		}
	}()
	memory[len("host:")] = '2'
	await(t, f, "what was written to memory", func(now []string) bool { return slices.Equal(now, []string{"host:2"}) })
}

func TestFileIsOpenedOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	replace(t, path, "a:1\n")
	f := NewFile(path, FileOptions{})
	if got := f.Endpoints(); len(got) != 0 {
		t.Errorf("before Open the endpoints are %q", got)
	}
	if err := f.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := f.Open(t.Context()); err == nil {
		t.Error("it can be opened twice")
	}
	w := watch(t, f)
	w.wants("a:1")
	f.Close()
	f.Close()
	w.ends()
	for range f.Watch(t.Context()) {
		t.Error("a watch of a closed provider yields")
	}
	if got := f.Endpoints(); !slices.Equal(got, []string{"a:1"}) {
		t.Errorf("after Close the endpoints are %q", got)
	}
	unopened := NewFile(path, FileOptions{})
	unopened.Close()
	if err := unopened.Open(t.Context()); err == nil {
		t.Error("it can be opened when closed")
	}
}

// The context of Open is for Open alone.
func TestFileOutlivesTheContextOfOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	replace(t, path, "a:1\n")
	ctx, cancel := context.WithCancel(t.Context())
	f := NewFile(path, FileOptions{})
	if err := f.Open(ctx); err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cancel()
	replace(t, path, "b:1\n")
	await(t, f, "b:1", func(now []string) bool { return slices.Equal(now, []string{"b:1"}) })
}

// A filesystem that doesn't answer keeps neither Open nor Close.
func TestFileWhoseFilesystemHangs(t *testing.T) {
	dir := t.TempDir()
	heal := mountHanging(t, dir)
	defer heal()
	ctx, cancel := context.WithCancelCause(t.Context())
	f := NewFile(filepath.Join(dir, "f"), FileOptions{})
	other := NewFile(filepath.Join(dir, "f"), FileOptions{})
	otherOpened := make(chan error, 1)
	go func() { otherOpened <- other.Open(context.Background()) }()
	opened := make(chan error, 1)
	go func() { opened <- f.Open(ctx) }()
	cause := errors.New("no patience")
	cancel(cause)
	select {
	case err := <-opened:
		if !errors.Is(err, cause) {
			t.Errorf("Open returns %v, want %v", err, cause)
		}
	case <-time.After(patience):
		t.Error("Open doesn't return")
	}
	f.Close()
	other.Close()
	if err := <-otherOpened; err == nil {
		t.Error("Open succeeds, though the provider was closed meanwhile")
	}
}

// mountHanging mounts a FUSE filesystem that nobody serves.
func mountHanging(t *testing.T, dir string) (unmount func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("mounting takes root: run the tests as root, or by `make test`, which uses sudo")
	}
	server, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		t.Fatalf("%v: run `make deps`, which installs fuse3; in a container add --device /dev/fuse", err)
	}
	options := fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", server.Fd())
	if err := unix.Mount("kingpin-test", dir, "fuse.kingpin-test", 0, options); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := unix.Unmount(dir, unix.MNT_FORCE|unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	}
}

// Some readers while the file changes: each sees lists that were in the file.
func TestFileUnderReaders(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	list := func(i int) []string {
		return []string{fmt.Sprintf("a:%d", i), fmt.Sprintf("b:%d", i)}
	}
	replace(t, path, strings.Join(list(1), "\n"))
	f := openFile(t, path, FileOptions{})
	done := make(chan struct{})
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for {
				got := f.Endpoints()
				if len(got) != 2 || got[0][1:] != got[1][1:] {
					t.Errorf("the endpoints are %q", got)
					return
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	for i := 2; i < 50; i++ {
		replace(t, path, strings.Join(list(i), "\n"))
	}
	await(t, f, "the last list", func(now []string) bool { return slices.Equal(now, list(49)) })
	close(done)
	readers.Wait()
}
