package integration

import (
	"bufio"
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// readFile reads a file by plain system calls. Package os would hand the
// descriptor to Go's poller, which asks the kernel, and so perhaps a FUSE
// server, whether the file can be polled.
func readFile(path string) (string, error) {
	fd, err := openFile(path)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	return readFD(fd, path)
}

// openFile opens a file for reading. The descriptor is the caller's.
func openFile(path string) (int, error) {
	for {
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return -1, &iofs.PathError{Op: "open", Path: path, Err: err}
		default:
			return fd, nil
		}
	}
}

// buffers are for readFD: with the race detector on a new one costs more than what
// is read into it.
var buffers = sync.Pool{New: func() any { return new(readBuffer) }}

type readBuffer [128 << 10]byte

// readFD reads a file from where the descriptor stands to its end.
func readFD(fd int, path string) (string, error) {
	buffer := buffers.Get().(*readBuffer) //nolint:errcheck // nothing else is put there
	defer buffers.Put(buffer)
	var content strings.Builder
	for {
		n, err := readUnchecked(fd, buffer[:])
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return "", &iofs.PathError{Op: "read", Path: path, Err: err}
		case n == 0:
			return content.String(), nil
		default:
			content.Write(buffer[:n])
		}
	}
}

// mustRead reads a file that must be there.
func mustRead(t testing.TB, path string) string {
	t.Helper()
	content, err := readFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// mustStat returns what stat shows of a file that must be there, but for the time
// of the last access, which reading changes (mount(8), relatime).
func mustStat(t testing.TB, path string) unix.Stat_t {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatalf("stat %s: %v", path, err)
	}
	st.Atim = unix.Timespec{}
	return st
}

// listDir returns the names in a directory, sorted.
func listDir(t testing.TB, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	names := []string{}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// xattr returns an extended attribute of a file, or an error such as ENODATA.
func xattr(path, name string) (string, error) {
	buffer := make([]byte, 4096)
	n, err := unix.Getxattr(path, name, buffer)
	if err != nil {
		return "", fmt.Errorf("getxattr %s of %s: %w", name, path, err)
	}
	return string(buffer[:n]), nil
}

// has returns nil if a file has a content, else an error that says what it has.
func has(path, want string) error {
	content, err := readFile(path)
	if err != nil {
		return err
	}
	if content != want {
		return fmt.Errorf("%s holds %q, not %q", filepath.Base(path), abridged(content), abridged(want))
	}
	return nil
}

// gone returns nil if there is no such file.
func gone(path string) error {
	_, err := openProbe(path)
	if errors.Is(err, iofs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return fmt.Errorf("%s is still there", path)
}

// openProbe opens and closes a file.
func openProbe(path string) (ok bool, err error) {
	fd, err := openFile(path)
	if err != nil {
		return false, err
	}
	return true, unix.Close(fd)
}

func abridged(text string) string {
	const most = 200
	if len(text) <= most {
		return text
	}
	return fmt.Sprintf("%s… (%d bytes)", text[:most], len(text))
}

// latencies collects how long changes took to arrive, and holds each of them to
// a second: what readers are promised.
type latencies struct {
	t    testing.TB
	what string
	all  []time.Duration
}

// promised is how soon a change is seen by every reader.
const promised = time.Second

// newLatencies logs the distribution when the test ends.
func newLatencies(t testing.TB, what string) *latencies {
	t.Helper()
	l := &latencies{t: t, what: what}
	t.Cleanup(func() {
		if len(l.all) == 0 {
			return
		}
		slices.Sort(l.all)
		t.Logf("%s: %d seen, p50 %v, max %v", what, len(l.all),
			l.all[len(l.all)/2].Round(10*time.Microsecond), l.all[len(l.all)-1].Round(10*time.Microsecond))
	})
	return l
}

// await waits until a file has a content. It must be called as soon as the
// change is acknowledged.
func (l *latencies) await(path, want string) {
	l.t.Helper()
	l.awaitCheck(fmt.Sprintf("%s to hold %q", path, abridged(want)), func() error { return has(path, want) })
}

// awaitGone waits until a file is gone.
func (l *latencies) awaitGone(path string) {
	l.t.Helper()
	l.awaitCheck(path+" to go", func() error { return gone(path) })
}

func (l *latencies) awaitCheck(what string, check func() error) {
	l.t.Helper()
	took := await(l.t, what, check)
	l.all = append(l.all, took)
	if took > promised {
		l.t.Errorf("waiting for %s took %v, over %v", what, took, promised)
	}
}

// mountsBelow returns the mount points in a directory, the last mounted first.
func mountsBelow(t testing.TB, dir string) []string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var points []string
	for lines := bufio.NewScanner(f); lines.Scan(); {
		point := strings.Fields(lines.Text())[4]
		if strings.HasPrefix(point, dir+"/") {
			points = append(points, point)
		}
	}
	slices.Reverse(points)
	return points
}

// releaseMounts takes away what is mounted in a directory, failing every
// request under way, and returns the mount points.
func releaseMounts(t testing.TB, dir string) []string {
	t.Helper()
	points := mountsBelow(t, dir)
	for _, point := range points {
		if err := unix.Unmount(point, unix.MNT_FORCE|unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, syscall.EINVAL) {
			t.Errorf("unmounting %s: %v", point, err)
		}
	}
	return points
}
