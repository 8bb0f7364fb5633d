package rig

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Serves returns nil if the monitor has said that it serves so much by FUSE.
func (m *Monitor) Serves(configs, serversets int) error {
	want := fmt.Sprintf("ready mode=fuse configs=%d serversets=%d", configs, serversets)
	if m.ready != want {
		return fmt.Errorf("the monitor says %q, not %q", m.ready, want)
	}
	return nil
}

// Worker returns the process that serves the mounts.
func (m *Monitor) Worker() (int, error) {
	if err := m.Ended(); err != nil {
		return 0, err
	}
	children, err := childrenOf(m.PID())
	if err != nil {
		return 0, err
	}
	for _, pid := range children {
		command, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
		if err == nil && bytes.Contains(command, []byte("\x00monitor-worker\x00")) {
			return pid, nil
		}
	}
	return 0, fmt.Errorf("the monitor (pid %d) has no worker; its last lines:\n%s", m.PID(), m.Log())
}

// AwaitWorker returns the process that serves the mounts when there is one that
// isn't a given one.
func (m *Monitor) AwaitWorker(ctx context.Context, other int) (pid int, err error) {
	err = await(ctx, func() error {
		pid, err = m.Worker()
		if err == nil && pid == other {
			err = fmt.Errorf("worker %d is still there", pid)
		}
		return err
	})
	return pid, err
}

// KillWorker kills the process that serves the mounts, by SIGKILL.
func (m *Monitor) KillWorker() (pid int, err error) {
	if pid, err = m.Worker(); err != nil {
		return 0, err
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		return 0, fmt.Errorf("killing worker %d: %w", pid, err)
	}
	return pid, nil
}

// ReadContent returns the number of a config's content.
func (m *Monitor) ReadContent(c Config) (n int, err error) {
	buffer := make([]byte, c.Size+wordSize)
	length, err := readFile(m.Config(c), buffer)
	if err != nil {
		return 0, err
	}
	n, whole := numberOf(buffer[:length], c.Size)
	if !whole {
		return 0, fmt.Errorf("reading %q: a torn content of %d bytes", m.Config(c), length)
	}
	return n, nil
}

// AwaitContent waits until a config's file has content n, or a newer one.
func (m *Monitor) AwaitContent(ctx context.Context, c Config, n int) error {
	return await(ctx, func() error {
		read, err := m.ReadContent(c)
		if err == nil && read < n {
			err = fmt.Errorf("%s has content %d, not yet %d", c.File(), read, n)
		}
		return err
	})
}

// AwaitEndpoints waits until a serverset's file has some endpoints, in whatever
// order.
func (m *Monitor) AwaitEndpoints(ctx context.Context, s Serverset, n int) error {
	buffer := make([]byte, 1<<20)
	return await(ctx, func() error {
		length, err := readFile(m.Serverset(s), buffer)
		if err != nil {
			return err
		}
		if lines := strings.Count(string(buffer[:length]), "\n"); lines != n {
			return fmt.Errorf("%s has %d endpoints, not yet %d", s.File(), lines, n)
		}
		return nil
	})
}

// await calls check every few milliseconds until it returns nil, and returns its
// last error if that takes long.
func await(ctx context.Context, check func() error) error {
	deadline := time.Now().Add(stopPatience)
	for {
		err := check()
		if err == nil || time.Now().After(deadline) {
			return err
		}
		if err := Sleep(ctx, 2*time.Millisecond); err != nil {
			return err
		}
	}
}
