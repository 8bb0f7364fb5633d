package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"github.com/kingpinfs/kingpin/register"
)

// childExit is how a command ended, which is how we end.
type childExit struct{ code int }

func (e *childExit) Error() string { return fmt.Sprintf("the command exited with %d", e.code) }

// passedOn are the signals that a command gets as we do. SIGTERM and SIGINT, which
// are to end it, come after its registration has ended.
var passedOn = []os.Signal{
	syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGWINCH, syscall.SIGALRM, syscall.SIGCONT,
}

// child is a command that runs.
type child struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
}

// startChild runs a command with our input and output. If we die, however that
// comes, it is killed.
func (a *app) startChild(command []string) (*child, error) {
	c := &child{cmd: exec.Command(command[0], command[1:]...), done: make(chan struct{})} //nolint:noctx // it is ended by signals
	c.cmd.Stdin, c.cmd.Stdout, c.cmd.Stderr = a.stdin, a.stdout, a.stderr
	// A process group of its own: a Ctrl-C is for the terminal's foreground
	// group, and so reaches it through us alone, when it is no member any more.
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		defer close(c.done)
		// The kernel kills the command when the thread that started it ends; see
		// prctl(2). So that thread is kept.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := c.cmd.Start()
		started <- err
		if err == nil {
			_ = c.cmd.Wait() // how it ended is in ProcessState
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("running the command %q: %w", command, err)
	}
	return c, nil
}

// signal signals the command, and not what it started, which is its business.
func (c *child) signal(sig os.Signal) { _ = c.cmd.Process.Signal(sig) } // it may have ended

// outcome is nil for exit code 0. The command must have ended.
func (c *child) outcome() error {
	code := c.cmd.ProcessState.ExitCode()
	if status, ok := c.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		code = 128 + int(status.Signal())
	}
	if code == 0 {
		return nil
	}
	return &toldError{&childExit{code}} // the command has told what there is to tell
}

// superviseRegistered runs a command and registers it while it is healthy. It
// returns when the command has ended. If ctx is done already nothing is run.
func (a *app) superviseRegistered(ctx context.Context, registration *register.Registration, drain time.Duration, command []string) error {
	signals := make(chan os.Signal, 32)
	for _, sig := range append([]os.Signal{syscall.SIGTERM, os.Interrupt}, passedOn...) {
		if !signal.Ignored(sig) { // as by nohup
			signal.Notify(signals, sig)
		}
	}
	defer signal.Stop(signals)
	if ctx.Err() != nil { // by a signal that came before, and so isn't among these
		a.log.Info("ended before the command was run")
		return nil
	}
	c, err := a.startChild(command)
	if err != nil {
		return err
	}
	ctx, leave := context.WithCancel(context.WithoutCancel(ctx)) // signals are dealt with here
	defer leave()
	s := &supervision{app: a, child: c, registration: registration, drain: drain, leave: leave,
		left: make(chan error, 1), drained: make(chan struct{}), hurry: make(chan struct{})}
	go func() { s.left <- registration.Run(ctx) }()
	return s.run(signals)
}

// supervision is the course of a command's life.
type supervision struct {
	app          *app
	child        *child
	registration *register.Registration
	drain        time.Duration
	leave        context.CancelFunc // ends the registration
	left         chan error         // gets what the registration came to
	drained      chan struct{}      // closed when the command may be told to end
	hurry        chan struct{}      // closed to not wait for that

	end      os.Signal // what the command is to be ended by; nil while it isn't
	told     bool      // it was, or has ended by itself
	draining bool      // drained will be closed
	failed   error     // why the registration can't be kept at all
}

func (s *supervision) run(signals <-chan os.Signal) error {
	left, drained := s.left, s.drained
	for {
		select {
		case <-s.child.done:
			return s.ended(left)
		case sig := <-signals:
			s.heard(sig)
		case err := <-left:
			left = nil
			s.hasLeft(err)
		case <-drained:
			drained = nil
			s.tell()
		}
	}
}

// heard deals with a signal.
func (s *supervision) heard(sig os.Signal) {
	ends := sig == syscall.SIGTERM || sig == os.Interrupt
	switch {
	case !ends || s.told:
		s.child.signal(sig)
	case s.end == nil:
		s.app.log.Info("ending the registration, and then the command", "signal", sig)
		s.end = sig
		s.leave()
	default: // a second one
		s.end = sig
		s.tell()
	}
}

// hasLeft goes on when the service is no member any more.
func (s *supervision) hasLeft(err error) {
	if err != nil {
		s.app.log.Error("the registration has ended", "error", err)
	}
	if s.end == nil { // nothing can be registered: see what Run says of its errors
		s.failed, s.end = err, syscall.SIGTERM
	}
	if s.told {
		return
	}
	s.draining = true
	go func() {
		defer close(s.drained)
		s.app.drain(s.registration, s.drain, s.hurry)
	}()
}

// tell has the command end.
func (s *supervision) tell() {
	if s.told {
		return
	}
	s.noWait()
	s.app.log.Info("ending the command", "pid", s.child.cmd.Process.Pid, "signal", s.end)
	s.child.signal(s.end)
}

// noWait ends the wait for callers, or has none begin.
func (s *supervision) noWait() {
	if !s.told {
		s.told = true
		close(s.hurry)
	}
}

// ended ends the registration of a command that has ended, and returns how it
// did.
func (s *supervision) ended(left <-chan error) error {
	s.leave()
	s.noWait()
	if s.draining {
		<-s.drained
	}
	s.app.log.Info("the command has ended", "state", s.child.cmd.ProcessState.String())
	if left != nil {
		if err := <-left; err != nil {
			s.app.log.Error("the registration has ended", "error", err)
		}
	}
	if s.failed != nil {
		return s.failed
	}
	return s.child.outcome()
}
