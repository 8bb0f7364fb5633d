package integration

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// readerHelper is the helper that reads a series in a loop. Its arguments are
// the file, the kind of reader, the file in which all readers share what they
// know, and, if the contents are numbered ones and no series, "numbered". When its standard input ends it reads once more, prints a readerReport and
// ends.
const readerHelper = "series-reader"

func init() { helpers[readerHelper] = readSeries }

// readerReport is what a reader has to tell.
type readerReport struct {
	Kind     string
	Reads    int
	Versions int      // different ones seen
	Problems []string // the first few
}

// newestSeen is the number of the newest version that any process on this
// machine has read completely, in memory that all readers share.
type newestSeen struct{ memory []byte }

func openNewestSeen(path string) (*newestSeen, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if err := file.Truncate(8); err != nil {
		return nil, err
	}
	memory, err := unix.Mmap(int(file.Fd()), 0, 8, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	return &newestSeen{memory}, err
}

func (s *newestSeen) number() *atomic.Int64 { return (*atomic.Int64)(unsafe.Pointer(&s.memory[0])) }

func (s *newestSeen) load() int { return int(s.number().Load()) }

// raise makes it n, if that is more.
func (s *newestSeen) raise(n int) {
	for old := s.number().Load(); old < int64(n); old = s.number().Load() {
		s.number().CompareAndSwap(old, int64(n))
	}
}

func (s *newestSeen) close() error { return unix.Munmap(s.memory) }

// readSeries is the helper.
func readSeries(args []string) int {
	path, report := args[0], readerReport{Kind: args[1]}
	parse := parseSeries
	if len(args) > 3 && args[3] == "numbered" {
		parse = parseNumberedText
	}
	seen, err := openNewestSeen(args[2])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = io.Copy(io.Discard, os.Stdin)
	}()
	// Without a pause the readers would leave nothing of the machine to those
	// whose changes they are to see.
	pace := time.NewTicker(5 * time.Millisecond)
	defer pace.Stop()
	last, content := 0, []byte(nil)
	var reader wholeReader
	for stopping := false; !stopping; {
		select {
		case <-ended:
			stopping = true // after one more read
		case <-pace.C:
		}
		before := seen.load()
		text, err := reader.read(path, report.Kind)
		report.Reads++
		n, problem := last, ""
		switch {
		case err != nil:
			problem = err.Error()
		case equalUnchecked(text, content): // as before
		default:
			n, problem = parse(string(text))
		}
		switch {
		case problem != "":
		case n < before:
			problem = fmt.Sprintf("opened version %d after somebody had read %d", n, before)
		case n != last:
			report.Versions++
			last, content = n, append(content[:0], text...)
		}
		if problem == "" {
			seen.raise(n)
		} else if len(report.Problems) < 10 {
			report.Problems = append(report.Problems, problem)
		}
	}
	if err := json.NewEncoder(os.Stdout).Encode(report); err != nil {
		return 1
	}
	return 0
}

// slowReads are how much is read at once by readers that take their time: 150 ms
// or more for 300 KiB, or for 6 MiB.
var slowReads = map[string]int{"slow": 1000, "slow large": 20_000}

// wholeReader reads files into memory that it keeps.
type wholeReader struct{ memory []byte }

// read reads a file as one kind of reader does: quickly, by large reads, or
// slowly, by small ones, so that the file changes in between. What it returns is
// good until the next read.
func (r *wholeReader) read(path, kind string) ([]byte, error) {
	fd, err := openFile(path)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	return r.readFD(fd, kind)
}

// readFD is read for a file that is open.
func (r *wholeReader) readFD(fd int, kind string) ([]byte, error) {
	size, wait := 1<<20, func() {}
	if slow := slowReads[kind]; slow != 0 {
		pace := time.NewTicker(500 * time.Microsecond)
		defer pace.Stop()
		size, wait = slow, func() { <-pace.C }
	}
	for at := 0; ; wait() {
		r.memory = slices.Grow(r.memory[:at], size)[:at+size]
		n, err := readUnchecked(fd, r.memory[at:])
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return nil, err
		case n == 0:
			return r.memory[:at], nil
		default:
			at += n
		}
	}
}

// readUnchecked and equalUnchecked read and compare without the race detector,
// which takes several times as long over each byte as they do.
func readUnchecked(fd int, into []byte) (int, error) {
	n, _, errno := unix.Syscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&into[0])), uintptr(len(into)))
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

func equalUnchecked(a, b []byte) bool {
	return unsafe.String(unsafe.SliceData(a), len(a)) == unsafe.String(unsafe.SliceData(b), len(b))
}

// parseSeries returns the number of a content of a series, or what is wrong with
// it.
func parseSeries(text string) (n int, problem string) {
	number, _, _ := strings.Cut(text, " ")
	n, err := strconv.Atoi(number)
	if err != nil {
		return 0, fmt.Sprintf("%d bytes that begin with %q", len(text), abridged(text))
	}
	if want := seriesContent(n); text != want {
		at := 0
		for at < min(len(text), len(want)) && text[at] == want[at] {
			at++
		}
		return 0, fmt.Sprintf("%d bytes, not %d; from byte %d on it isn't version %d: %q",
			len(text), len(want), at, n, abridged(text[at:min(len(text), at+40)]))
	}
	return n, ""
}

// parseNumberedText is parseSeries of a numbered content, whose versions differ in
// size.
func parseNumberedText(text string) (n int, problem string) {
	n, err := parseNumbered(text)
	if err != nil {
		return 0, err.Error()
	}
	return n, ""
}

// readerGroup is processes that read one series.
type readerGroup struct {
	t         testing.TB
	seen      *newestSeen
	processes []*process
	inputs    []io.WriteCloser
}

// startReaders starts a reader of each kind, "quick" or one of slowReads, in a
// process of its own.
func startReaders(t testing.TB, path string, kinds ...string) *readerGroup {
	t.Helper()
	return startReadersOf(t, "series", path, kinds...)
}

// startReadersOf is startReaders of a "series", or of "numbered" contents.
func startReadersOf(t testing.TB, contents, path string, kinds ...string) *readerGroup {
	t.Helper()
	shared := filepath.Join(tempDir(t), "newest")
	seen, err := openNewestSeen(shared)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := seen.close(); err != nil {
			t.Error(err)
		}
	})
	g := &readerGroup{t: t, seen: seen}
	for _, kind := range kinds {
		cmd := helperCommand(t, readerHelper, path, kind, shared, contents)
		input, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		g.inputs = append(g.inputs, input)
		g.processes = append(g.processes, startProcess(t, cmd))
	}
	return g
}

// await waits until some reader has read version n.
func (g *readerGroup) await(n int) {
	g.t.Helper()
	await(g.t, fmt.Sprintf("a reader to read version %d", n), func() error {
		if newest := g.seen.load(); newest < n {
			return fmt.Errorf("the newest is %d", newest)
		}
		return nil
	})
}

// stop ends the readers and returns what they report.
func (g *readerGroup) stop() []readerReport {
	g.t.Helper()
	var reports []readerReport
	for i, p := range g.processes {
		if err := g.inputs[i].Close(); err != nil {
			g.t.Error(err)
		}
		if code := p.wait(); code != 0 {
			g.t.Fatalf("a reader exited with %d:\n%s", code, p.stderr)
		}
		var report readerReport
		if err := json.Unmarshal([]byte(p.stdout.String()), &report); err != nil {
			g.t.Fatalf("a reader's report: %v", err)
		}
		reports = append(reports, report)
	}
	return reports
}

// The readers find what they look for.
func TestSeriesReaderSeesWhatIsWrong(t *testing.T) {
	one, two := seriesContent(1), seriesContent(2)
	for name, text := range map[string]string{
		"empty": "", "cut short": two[:len(two)-1], "half": two[:len(two)/2],
		"mixed": one[:1000] + two[1000:], "longer": two + "x", "other": "hello",
	} {
		if n, problem := parseSeries(text); problem == "" {
			t.Errorf("%s: taken for version %d", name, n)
		}
	}
	if n, problem := parseSeries(two); n != 2 || problem != "" {
		t.Errorf("version 2 is taken for %d: %s", n, problem)
	}

	path := filepath.Join(tempDir(t), "file")
	mustWrite(t, path, two)
	group := startReaders(t, path, "quick")
	group.await(2)
	mustWrite(t, path+".new", one)
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	if report := group.stop()[0]; len(report.Problems) == 0 {
		t.Errorf("a reader saw nothing wrong with an older version: %+v", report)
	}
}
