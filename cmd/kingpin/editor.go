package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// editorCommand is what the environment says that people edit with.
func editorCommand(getenv func(string) string) string {
	for _, variable := range []string{"VISUAL", "EDITOR"} {
		if command := getenv(variable); strings.TrimSpace(command) != "" {
			return command
		}
	}
	return "vi"
}

// runEditor lets a person edit a file. The command may have arguments, as a shell
// understands them.
func (a *app) runEditor(ctx context.Context, file string) error {
	command := editorCommand(os.Getenv)
	cmd := exec.CommandContext(ctx, "sh", "-c", command+` "$@"`, command, file)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = a.stdin, a.stderr, a.stderr
	// The editor has the terminal to itself, as if a shell had started it: what
	// is typed to interrupt it isn't meant for us.
	if terminal, ok := a.stdin.(*os.File); ok && isTerminal(terminal) && hasForeground(terminal) {
		cmd.SysProcAttr = &syscall.SysProcAttr{Foreground: true, Ctty: int(terminal.Fd())}
		cmd.Stdout = a.stdout
		defer takeForeground(terminal)
	}
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("running the editor %q: %w: set VISUAL or EDITOR to another one", command, err)
	}
	return nil
}

// hasForeground tells whether a terminal is the one that controls us, and ours.
func hasForeground(terminal *os.File) bool {
	group, err := unix.IoctlGetInt(int(terminal.Fd()), unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}

// takeForeground takes a terminal back from a process group that has ended.
func takeForeground(terminal *os.File) {
	// Who isn't in the foreground is stopped by asking for it.
	signal.Ignore(unix.SIGTTOU)
	defer signal.Reset(unix.SIGTTOU)
	_ = unix.IoctlSetPointerInt(int(terminal.Fd()), unix.TIOCSPGRP, unix.Getpgrp()) // else typing fails, which says so itself
}

// ask asks a person on the terminal until one of the answers is given, by its
// first letter. The error is that nobody answers.
func (a *app) ask(ctx context.Context, question, answers string) (byte, error) {
	for {
		fmt.Fprintf(a.stderr, "%s [%s] ", question, strings.Join(strings.Split(answers, ""), "/"))
		line, err := a.readLine(ctx)
		line = strings.ToLower(strings.TrimSpace(line))
		if line != "" && strings.IndexByte(answers, line[0]) >= 0 {
			return line[0], nil
		}
		if err != nil {
			fmt.Fprintln(a.stderr)
			return 0, fmt.Errorf("waiting for an answer: %w", err)
		}
	}
}

// readLine reads a line from standard input, and nothing beyond: an editor may
// read on. It ends with ctx, if standard input is a file.
func (a *app) readLine(ctx context.Context) (string, error) {
	var line strings.Builder
	one := make([]byte, 1)
	for {
		if file, ok := a.stdin.(*os.File); ok {
			if err := awaitInput(ctx, file); err != nil {
				return "", err
			}
		}
		n, err := a.stdin.Read(one)
		if n == 1 {
			if one[0] == '\n' {
				return line.String(), nil
			}
			line.WriteByte(one[0])
		}
		if errors.Is(err, io.EOF) {
			return line.String(), io.ErrUnexpectedEOF
		}
		if err != nil {
			return line.String(), err
		}
	}
}

// awaitInput returns when a file can be read, or with ctx's cause.
func awaitInput(ctx context.Context, file *os.File) error {
	const lookAtContext = 200 // milliseconds
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(file.Fd()), Events: unix.POLLIN}}, lookAtContext)
		switch {
		case n > 0:
			return nil
		case err != nil && !errors.Is(err, unix.EINTR):
			return err
		}
	}
}
