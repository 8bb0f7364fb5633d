package rig

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// stopPatience is how long a process may take to end after it was asked to.
const stopPatience = 30 * time.Second

// childConfig says which process to start.
type childConfig struct {
	name string // in errors
	path string
	args []string
	env  []string
	// onStdout and onStderr get each line, without its end, as soon as it is
	// there. They are called by one goroutine each.
	onStdout, onStderr func(line string)
	// worthwhile says which lines of stderr to keep for errors. nil: all.
	worthwhile func(line string) bool
}

// child is a process that this one has started. It gets SIGTERM when this
// process dies in whatever way.
type child struct {
	name   string
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stderr tail
	done   chan struct{} // closed when it is gone and its output read
	err    error         // how it ended; to be read after done
}

// startChild starts a process, which ends with ctx at the latest; stop must be
// called all the same.
func startChild(ctx context.Context, cfg childConfig) (*child, error) {
	cmd := exec.CommandContext(ctx, cfg.path, cfg.args...)
	cmd.Env = cfg.env
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = stopPatience
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	c := &child{name: cfg.name, cmd: cmd, stderr: tail{only: cfg.worthwhile}, done: make(chan struct{})}
	cmd.Stdout = &lineWriter{handle: cfg.onStdout}
	cmd.Stderr = &lineWriter{handle: func(line string) {
		c.stderr.add(line)
		if cfg.onStderr != nil {
			cfg.onStderr(line)
		}
	}}
	var err error
	if c.stdin, err = cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", cfg.name, err)
	}
	started := make(chan error)
	go c.run(started)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("starting %s: %w", cfg.name, err)
	}
	return c, nil
}

// run starts the process and waits for its end. The death signal is sent when
// the thread that forked is gone (prctl(2), PR_SET_PDEATHSIG), so this goroutine
// keeps it.
func (c *child) run(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := c.cmd.Start()
	started <- err
	if err == nil {
		c.err = c.cmd.Wait()
		close(c.done)
	}
}

func (c *child) pid() int { return c.cmd.Process.Pid }

// ended returns nil while the process runs, then an error that says how it ended
// and what it said last.
func (c *child) ended() error {
	select {
	case <-c.done:
	default:
		return nil
	}
	err := c.err
	if err == nil {
		err = errors.New("exit status 0")
	}
	return fmt.Errorf("%s (pid %d) ended: %w; its last lines:\n%s", c.name, c.pid(), err, c.stderr.String())
}

// stop asks the process to end by a signal, and waits until it is gone. If it
// doesn't end, it is killed, which is an error, as is an exit code other than 0.
func (c *child) stop(signal syscall.Signal) error {
	// It may be gone already.
	_ = c.cmd.Process.Signal(signal)
	return c.wait()
}

// finish ends the process's input, by which a role is asked to end, and waits
// until it is gone.
func (c *child) finish() error {
	if err := c.stdin.Close(); err != nil {
		return fmt.Errorf("ending the input of %s: %w", c.name, err)
	}
	return c.wait()
}

func (c *child) wait() error {
	patience := time.NewTimer(stopPatience)
	defer patience.Stop()
	select {
	case <-c.done:
	case <-patience.C:
		_ = c.cmd.Process.Kill()
		<-c.done // cmd.WaitDelay bounds this
		return fmt.Errorf("%s (pid %d) didn't end within %v; its last lines:\n%s", c.name, c.pid(), stopPatience, c.stderr.String())
	}
	if c.err != nil {
		return c.ended()
	}
	return nil
}

// lineWriter hands what is written to it on, line by line.
type lineWriter struct {
	handle  func(line string)
	partial []byte
}

// Write implements io.Writer.
func (w *lineWriter) Write(p []byte) (int, error) {
	if w.handle == nil {
		return len(p), nil
	}
	w.partial = append(w.partial, p...)
	for {
		line, rest, ok := bytes.Cut(w.partial, []byte("\n"))
		if !ok {
			return len(p), nil
		}
		w.handle(string(line))
		w.partial = rest
	}
}

// tail keeps the last lines of what a process says.
type tail struct {
	only func(line string) bool // which are kept; nil: all

	mu    sync.Mutex // guards lines
	lines []string
}

func (t *tail) add(line string) {
	const most = 40
	if t.only != nil && !t.only(line) {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.lines = append(t.lines, line); len(t.lines) > most {
		t.lines = t.lines[1:]
	}
}

// String returns the lines.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.Join(t.lines, "\n")
}
