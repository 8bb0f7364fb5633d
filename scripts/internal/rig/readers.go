package rig

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	roleReader = "reader"
	roleStat   = "stat"
	roleList   = "list"
	roleHold   = "hold"
)

// Report is what processes that use files have to tell.
type Report struct {
	Uses     int64
	Failed   int64         // a system call failed
	Torn     int64         // a content wasn't whole
	Back     int64         // a content older than one that somebody had read before
	Longest  time.Duration // the longest that one use took
	Problems []string      // the first few
}

// Add adds another's report.
func (r *Report) Add(other Report) {
	r.Uses += other.Uses
	r.Failed += other.Failed
	r.Torn += other.Torn
	r.Back += other.Back
	r.Longest = max(r.Longest, other.Longest)
	r.Problems = append(r.Problems, other.Problems...)
}

// Wrong returns nil if all was as it must be.
func (r *Report) Wrong() error {
	if r.Failed+r.Torn+r.Back == 0 {
		return nil
	}
	return fmt.Errorf("%d failed, %d torn, %d older, of %d: %s", r.Failed, r.Torn, r.Back, r.Uses, strings.Join(r.Problems, "; "))
}

// note counts a problem; where it is the first of few, it keeps the text.
func (r *Report) note(count *int64, format string, args ...any) {
	*count++
	const most = 5
	if len(r.Problems) < most {
		r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
	}
}

// timed counts a use and how long it took.
func (r *Report) timed(start int64) {
	r.Uses++
	r.Longest = max(r.Longest, Duration(monotonic()-start))
}

// User is a process that uses files in a loop until it is stopped.
type User struct {
	process *child
	line    string
}

func startUser(ctx context.Context, role string, args ...string) (*User, error) {
	u := new(User)
	var err error
	u.process, err = startRole(ctx, role, func(line string) { u.line = line }, args...)
	if err != nil {
		return nil, err
	}
	return u, nil
}

// Stop ends the process and returns what it has to tell.
func (u *User) Stop() (Report, error) {
	var report Report
	if err := u.process.finish(); err != nil {
		return report, err
	}
	if err := json.Unmarshal([]byte(u.line), &report); err != nil {
		return report, fmt.Errorf("reading what %s says, %q: %w", u.process.name, u.line, err)
	}
	return report, nil
}

// StartReader starts a process that opens, reads and closes the files of configs
// of one size, at random, with a pause between two, or without one. All readers that are given the
// same shared file, in a directory of the caller's, tell each other what they
// have read, so that each notices content that goes back.
func StartReader(ctx context.Context, shared, dir string, configs []Config, pause time.Duration) (*User, error) {
	return startUser(ctx, roleReader, append([]string{shared, strconv.Itoa(configs[0].Size), pause.String()}, paths(dir, configs)...)...)
}

// StartStats starts a process that stats the files of configs of one size.
func StartStats(ctx context.Context, dir string, configs []Config) (*User, error) {
	return startUser(ctx, roleStat, append([]string{strconv.Itoa(configs[0].Size)}, paths(dir, configs)...)...)
}

// StartLists starts a process that runs `ls -l`, again and again, in a directory
// that has some entries.
func StartLists(ctx context.Context, dir string, entries int) (*User, error) {
	return startUser(ctx, roleList, dir, strconv.Itoa(entries))
}

// StartHold starts a process that opens a config's file once and reads it, past
// the page cache, again and again.
func StartHold(ctx context.Context, path string, size int) (*User, error) {
	return startUser(ctx, roleHold, path, strconv.Itoa(size))
}

func paths(dir string, configs []Config) []string {
	all := make([]string, len(configs))
	for i, c := range configs {
		all[i] = filepath.Join(dir, c.File())
	}
	return all
}

func rawFiles(paths []string) ([]rawFile, error) {
	files := make([]rawFile, len(paths))
	for i, path := range paths {
		var err error
		if files[i], err = newRawFile(path); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// readLoop is a role.
func readLoop(ctx context.Context, args []string, out io.Writer) error {
	files, err := rawFiles(args[3:])
	if err != nil {
		return err
	}
	pause, err := time.ParseDuration(args[2])
	if err != nil {
		return err
	}
	size, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	newest, err := openNewestRead(args[0], len(files))
	if err != nil {
		return err
	}
	var report Report
	buffer := make([]byte, size+wordSize)
	for ended := false; !ended; {
		ended = ctx.Err() != nil // after one more read
		if pause > 0 {
			_ = Sleep(ctx, pause)
		}
		i := rand.IntN(len(files))
		before := newest.load(i)
		start := monotonic()
		length, err := files[i].read(buffer)
		report.timed(start)
		if err != nil {
			report.note(&report.Failed, "reading %s: %v", files[i].path, err)
			continue
		}
		n, whole := numberOf(buffer[:length], size)
		switch {
		case !whole:
			report.note(&report.Torn, "%s: %d bytes that are no content", files[i].path, length)
		case n < before:
			report.note(&report.Back, "%s: content %d was opened after %d had been read", files[i].path, n, before)
		default:
			newest.raise(i, n)
		}
	}
	return errors.Join(newest.close(), tell(out, report))
}

// statLoop is a role.
func statLoop(ctx context.Context, args []string, out io.Writer) error {
	size, err := strconv.ParseInt(args[0], 10, 64)
	if err != nil {
		return err
	}
	var report Report
	for i, ended := 0, false; !ended; i++ {
		ended = ctx.Err() != nil
		path := args[1+i%len(args[1:])]
		var st unix.Stat_t
		start := monotonic()
		err := unix.Stat(path, &st)
		report.timed(start)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			report.note(&report.Failed, "stat %s: %v", path, err)
		case st.Size != size:
			report.note(&report.Torn, "stat %s: %d bytes, not %d", path, st.Size, size)
		}
		if i%10 == 9 { // leave the machine to the readers
			_ = Sleep(ctx, time.Millisecond)
		}
	}
	return tell(out, report)
}

// listLoop is a role.
func listLoop(ctx context.Context, args []string, out io.Writer) error {
	dir := args[0]
	entries, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	var report Report
	for ended := false; !ended; {
		ended = ctx.Err() != nil
		start := monotonic()
		// It isn't ended with ctx, which would be taken for a failure.
		listing, err := exec.CommandContext(context.WithoutCancel(ctx), "ls", "-l", dir).CombinedOutput()
		report.timed(start)
		lines := strings.Count(string(listing), "\n") - 1 // the first is "total"
		switch {
		case err != nil:
			report.note(&report.Failed, "ls -l %s: %v: %s", dir, err, listing)
		case lines != entries:
			report.note(&report.Torn, "ls -l %s: %d entries, not %d", dir, lines, entries)
		}
		_ = Sleep(ctx, 20*time.Millisecond)
	}
	return tell(out, report)
}

// holdLoop is a role.
func holdLoop(ctx context.Context, args []string, out io.Writer) error {
	path := args[0]
	size, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	var report Report
	buffer := make([]byte, size+wordSize)
	for opened, ended := -1, false; !ended; {
		ended = ctx.Err() != nil
		start := monotonic()
		err := unix.Fadvise(fd, 0, 0, unix.FADV_DONTNEED)
		length := 0
		if err == nil {
			length, err = unix.Pread(fd, buffer, 0)
		}
		report.timed(start)
		n, whole := numberOf(buffer[:max(length, 0)], size)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			report.note(&report.Failed, "reading %s, opened long ago: %v", path, err)
		case !whole:
			report.note(&report.Torn, "%s, opened long ago: %d bytes that are no content", path, length)
		case opened < 0:
			opened = n
		case n != opened:
			report.note(&report.Torn, "%s, opened at content %d, has content %d", path, opened, n)
		}
		_ = Sleep(ctx, 5*time.Millisecond)
	}
	return tell(out, report)
}
