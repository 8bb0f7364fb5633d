package fs

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// workHelper serves a Holding's session until standard input ends: the directory
// args[0], with descriptors of the names args[1:] from number 3 on. It prints
// "serving", and "wake FROM TO" for each wakeup, which is to be answered by a
// line. Then it publishes one version after the other of the files "0" and "1".
func workHelper(args []string) error {
	var descriptors []Descriptor
	for i, name := range args[1:] {
		descriptors = append(descriptors, Descriptor{name, os.NewFile(uintptr(3+i), name)})
	}
	held, err := ResumeHolding(HoldingConfig{Dir: args[0]}, descriptors)
	if err != nil {
		return err
	}
	answers := make(chan error)
	over := make(chan struct{})
	go func() {
		defer close(over)
		for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
			answers <- nil
		}
	}()
	// Its versions come after those of its predecessors.
	writer := &fakeWriter{last: time.Now().UnixNano()}
	v := New(Config{Dir: args[0], Subdirs: []string{"decider"}, Holding: held, Holder: os.Getppid(), Writer: writer, Wake: func(w Wakeup) error {
		fmt.Fprintf(os.Stdout, "wake %s %s\n", w.From, w.To)
		select {
		case <-answers:
		case <-over:
		}
		return nil
	}})
	writer.v = v
	ctx := context.Background()
	if err := v.Open(ctx); err != nil {
		return err
	}
	if err := v.Mount(ctx); err != nil {
		return err
	}
	fmt.Fprintln(os.Stdout, "serving")
	for n := workFrom(v); ; n++ {
		select {
		case <-over:
			if err := v.Close(); err != nil {
				return err
			}
			return held.Close()
		default:
		}
		e := Entry{Content: numbered(n, workSize), ModTime: time.Unix(0, int64(n)), Version: strconv.FormatUint(n, 10)}
		if err := v.Publish(strconv.FormatUint(n%workFiles, 10), e); err != nil {
			return err
		}
	}
}

const (
	workFiles = 2
	workSize  = 40_000
)

// workFrom returns the first version that comes after all that are served.
func workFrom(v *Volume) uint64 {
	var last uint64
	for _, name := range v.Names() {
		e, _, _ := v.Get(name)
		if n, err := numberOf(e.Content, workSize); err == nil {
			last = max(last, n)
		}
	}
	return last + 1
}

// workers starts one worker after the other on a Holding.
type workers struct {
	t    *testing.T
	h    *Holding
	cmd  *exec.Cmd
	in   io.WriteCloser
	all  sync.WaitGroup
	made int
}

// start starts a worker and returns when it serves.
func (w *workers) start() {
	w.t.Helper()
	descriptors, err := w.h.Descriptors()
	check(w.t, err)
	w.cmd = exec.Command("/proc/self/exe", w.h.cfg.Dir)
	w.cmd.Env = append(os.Environ(), helperEnv+"=work")
	w.cmd.Stderr = os.Stderr
	for _, d := range descriptors {
		w.cmd.Args = append(w.cmd.Args, d.Name)
		w.cmd.ExtraFiles = append(w.cmd.ExtraFiles, d.File)
	}
	w.in, err = w.cmd.StdinPipe()
	check(w.t, err)
	out, err := w.cmd.StdoutPipe()
	check(w.t, err)
	check(w.t, w.cmd.Start())
	w.made++
	for _, d := range descriptors {
		check(w.t, d.File.Close())
	}
	serving := make(chan struct{})
	w.all.Go(func() { w.answer(out, w.in, serving) })
	select {
	case <-serving:
	case <-time.After(20 * time.Second):
		w.t.Fatal("the worker doesn't serve")
	}
}

// answer does what a worker asks for, until it is gone.
func (w *workers) answer(out io.Reader, in io.Writer, serving chan<- struct{}) {
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if lines.Text() == "serving" {
			close(serving)
			continue
		}
		ask := strings.SplitN(lines.Text(), " ", 3)
		if err := w.h.Wake(Wakeup{From: ask[1], To: ask[2]}); err != nil && w.h.Shown() {
			w.t.Errorf("%q: %v", lines.Text(), err)
		}
		_, _ = io.WriteString(in, "done\n") // it may be gone
	}
}

// kill kills the worker. It may not be able to end before another one serves.
func (w *workers) kill() {
	w.t.Helper()
	check(w.t, w.cmd.Process.Kill())
	if !isDying(w.cmd.Process.Pid) {
		w.t.Error("a killed process isn't dying")
	}
	cmd := w.cmd
	w.all.Go(func() { _ = cmd.Wait() })
}

// end ends the last worker and waits for all.
func (w *workers) end() {
	w.t.Helper()
	check(w.t, w.in.Close())
	check(w.t, w.cmd.Wait())
	w.all.Wait()
}

// hold returns a Holding with a session.
func hold(t *testing.T, dir string) *Holding {
	t.Helper()
	return holdBy(t, HoldingConfig{Dir: dir})
}

func holdBy(t *testing.T, cfg HoldingConfig) *Holding {
	t.Helper()
	needFUSE(t)
	cleanMounts(t, cfg.Dir)
	cfg.Logger = testLogger(t)
	h := NewHolding(cfg)
	check(t, h.Open(t.Context()))
	t.Cleanup(func() { check(t, h.Close()) })
	check(t, h.Connect(t.Context()))
	return h
}

// However often the process that serves is killed, nobody sees an error, a torn
// content or an older one, what is open stays readable, and whoever watches is
// told of the last version.
func TestWorkersAreKilledAndReplaced(t *testing.T) {
	const kills = 25
	dir := t.TempDir()
	h := hold(t, dir)
	w := &workers{t: t, h: h}
	w.start()
	if h.Server() != w.cmd.Process.Pid {
		t.Errorf("served by %d, not by %d", h.Server(), w.cmd.Process.Pid)
	}
	check(t, h.Show())
	for i := range workFiles {
		await(t, "the files", func() bool {
			_, err := os.Stat(filepath.Join(dir, strconv.Itoa(i)))
			return err == nil
		})
	}
	// The kernel learns that closing a file needs no answer. If a process that is
	// about to be the next worker had to wait for one, nobody could give it.
	_, err := os.ReadFile(filepath.Join(dir, "0"))
	check(t, err)
	open, err := os.Open(filepath.Join(dir, "0"))
	check(t, err)
	before, err := io.ReadAll(open)
	check(t, err)
	shared := filepath.Join(t.TempDir(), "newest")
	newest, err := openNewest(shared, workFiles)
	check(t, err)
	reader := startHelper(t, &syscall.SysProcAttr{Setpgid: true}, "read", dir, shared, strconv.Itoa(workFiles), strconv.Itoa(workSize))
	reader.line(t)
	events := watchNames(t, dir)
	for range kills {
		was := newest[0].Load()
		await(t, "a reader to see a newer version", func() bool { return newest[0].Load() > was })
		w.kill()
		w.start()
	}
	reader.end(t)
	// Its pages were read before, and the kernel forgets them.
	check(t, unix.Fadvise(int(open.Fd()), 0, 0, unix.FADV_DONTNEED))
	after := make([]byte, workSize)
	if _, err := open.ReadAt(after, 0); err != nil || string(after) != string(before) {
		t.Errorf("what has been open all the time: %v", err)
	}
	for len(events) > 0 {
		<-events
	}
	if got := <-events; got != "0" && got != "1" {
		t.Errorf("the watcher sees %q", got)
	}
	check(t, open.Close())
	// A wakeup may be under way, which only somebody who serves can answer.
	check(t, h.Unmount(t.Context()))
	w.end()
	if h.Connected() || h.Shown() {
		t.Error("there is a session after the end of it")
	}
	e, err := os.ReadFile(filepath.Join(dir, "0"))
	check(t, err)
	if n, err := numberOf(e, workSize); err != nil || n < newest[0].Load() {
		t.Errorf("the plain file is version %d, %v, and %d was seen", n, err, newest[0].Load())
	}
}

// watchNames watches a directory by inotify, for as long as the test runs, and
// hands out the names that are renamed into it.
func watchNames(t *testing.T, dir string) <-chan string {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	check(t, err)
	_, err = unix.InotifyAddWatch(fd, dir, unix.IN_MOVED_TO)
	check(t, err)
	f := os.NewFile(uintptr(fd), "inotify")
	names := make(chan string, 1000)
	var reading sync.WaitGroup
	reading.Go(func() {
		buf := make([]byte, 1<<16)
		for {
			n, err := f.Read(buf)
			if err != nil {
				return
			}
			for b := buf[:n]; len(b) > 0; {
				size := unix.SizeofInotifyEvent + int(b[12])
				select {
				case names <- strings.TrimRight(string(b[unix.SizeofInotifyEvent:size]), "\x00"):
				default:
				}
				b = b[size:]
			}
		}
	})
	t.Cleanup(func() {
		check(t, f.Close())
		reading.Wait()
	})
	return names
}
