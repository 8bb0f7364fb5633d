package fs

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// inotify is what watches of a test have seen.
type inotify struct {
	t  *testing.T
	f  *os.File
	wd map[int32]string

	mu   sync.Mutex
	seen []string
}

// newInotify returns a watcher that ends with the test.
func newInotify(t *testing.T) *inotify {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	check(t, err)
	w := &inotify{t: t, f: os.NewFile(uintptr(fd), "inotify"), wd: map[int32]string{}}
	var reading sync.WaitGroup
	reading.Go(w.read)
	t.Cleanup(func() {
		check(t, w.f.Close())
		reading.Wait()
	})
	return w
}

// changes are the events of a replacement: all but those of reading.
const changes = unix.IN_ALL_EVENTS &^ (unix.IN_ACCESS | unix.IN_OPEN | unix.IN_CLOSE_NOWRITE)

// watch watches a path; its events are shown with the given label.
func (w *inotify) watch(label, path string) {
	w.t.Helper()
	conn, err := w.f.SyscallConn()
	check(w.t, err)
	w.mu.Lock()
	defer w.mu.Unlock()
	check(w.t, conn.Control(func(fd uintptr) {
		wd, err := unix.InotifyAddWatch(int(fd), path, changes)
		check(w.t, err)
		w.wd[int32(wd)] = label
	}))
}

func (w *inotify) read() {
	buf := make([]byte, 1<<16)
	for {
		n, err := w.f.Read(buf)
		if err != nil {
			return
		}
		w.mu.Lock()
		for b := buf[:n]; len(b) > 0; {
			event := (*unix.InotifyEvent)(unsafe.Pointer(&b[0]))
			size := unix.SizeofInotifyEvent + int(event.Len)
			name := strings.TrimRight(string(b[unix.SizeofInotifyEvent:size]), "\x00")
			w.seen = append(w.seen, strings.TrimSpace(w.wd[event.Wd]+": "+eventName(event.Mask)+" "+name))
			b = b[size:]
		}
		w.mu.Unlock()
	}
}

// take waits for an event and returns all that have been seen, except by the
// last call.
func (w *inotify) take(last string) []string {
	w.t.Helper()
	var all []string
	await(w.t, last, func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		if !slices.Contains(w.seen, last) {
			return false
		}
		all, w.seen = w.seen, nil
		return true
	})
	return all
}

func eventName(mask uint32) string {
	var names []string
	for bit, name := range map[uint32]string{
		unix.IN_MOVED_TO: "MOVED_TO", unix.IN_MOVED_FROM: "MOVED_FROM", unix.IN_ATTRIB: "ATTRIB", unix.IN_MODIFY: "MODIFY",
		unix.IN_DELETE_SELF: "DELETE_SELF", unix.IN_DELETE: "DELETE", unix.IN_IGNORED: "IGNORED", unix.IN_CREATE: "CREATE",
		unix.IN_MOVE_SELF: "MOVE_SELF", unix.IN_CLOSE_WRITE: "CLOSE_WRITE",
	} {
		if mask&bit != 0 {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return strings.Join(names, "|")
}

// Whoever watches sees of a mount what it sees of plain files.
func TestWatchersSeeOfAMountWhatTheySeeOfPlainFiles(t *testing.T) {
	seen := map[Mode][]string{}
	for _, mode := range []Mode{Plain, FUSE} {
		needFUSE(t)
		v := newVolume(t, Config{Mode: mode, Subdirs: []string{"decider"}})
		mount(t, v)
		dir := v.cfg.Dir
		w := newInotify(t)
		publish(t, v, "x", entry("0"))
		publish(t, v, "decider/y", entry("0"))
		wantFile(t, v, "x", "0")
		settled(t, v)
		w.watch("root", dir)
		w.watch("decider", filepath.Join(dir, "decider"))
		for i := 1; i <= 3; i++ {
			w.watch("x", filepath.Join(dir, "x"))
			publish(t, v, "x", entry(fmt.Sprint(i)))
			seen[mode] = append(seen[mode], w.take("x: IGNORED")...)
			settled(t, v)
			wantFile(t, v, "x", fmt.Sprint(i))
		}
		publish(t, v, "new", entry("new"))
		seen[mode] = append(seen[mode], w.take("root: MOVED_TO new")...)
		publish(t, v, "decider/y", entry("1"))
		seen[mode] = append(seen[mode], w.take("decider: MOVED_TO y")...)
		settled(t, v)
		w.watch("x", filepath.Join(dir, "x"))
		check(t, v.Remove("x"))
		seen[mode] = append(seen[mode], w.take("root: DELETE x")...)
		check(t, v.Remove("decider/y"))
		seen[mode] = append(seen[mode], w.take("decider: DELETE y")...)
		settled(t, v)
		if _, err := os.Stat(filepath.Join(dir, "x")); !os.IsNotExist(err) {
			t.Errorf("%s: what was removed: %v", mode, err)
		}
		publish(t, v, "x", entry("again"))
		seen[mode] = append(seen[mode], w.take("root: MOVED_TO x")...)
		wantFile(t, v, "x", "again")
		check(t, v.Close())
	}
	plain, fuse := ordered(seen[Plain]), ordered(seen[FUSE])
	if !slices.Equal(plain, fuse) {
		t.Errorf("of plain files they see\n%s\nof a mount\n%s", strings.Join(plain, "\n"), strings.Join(fuse, "\n"))
	}
}

// ordered returns events in an order that doesn't depend on how those of a
// file and of its directory mix.
func ordered(events []string) []string {
	events = slices.Clone(events)
	slices.SortStableFunc(events, func(a, b string) int {
		a, _, _ = strings.Cut(a, ":")
		b, _, _ = strings.Cut(b, ":")
		return strings.Compare(a, b)
	})
	return events
}

// settled returns when watchers have been told of all that has changed.
func settled(t *testing.T, v *Volume) {
	t.Helper()
	if mode, _ := v.Face(); mode == Plain {
		return
	}
	await(t, "the watchers to be told", func() bool {
		h := v.ledger.header
		return h.woken.Load() == h.lastID.Load() && v.waker.idle()
	})
}

// Nobody pays for watchers that there aren't.
func TestNobodyIsWoken(t *testing.T) {
	v := mountVolume(t, Config{})
	publish(t, v, "x", entry("0"))
	wantFile(t, v, "x", "0")
	got := requests(v, func() {
		publish(t, v, "x", entry("1"))
		settled(t, v)
	})
	if len(got) != 0 {
		t.Errorf("a change makes the kernel ask for %v", got)
	}
	// Who watches another file isn't told either.
	publish(t, v, "y", entry("0"))
	w := newInotify(t)
	w.watch("y", filepath.Join(v.cfg.Dir, "y"))
	settled(t, v)
	got = requests(v, func() {
		publish(t, v, "x", entry("2"))
		settled(t, v)
	})
	if got["RENAME"]+got["RENAME2"] != 0 {
		t.Errorf("a change that nobody watches makes the kernel ask for %v", got)
	}
}

// A burst ends with an event after the last version.
func TestWatchersSeeTheLastOfABurst(t *testing.T) {
	v := mountVolume(t, Config{})
	w := newInotify(t)
	w.watch("root", v.cfg.Dir)
	path := filepath.Join(v.cfg.Dir, "x")
	for i := range 200 {
		publish(t, v, "x", entry(fmt.Sprint(i)))
	}
	await(t, "an event that comes with the last version", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		if len(w.seen) == 0 {
			return false
		}
		w.seen = nil
		content, err := os.ReadFile(path)
		check(t, err)
		return string(content) == "199"
	})
}

// Nobody else finds the directory out of which versions are renamed.
func TestStageIsSeenByTheHolderAlone(t *testing.T) {
	v := mountVolume(t, Config{})
	publish(t, v, "x", entry("x"))
	stage := filepath.Join(v.cfg.Dir, stageDir)
	if _, err := os.Lstat(stage); err != nil {
		t.Errorf("the holder: %v", err)
	}
	for _, args := range [][]string{{"stat", stage}, {"ls", stage}, {"mv", "-T", stage, filepath.Join(v.cfg.Dir, "y")}} {
		if output, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err == nil || !strings.Contains(string(output), "No such file") {
			t.Errorf("%v: %v\n%s", args, err, output)
		}
	}
}

func TestWatchedInodes(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x")
	check(t, os.WriteFile(path, nil, 0o600))
	w := newInotify(t)
	w.watch("x", path)
	info := stat(t, path)
	watched := watchedInodes(unix.Major(info.Dev)<<20 | unix.Minor(info.Dev))
	if watched == nil {
		t.Fatal("this process may not look into all others: run the tests as root, and not in a PID namespace of their own")
	}
	if !watched.has(info.Ino) || watched.has(stat(t, dir).Ino) {
		t.Errorf("watched are %v, of which %d is a file that is, and %d a directory that isn't", watched, info.Ino, stat(t, dir).Ino)
	}
	if watched = watchedInodes(4711); watched == nil || len(watched) > 0 {
		t.Errorf("on another device %v are watched", watched)
	}
}

// Who can't see everybody takes everything for watched.
func TestWatchedInodesFromAPIDNamespace(t *testing.T) {
	h := startHelper(t, &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}, "watched")
	if got := h.line(t); got != "all: true" {
		t.Errorf("from a PID namespace: %s", got)
	}
	h.end(t)
}

// watchedHelper prints whether it takes everything for watched.
func watchedHelper([]string) error {
	_, err := fmt.Fprintf(os.Stdout, "all: %v\n", watchedInodes(4711).has(1))
	return err
}
