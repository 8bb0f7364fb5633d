package devcluster

import (
	"context"
	"errors"
	iofs "io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	if os.Getenv(parentEnv) != "" {
		dieWithChild()
	}
	goleak.VerifyTestMain(m)
}

func TestProcessOutputGoesToTheLog(t *testing.T) {
	dir := t.TempDir()
	p, err := StartProcess(ProcessConfig{
		Name: "sh", Path: "sh", Args: []string{"-c", "echo out; echo err >&2; pwd; echo $GREETING; exit 3"},
		Dir: dir, Env: []string{"GREETING=hello"}, LogFile: filepath.Join(dir, "log"),
	})
	if err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := p.Wait(t.Context()); !errors.As(err, &exit) || exit.ExitCode() != 3 {
		t.Errorf("Wait returned %v", err)
	}
	if got, want := p.LogTail(), "out\nerr\n"+dir+"\nhello"; got != want {
		t.Errorf("the log holds %q, want %q", got, want)
	}
	if err := p.Stop(t.Context()); err != nil {
		t.Errorf("Stop of a process that has ended: %v", err)
	}
	if err := p.Kill(); err != nil {
		t.Errorf("Kill of a process that has ended: %v", err)
	}
}

func TestProcessThatDoesNotExist(t *testing.T) {
	_, err := StartProcess(ProcessConfig{Name: "x", Path: "/does/not/exist", LogFile: filepath.Join(t.TempDir(), "log")})
	if !errors.Is(err, iofs.ErrNotExist) {
		t.Fatalf("got %v", err)
	}
}

// A process that ignores SIGTERM is killed, and its own children go with it.
func TestStopKillsTheWholeGroup(t *testing.T) {
	dir := t.TempDir()
	p, err := StartProcess(ProcessConfig{
		Name: "sh", Path: "sh", Args: []string{"-c", `trap "" TERM; sleep 1000 & echo $! >child; wait; sleep 1000`},
		Dir: dir, LogFile: filepath.Join(dir, "log"),
	})
	if err != nil {
		t.Fatal(err)
	}
	child := filepath.Join(dir, "child")
	err = p.awaitReady(t.Context(), time.Minute, func(context.Context) error {
		pid, err := os.ReadFile(child)
		if err == nil && len(pid) == 0 {
			err = iofs.ErrNotExist
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // no grace
	if err := p.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	awaitGone(t, readPid(t, child))
}

const parentEnv = "KINGPIN_DEVCLUSTER_TEST_PARENT"

// dieWithChild is what the test binary does in the role of a parent that dies:
// it starts a child, writes its pid, and kills itself.
func dieWithChild() {
	dir := os.Getenv(parentEnv)
	p, err := StartProcess(ProcessConfig{
		Name: "sleep", Path: "sleep", Args: []string{"1000"}, LogFile: filepath.Join(dir, "log"),
	})
	if err != nil {
		panic(err)
	}
	// Many threads come and go; the child must survive that.
	for range 50 {
		go func() { _ = syscall.Nanosleep(&syscall.Timespec{Nsec: 1e6}, nil) }()
	}
	if err := p.signal(0); err != nil {
		panic(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "pid"), []byte(strconv.Itoa(p.Pid())), 0o600); err != nil {
		panic(err)
	}
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
}

func TestChildrenDieWithTheirParent(t *testing.T) {
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	parent := exec.CommandContext(t.Context(), self)
	parent.Env = append(os.Environ(), parentEnv+"="+dir)
	out, _ := parent.CombinedOutput()
	if status, ok := parent.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
		t.Fatalf("the parent ended with %v:\n%s", parent.ProcessState, out)
	}
	awaitGone(t, readPid(t, filepath.Join(dir, "pid")))
}

// readPid reads a process id from a file.
func readPid(t *testing.T, path string) int {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(content)))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// awaitGone waits until a process that isn't our child has ended.
func awaitGone(t *testing.T, pid int) {
	t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(fd) }()
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 60_000)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n != 1 {
			t.Fatalf("process %d is still there: %v", pid, err)
		}
		return
	}
}

func TestFreePort(t *testing.T) {
	seen := map[int]bool{}
	for range 100 {
		port, err := FreePort()
		if err != nil {
			t.Fatal(err)
		}
		if seen[port] {
			t.Fatalf("port %d was handed out twice", port)
		}
		seen[port] = true
		if port >= firstOutgoingPort() {
			t.Errorf("port %d is one that outgoing connections may take", port)
		}
		if err := listenOnce(port); err != nil {
			t.Error(err)
		}
	}
}
