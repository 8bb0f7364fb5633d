package rig

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/kingpinfs/kingpin/store"
)

func TestMain(m *testing.M) {
	if code, ok := RunRole(); ok {
		os.Exit(code)
	}
	goleak.VerifyTestMain(m)
}

func TestContents(t *testing.T) {
	for _, size := range []int{8, 4 << 10} {
		if n, whole := numberOf([]byte(Content(17, size)), size); n != 17 || !whole {
			t.Errorf("content 17 of %d bytes is taken for %d, whole: %v", size, n, whole)
		}
	}
	one, two := Content(1, 64), Content(2, 64)
	for name, content := range map[string]string{
		"empty": "", "cut short": one[:56], "mixed": one[:32] + two[32:], "last word": one[:56] + two[56:], "other": strings.Repeat("x", 64),
	} {
		if n, whole := numberOf([]byte(content), 64); whole {
			t.Errorf("%s: taken for content %d", name, n)
		}
	}
	if first, second := versionOf(999_999), versionOf(1_000_000); second.Compare(first) <= 0 {
		t.Errorf("%s isn't newer than %s", second, first)
	}
	if _, err := store.ParseVersion(string(versionOf(3))); err != nil {
		t.Error(err)
	}
}

func TestParseStat(t *testing.T) {
	got, err := parseStat("42 (a) b (c) S 7 42 42 0 -1 4194560 100 0 0 0 12 30 0 0 20 0 9 0 100 1000 10\n")
	if want := (stat{pid: 42, parent: 7, state: "S", cpu: 420 * time.Millisecond}); err != nil || got != want {
		t.Errorf("got %+v, %v", got, err)
	}
	for _, text := range []string{"", "42 (a", "42 (a) S", "x (a) S 7 42 42 0 -1 4194560 100 0 0 0 12 30 0"} {
		if _, err := parseStat(text); err == nil {
			t.Errorf("%q passes for a process's stat", text)
		}
	}
}

func TestParseFields(t *testing.T) {
	got := parseFields("Rss:\t  12 kB\nName:\tx\nvoluntary_ctxt_switches:\t34\n00400000-7fff [rollup]\n")
	if len(got) != 2 || got["Rss"] != 12 || got["voluntary_ctxt_switches"] != 34 {
		t.Errorf("got %v", got)
	}
}

func TestUsage(t *testing.T) {
	before, err := UsageOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if before.RSS < 1<<20 || before.PSS <= 0 || before.PSS > before.RSS || before.FDs < 3 || before.Threads < 1 {
		t.Errorf("%+v can't be", before)
	}
	const held = 1 << 20
	fd, err := unix.MemfdCreate("kingpin-rig-test", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(fd), "memfd")
	t.Cleanup(func() { _ = file.Close() })
	if _, err := file.Write(make([]byte, held)); err != nil {
		t.Fatal(err)
	}
	after, err := UsageOf(os.Getpid(), os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if after.Shared-before.Shared != held {
		t.Errorf("a memory file of %d bytes, held twice, counts as %d", held, after.Shared-before.Shared)
	}
	if after.WakeupsSince(&before) < 0 {
		t.Errorf("%d wakeups", after.WakeupsSince(&before))
	}
	const nobody = 1 << 30
	if _, err := UsageOf(nobody); err == nil {
		t.Error("a process that doesn't exist has a usage")
	}
}

func TestSpread(t *testing.T) {
	all := make([]int64, 1000)
	for i := range all {
		all[i] = int64(1000 - i)
	}
	if got, want := SpreadOf(all), (Spread{N: 1000, P50: 501, P99: 991, Max: 1000}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := SpreadOf(nil); got != (Spread{}) {
		t.Errorf("of nothing: %+v", got)
	}
}

// The readers find what they look for.
func TestReadersSeeWhatIsWrong(t *testing.T) {
	c := Config{Domain: "d", Key: "k", Size: 64}
	dir := t.TempDir()
	write := func(content string) {
		t.Helper()
		path := filepath.Join(dir, c.File())
		if err := errors.Join(os.WriteFile(path+".new", []byte(content), 0o600), os.Rename(path+".new", path)); err != nil {
			t.Fatal(err)
		}
	}
	shared := filepath.Join(t.TempDir(), "newest")
	// read has a reader read once at least, after whatever was read before.
	read := func() Report {
		t.Helper()
		user, err := StartReader(t.Context(), shared, dir, []Config{c}, time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		report, err := user.Stop()
		if err != nil {
			t.Fatal(err)
		}
		return report
	}
	write(Content(2, c.Size))
	if r := read(); r.Wrong() != nil || r.Uses == 0 {
		t.Errorf("nothing was wrong: %+v", r)
	}
	for name, change := range map[string]func(){
		"older": func() { write(Content(1, c.Size)) },
		"torn":  func() { write(Content(2, c.Size)[:32] + Content(1, c.Size)[32:]) },
		"gone":  func() { _ = os.Remove(filepath.Join(dir, c.File())) },
	} {
		change()
		if r := read(); r.Wrong() == nil {
			t.Errorf("%s: the reader saw nothing wrong: %+v", name, r)
		}
		write(Content(2, c.Size))
	}
}

// A file that is replaced is told of by both watchers.
func TestWatchers(t *testing.T) {
	configs := []Config{{Domain: "d", Key: "a", Size: 64}, {Domain: "d", Key: "b", Size: 64}}
	dir := t.TempDir()
	write := func(c Config, n int) {
		t.Helper()
		path := filepath.Join(dir, c.File())
		if err := errors.Join(os.WriteFile(path+".new", []byte(Content(n, c.Size)), 0o600), os.Rename(path+".new", path)); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range configs {
		write(c, 0)
	}
	w, err := StartWatchers(t.Context(), dir, configs)
	if err != nil {
		t.Fatal(err)
	}
	for n := 1; n <= 3; n++ {
		for _, c := range configs {
			write(c, n)
			if err := w.Await(t.Context(), c, n, stopPatience); err != nil {
				t.Error(err)
			}
		}
	}
	if err := w.Await(t.Context(), configs[0], 4, time.Millisecond); err == nil || !strings.Contains(err.Error(), "missed content 4") {
		t.Errorf("content 4 was never written: %v", err)
	}
	if err := w.Stop(); err != nil {
		t.Error(err)
	}
}

func TestLines(t *testing.T) {
	var lines []string
	w := &lineWriter{handle: func(line string) { lines = append(lines, line) }}
	for _, part := range []string{"on", "e\ntwo\n\nthr", "ee\n", "rest"} {
		if n, err := w.Write([]byte(part)); n != len(part) || err != nil {
			t.Errorf("writing %q: %d, %v", part, n, err)
		}
	}
	if want := []string{"one", "two", "", "three"}; !slices.Equal(lines, want) {
		t.Errorf("got %q, want %q", lines, want)
	}
}

func TestReadFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	raw, err := newRawFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, read := range map[string]func([]byte) (int, error){
		"readFile": func(buffer []byte) (int, error) { return readFile(path, buffer) }, "rawFile": raw.read,
	} {
		buffer := make([]byte, len("content")+1)
		if n, err := read(buffer); err != nil || string(buffer[:n]) != "content" {
			t.Errorf("%s: %q, %v", name, buffer[:n], err)
		}
		if _, err := read(buffer[:len("content")]); !errors.Is(err, unix.EFBIG) {
			t.Errorf("%s into a buffer that is too small to tell: %v", name, err)
		}
	}
	if _, err := readFile(path+".none", make([]byte, 8)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that isn't there: %v", err)
	}
}
