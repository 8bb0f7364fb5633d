package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/kingpinfs/kingpin/internal/follow"
)

// watchRunner runs a command with each version of a file, one at a time.
type watchRunner struct {
	app     *app
	name    string
	command []string
	// signals has the one that ended the context, which doesn't tell.
	signals chan os.Signal
}

func newWatchRunner(a *app, name string, command []string) *watchRunner {
	r := &watchRunner{app: a, name: name, command: command, signals: make(chan os.Signal, 1)}
	signal.Notify(r.signals, os.Interrupt, syscall.SIGTERM)
	return r
}

func (r *watchRunner) close() { signal.Stop(r.signals) }

// run runs the command with a version and returns when it has ended. If ctx ends
// meanwhile, it gets the signal that ended it. That the command fails is told
// and is no error.
func (r *watchRunner) run(ctx context.Context, v follow.Version) error {
	stdin, err := contentFile(v.Content)
	if err != nil {
		return fmt.Errorf("handing a version of %q to a command: %w", r.name, err)
	}
	defer stdin.Close()
	cmd := exec.CommandContext(ctx, r.command[0], r.command[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, r.app.stdout, r.app.stderr
	cmd.Env = append(os.Environ(), "KINGPIN_NAME="+r.name, "KINGPIN_VERSION="+v.ID)
	// A process group of its own: a Ctrl-C is for the terminal's foreground
	// group, and so reaches it through us alone, once.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return r.passSignal(cmd.Process.Pid) }
	if err := cmd.Run(); err != nil && ctx.Err() == nil {
		r.app.log.Error("the command failed; it runs again with the next version", "command", r.command, "name", r.name, "version", v.ID, "error", err)
	}
	return nil
}

// passSignal signals the command and all that it started. From now on signals
// that we get end us, as everywhere else.
func (r *watchRunner) passSignal(pid int) error {
	signal.Stop(r.signals) // what is on its way to all who asked for it has arrived then
	sig := syscall.SIGTERM
	select {
	case got := <-r.signals:
		sig, _ = got.(syscall.Signal)
	default:
	}
	err := syscall.Kill(-pid, sig)
	if errors.Is(err, syscall.ESRCH) {
		return os.ErrProcessDone
	}
	return err
}

// contentFile returns an open file in memory with a content, which who inherits
// it may read at leisure, and as often as it likes.
func contentFile(content []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate("kingpin-content", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("creating a file in memory: %w", err)
	}
	file := os.NewFile(uintptr(fd), "content")
	if _, err := io.Copy(file, bytes.NewReader(content)); err != nil {
		file.Close()
		return nil, err
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}
