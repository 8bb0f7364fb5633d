package register

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/google/shlex"
	"golang.org/x/sys/unix"
)

const (
	// maxOutput is how much of a failed command's output is told.
	maxOutput = 256
	// reapLimit is how long a killed command is waited for. One that the kernel
	// can't end, because it waits for a disk, is given up.
	reapLimit = 200 * time.Millisecond
)

// Exec makes a check that runs a command, without a shell, and wants it to end
// with exit code 0. The environment is this process's, and KINGPIN_ENDPOINT,
// which is what is registered. Everything that it started, and that is in its
// process group, is killed when it has ended, or takes too long.
func Exec(command string, args ...string) Check {
	words := append([]string{command}, args...)
	return execCheck{"exec:" + strings.Join(words, " "), words}
}

type execCheck struct {
	text  string
	words []string
}

// parseExec parses what follows "exec:".
func parseExec(text string) (Check, error) {
	words, err := shlex.Split(text)
	if err != nil {
		return nil, err
	}
	if len(words) == 0 || words[0] == "" {
		return nil, errors.New("it names no command")
	}
	if strings.ContainsRune(text, 0) {
		return nil, errors.New("it holds a NUL")
	}
	return execCheck{"exec:" + text, words}, nil
}

func (c execCheck) String() string { return c.text }

func (c execCheck) Check(ctx context.Context, endpoint string) error {
	// Looked up each time: what is missing now may be installed later.
	cmd := exec.CommandContext(ctx, c.words[0], c.words[1:]...)
	cmd.Env = append(os.Environ(), "KINGPIN_ENDPOINT="+endpoint)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return killGroup(cmd.Process.Pid) }
	cmd.WaitDelay = reapLimit
	output := new(headWriter)
	cmd.Stdout, cmd.Stderr = output, output

	done := make(chan error, 1)
	go func() {
		// The kernel kills the command when the thread that started it ends; see
		// prctl(2). So that thread is kept.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		done <- runGroup(cmd)
	}()
	select {
	case err := <-done:
		return explainExec(ctx, err, output)
	case <-ctx.Done():
	}
	patience := time.NewTimer(2 * reapLimit)
	defer patience.Stop()
	select {
	case err := <-done:
		return explainExec(ctx, err, output)
	case <-patience.C:
		return fmt.Errorf("it was killed after %w, and the kernel can't end it", context.Cause(ctx))
	}
}

// runGroup runs a command, and kills what it leaves in its process group.
func runGroup(cmd *exec.Cmd) error {
	if err := cmd.Start(); err != nil {
		return err
	}
	// Until it is reaped its number can be nobody else's.
	for errors.Is(unix.Waitid(unix.P_PID, cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil), unix.EINTR) {
	}
	_ = killGroup(cmd.Process.Pid) // nobody may be left
	err := cmd.Wait()
	if errors.Is(err, exec.ErrWaitDelay) {
		return nil // it ended well, and left somebody who holds its output
	}
	return err
}

func killGroup(pid int) error {
	err := syscall.Kill(-pid, syscall.SIGKILL)
	if errors.Is(err, syscall.ESRCH) {
		return os.ErrProcessDone
	}
	return err
}

// explainExec adds to what became of a command what it said.
func explainExec(ctx context.Context, err error, output *headWriter) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("it was killed: %w", context.Cause(ctx))
	}
	if said := strings.TrimSpace(output.String()); said != "" {
		return fmt.Errorf("%w: %q", err, said)
	}
	return err
}

// headWriter keeps the beginning of what is written. It is used by one goroutine
// at a time.
type headWriter struct{ bytes.Buffer }

func (w *headWriter) Write(p []byte) (int, error) {
	if room := maxOutput - w.Len(); room > 0 {
		w.Buffer.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}
