package integration

import (
	"errors"
	"fmt"
	iofs "io/fs"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// numberedLine is a line of a numbered content: which one it is, and how many
// such lines there are.
const numberedLine = "%08d %08d\n"

// numbered returns a content of about the given size that tells, at every place,
// that it is the n-th, and how long it is: what is mixed or cut short shows.
func numbered(n, size int) string {
	length := len(fmt.Sprintf(numberedLine, 0, 0))
	count := max(size/length, 1)
	return strings.Repeat(fmt.Sprintf(numberedLine, n, count), count)
}

// parseNumbered returns which content this is, or an error if it is none.
func parseNumbered(content string) (int, error) {
	var n, count int
	end := strings.IndexByte(content, '\n') + 1
	if _, err := fmt.Sscanf(content[:end], numberedLine, &n, &count); err != nil {
		return 0, fmt.Errorf("%q is no numbered content", abridged(content))
	}
	switch {
	case len(content) != count*end:
		return 0, fmt.Errorf("content %d has %d bytes instead of %d", n, len(content), count*end)
	case content[end:] != content[:len(content)-end]:
		return 0, fmt.Errorf("content %d has pieces of others", n)
	}
	return n, nil
}

// readers read files all the time, and hold what they see to what readers are
// promised: a read never fails, a content is whole, nobody who begins to read
// after somebody has seen a content sees an older one, and a file's time
// changes when its content does and never otherwise.
type readers struct {
	t     testing.TB
	stopC chan struct{}
	tasks sync.WaitGroup

	// excused says of a failed read that it may be. nil: none may.
	excused func(error) bool

	reads atomic.Int64
}

// readPause is how long a reader waits between two reads: the machine has other
// things to do.
const readPause = 10 * time.Millisecond

// watchReads reads a monitor's configs, which must hold numbered contents, from
// two goroutines each, until stop or the test's end.
func watchReads(m *monitor, names ...string) *readers {
	m.t.Helper()
	return watchReadsExcusing(m, nil, names...)
}

// watchReadsExcusing is watchReads where some errors of reading are expected.
func watchReadsExcusing(m *monitor, excused func(error) bool, names ...string) *readers {
	m.t.Helper()
	r := &readers{t: m.t, stopC: make(chan struct{}), excused: excused}
	for _, name := range names {
		// The kernel asks once about the close of files (FLUSH), and whoever is
		// executed closes those of readers: unanswered, that would keep this process
		// from starting the monitor that answers.
		mustRead(m.t, m.config(name))
		seen := &sightings{times: map[int]unix.Timespec{}}
		for range 2 {
			r.tasks.Go(func() { r.loop(m.config(name), seen) })
		}
	}
	m.t.Cleanup(r.stop)
	return r
}

// stop ends the readers, who must have read something.
func (r *readers) stop() {
	select {
	case <-r.stopC:
		return
	default:
	}
	close(r.stopC)
	r.tasks.Wait()
	if r.reads.Load() == 0 {
		r.t.Error("the readers have read nothing")
	}
}

// loop reads until stop, or until something is wrong.
func (r *readers) loop(path string, seen *sightings) {
	pace := time.NewTicker(readPause)
	defer pace.Stop()
	reader := numberedReader{seen: seen}
	for {
		select {
		case <-r.stopC:
			return
		case <-pace.C:
		}
		err := reader.look(path)
		switch failed := new(readError); {
		case err == nil:
			r.reads.Add(1)
		case errors.As(err, &failed) && r.excused != nil && r.excused(err):
		default:
			r.t.Errorf("reading %s after %d reads of all files: %v", filepath.Base(path), r.reads.Load(), err)
			return
		}
	}
}

// readError is that of a system call.
type readError struct{ error }

func (e *readError) Unwrap() error { return e.error }

// sightings is what the readers of one file have seen.
type sightings struct {
	mu    sync.Mutex // guards the rest
	last  int        // the newest content that somebody has seen
	times map[int]unix.Timespec
}

// numberedReader is one who reads such a file.
type numberedReader struct {
	seen *sightings

	file    wholeReader
	content []byte // of the last read that was in order
	number  int    // of that content
}

// look reads the file once and checks what it sees.
func (r *numberedReader) look(path string) error {
	r.seen.mu.Lock()
	before := r.seen.last
	r.seen.mu.Unlock()
	content, mtime, err := r.readWithTime(path)
	if err != nil {
		return &readError{err}
	}
	if r.content == nil || !equalUnchecked(content, r.content) {
		n, err := parseNumbered(string(content))
		if err != nil {
			return err
		}
		r.content, r.number = append(r.content[:0], content...), n
	}
	return r.seen.note(r.number, before, mtime)
}

// note takes down that content n was seen by somebody who had begun to read it
// when content before was the newest that had been seen.
func (s *sightings) note(n, before int, mtime unix.Timespec) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n < before {
		return fmt.Errorf("content %d was seen after content %d", n, before)
	}
	s.last = max(s.last, n)
	known, ok := s.times[n]
	if ok && known != mtime {
		return fmt.Errorf("content %d had the time %v and now has %v", n, known, mtime)
	}
	if !ok {
		for other, t := range s.times {
			if t == mtime {
				return fmt.Errorf("contents %d and %d have the same time", other, n)
			}
		}
		s.times[n] = mtime
	}
	return nil
}

// readWithTime returns a file's content and its time, of one version.
func (r *numberedReader) readWithTime(path string) ([]byte, unix.Timespec, error) {
	fd, err := openFile(path)
	if err != nil {
		return nil, unix.Timespec{}, err
	}
	defer unix.Close(fd)
	content, err := r.file.readFD(fd, "quick")
	if err != nil {
		return nil, unix.Timespec{}, &iofs.PathError{Op: "read", Path: path, Err: err}
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, unix.Timespec{}, &iofs.PathError{Op: "stat", Path: path, Err: err}
	}
	return content, st.Mtim, nil
}

// TestReadersSeeWhatIsWrong checks the check: each thing that must never be seen
// is noticed.
func TestReadersSeeWhatIsWrong(t *testing.T) {
	dir := tempDir(t)
	path := filepath.Join(dir, "file")
	write := func(content string, seconds int64) {
		t.Helper()
		mustWrite(t, path, content)
		if err := unix.Utimes(path, []unix.Timeval{{Sec: seconds}, {Sec: seconds}}); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		name, content string
		seconds       int64
		want          string
	}{
		{"older", numbered(1, 4096), 100, "content 1 was seen after content 2"},
		{"cut short", numbered(3, 4096)[:2000], 300, "has 2000 bytes"},
		{"mixed", numbered(3, 4096)[:1800] + numbered(2, 4096)[1800:], 300, "pieces of others"},
		{"empty", "", 300, "no numbered content"},
		{"touched", numbered(2, 4096), 201, "had the time"},
		{"not touched", numbered(3, 4096), 200, "the same time"},
	} {
		t.Run(test.name, func(t *testing.T) {
			reader := numberedReader{seen: &sightings{times: map[int]unix.Timespec{}}}
			for n := range 2 {
				write(numbered(n+1, 4096), int64(n+1)*100)
				if err := reader.look(path); err != nil {
					t.Fatal(err)
				}
			}
			write(test.content, test.seconds)
			if err := reader.look(path); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("it says %v, want %q", err, test.want)
			}
		})
	}
	if err := unix.Unlink(path); err != nil {
		t.Fatal(err)
	}
	reader := numberedReader{seen: &sightings{times: map[int]unix.Timespec{}}}
	if failed := new(readError); !errors.As(reader.look(path), &failed) {
		t.Error("a file that is not there is not noticed")
	}
}
