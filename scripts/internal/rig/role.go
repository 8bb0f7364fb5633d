package rig

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// roleEnv names, in a process that runs the same program again, what it is to be
// instead.
const roleEnv = "KINGPIN_RIG_ROLE"

// role is what a process of ours can be. It ends when ctx is done, which it is
// when the process's standard input ends; a role that has nothing to wait for
// ends by itself. What it has to tell it writes to out.
type role func(ctx context.Context, args []string, out io.Writer) error

var roles = map[string]role{
	roleS3:       serveS3,
	rolePoll:     pollFile,
	roleWatch:    watchBare,
	roleLoad:     loadBare,
	roleIdle:     idleBare,
	roleCompare:  compareReads,
	roleWrites:   compareWrites,
	roleReader:   readLoop,
	roleStat:     statLoop,
	roleList:     listLoop,
	roleHold:     holdLoop,
	roleWatchers: watchFiles,
}

// RunRole is to be called first thing by a program's main. If the process was
// started to be one of our roles it plays it and returns true and the exit code.
func RunRole() (code int, ok bool) {
	name := os.Getenv(roleEnv)
	if name == "" {
		return 0, false
	}
	play := roles[name]
	if play == nil {
		fmt.Fprintf(os.Stderr, "no role %q\n", name)
		return 2, true
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	if err := play(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		return 1, true
	}
	return 0, true
}

// startRole starts this program again, in a role. onLine gets each line that it
// prints.
func startRole(ctx context.Context, name string, onLine func(string), args ...string) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return startChild(ctx, childConfig{
		name: "the " + name + " process", path: self, args: args,
		// Go's preemption interrupts system calls by a signal, which readers
		// written in C don't get.
		env: append(slices.Clip(os.Environ()), roleEnv+"="+name, "GODEBUG=asyncpreemptoff=1"), onStdout: onLine,
	})
}

// askRole plays a role that ends by itself in a process of its own, and decodes
// its one line.
func askRole(ctx context.Context, name string, answer any, args ...string) error {
	var line string
	c, err := startRole(ctx, name, func(l string) { line = l }, args...)
	if err != nil {
		return err
	}
	select {
	case <-c.done:
	case <-ctx.Done():
	}
	if err := errors.Join(ctx.Err(), c.wait()); err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(line), answer); err != nil {
		return fmt.Errorf("reading what %s says, %q: %w", c.name, line, err)
	}
	return nil
}

// tell writes a role's answer.
func tell(out io.Writer, answer any) error { return json.NewEncoder(out).Encode(answer) }

// monotonic is a clock that all processes of the machine share, in nanoseconds.
func monotonic() int64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) // can't fail
	return ts.Nano()
}
