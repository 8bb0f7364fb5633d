package devcluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// stopGrace is how long Stop waits after SIGTERM before it kills.
const stopGrace = 5 * time.Second

// killPatience is how long a killed process may take to be gone before we say
// that it is stuck in the kernel.
const killPatience = 20 * time.Second

// ProcessConfig says which program to run, and where.
type ProcessConfig struct {
	// Name names the program in errors: "zookeeper".
	Name string
	// Path is the executable; without a slash it is looked up in $PATH.
	Path string
	// Args are the arguments, without the program's name.
	Args []string
	// Dir is the working directory.
	Dir string
	// Env is added to this process's environment, as KEY=value.
	Env []string
	// LogFile takes stdout and stderr. It is appended to, and created if
	// missing. Nothing ever reaches the terminal.
	LogFile string
}

// Process is a running child process, in a process group of its own, so that
// Ctrl-C on the terminal doesn't reach it. The kernel kills it (SIGKILL) when
// this process ends in whatever way. Its methods are safe for concurrent use.
type Process struct {
	name    string
	logFile string
	pid     int
	done    chan struct{} // closed when the process is gone and reaped

	// mu guards exited and err, and makes signals safe: while exited is false
	// the process isn't reaped, so its pid can't belong to another one.
	mu     sync.Mutex
	exited bool
	err    error
}

// StartProcess runs a program. The caller must end it with Stop or Kill.
func StartProcess(cfg ProcessConfig) (*Process, error) {
	log, err := os.OpenFile(cfg.LogFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", cfg.Name, err)
	}
	// The child has its own descriptor once it runs.
	defer func() { _ = log.Close() }()

	cmd := exec.CommandContext(context.Background(), cfg.Path, cfg.Args...) // Stop ends it
	cmd.Dir = cfg.Dir
	cmd.Env = append(os.Environ(), cfg.Env...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}

	p := &Process{name: cfg.Name, logFile: cfg.LogFile, done: make(chan struct{})}
	started := make(chan error)
	go p.run(cmd, started)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("starting %s: %w", cfg.Name, err)
	}
	return p, nil
}

// run starts cmd and waits for its end. The death signal is tied to the thread
// that forked, not to the process (prctl(2), PR_SET_PDEATHSIG): so that thread
// is kept, by this goroutine, for as long as the child lives.
func (p *Process) run(cmd *exec.Cmd, started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		started <- err
		return
	}
	p.pid = cmd.Process.Pid
	started <- nil

	// Wait without reaping first: until the pid is marked as gone, under mu,
	// it stays a zombie's and can't be given to another process.
	for {
		err := unix.Waitid(unix.P_PID, p.pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	p.mu.Lock()
	// Whatever the leader left behind in its group goes with it.
	_ = unix.Kill(-p.pid, unix.SIGKILL)
	p.exited = true
	p.err = cmd.Wait()
	p.mu.Unlock()
	close(p.done)
}

// Pid returns the child's process id.
func (p *Process) Pid() int { return p.pid }

// Done is closed when the process is gone.
func (p *Process) Done() <-chan struct{} { return p.done }

// outcome says how a process that is gone has ended, never nil.
func (p *Process) outcome() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil {
		return errors.New("exit status 0")
	}
	return p.err
}

// Wait waits until the process is gone or ctx is done. It returns how it
// ended, nil for exit status 0, or the context's error.
func (p *Process) Wait(ctx context.Context) error {
	select {
	case <-p.done:
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.err
	case <-ctx.Done():
		return fmt.Errorf("waiting for %s (pid %d) to end: %w", p.name, p.pid, ctx.Err())
	}
}

// Stop asks the process to end (SIGTERM), kills it after 5 s or as soon as ctx
// is done, and returns when it is gone. It is no error if it had to be killed
// or was gone before.
func (p *Process) Stop(ctx context.Context) error {
	if err := p.signal(unix.SIGTERM); err != nil {
		return err
	}
	// A paused process would never see SIGTERM.
	if err := p.signal(unix.SIGCONT); err != nil {
		return err
	}
	grace := time.NewTimer(stopGrace)
	defer grace.Stop()
	select {
	case <-p.done:
		return nil
	case <-grace.C:
	case <-ctx.Done():
	}
	return p.Kill()
}

// Kill ends the process by SIGKILL and returns when it is gone. It is no error
// if it was gone before.
func (p *Process) Kill() error {
	if err := p.signal(unix.SIGKILL); err != nil {
		return err
	}
	patience := time.NewTimer(killPatience)
	defer patience.Stop()
	select {
	case <-p.done:
		return nil
	case <-patience.C:
		return fmt.Errorf("killing %s: pid %d is still there after %v", p.name, p.pid, killPatience)
	}
}

// Pause freezes the process (SIGSTOP): its sockets stay open and accept, but
// nothing is answered. It returns when every thread has stopped. Stop and Kill
// work on a paused process.
func (p *Process) Pause() error {
	if err := p.signal(unix.SIGSTOP); err != nil {
		return err
	}
	patience := time.NewTimer(killPatience)
	defer patience.Stop()
	poll := time.NewTicker(time.Millisecond)
	defer poll.Stop()
	for {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_PID, p.pid, &info, unix.WSTOPPED|unix.WNOHANG|unix.WNOWAIT, nil)
		if err == nil && info.Signo != 0 {
			return nil
		}
		select {
		case <-p.done:
			return nil
		case <-patience.C:
			return fmt.Errorf("pausing %s: pid %d still runs after %v", p.name, p.pid, killPatience)
		case <-poll.C:
		}
	}
}

// Resume lets a paused process run on (SIGCONT).
func (p *Process) Resume() error { return p.signal(unix.SIGCONT) }

// signal signals the process group; a process that is gone is no error.
func (p *Process) signal(sig syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.exited {
		return nil
	}
	if err := unix.Kill(-p.pid, sig); err != nil {
		return fmt.Errorf("sending %v to %s (pid %d): %w", sig, p.name, p.pid, err)
	}
	return nil
}

// LogTail returns the last lines of what the process wrote, for error messages.
func (p *Process) LogTail() string {
	const lines, size = 10, 4096
	content, err := os.ReadFile(p.logFile)
	if err != nil {
		return err.Error()
	}
	if len(content) > size {
		content = content[len(content)-size:]
	}
	all := strings.Split(strings.TrimSpace(string(content)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// awaitReady calls ready, every few milliseconds, until it returns nil. It
// fails when the process ends, when ctx is done, and after the limit, with
// ready's last error and the end of the log.
func (p *Process) awaitReady(ctx context.Context, limit time.Duration, ready func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	poll := time.NewTicker(15 * time.Millisecond)
	defer poll.Stop()
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("%s ended before it was ready (%w); its last lines in %q:\n%s",
				p.name, p.outcome(), p.logFile, p.LogTail())
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w (%w); its last lines in %q:\n%s",
				p.name, err, ctx.Err(), p.logFile, p.LogTail())
		case <-poll.C:
		}
	}
}

// serverDir prepares the directory of a server: the given one, created if
// missing, or a temporary one if dir is empty. It is absolute.
func serverDir(dir, tempPattern string) (abs string, temporary bool, err error) {
	if dir == "" {
		dir, err = os.MkdirTemp("", tempPattern)
		return dir, true, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", false, err
	}
	abs, err = filepath.Abs(dir)
	return abs, false, err
}
