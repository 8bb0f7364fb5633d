package fs

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// helperEnv names the helper that this binary is to be instead of a test. Code
// that might hang or has to be killed runs in processes of its own.
const helperEnv = "KINGPIN_FS_TEST_HELPER"

var helpers = map[string]func(args []string) error{
	"read":         readHelper,
	"serve":        serveHelper,
	"work":         workHelper,
	"watched":      watchedHelper,
	"write":        writeHelper,
	"read-written": readWrittenHelper,
	"write-on":     writeOnHelper,
	"hold-written": holdWrittenHelper,
	"change":       changeHelper,
}

func TestMain(m *testing.M) {
	if name := os.Getenv(helperEnv); name != "" {
		if err := helpers[name](os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// helper is a process that runs a helper. It is to end when its standard input
// does.
type helper struct {
	*exec.Cmd
	stdin  io.Closer
	stdout *bufio.Scanner
	stderr *strings.Builder
}

// startHelper starts a helper, which is killed at the test's end if it still
// runs.
func startHelper(t testing.TB, attr *syscall.SysProcAttr, name string, args ...string) *helper {
	t.Helper()
	h := &helper{Cmd: exec.Command("/proc/self/exe", args...), stderr: &strings.Builder{}}
	h.Env = append(os.Environ(), helperEnv+"="+name)
	h.SysProcAttr = attr
	h.Stderr = h.stderr
	stdin, err := h.StdinPipe()
	check(t, err)
	stdout, err := h.StdoutPipe()
	check(t, err)
	h.stdin, h.stdout = stdin, bufio.NewScanner(stdout)
	check(t, h.Start())
	t.Cleanup(func() {
		// It has ended already, in a test that went well.
		_ = h.Process.Kill()
		_ = h.Wait()
	})
	return h
}

// line returns the next line that the helper prints.
func (h *helper) line(t testing.TB) string {
	t.Helper()
	if !h.stdout.Scan() {
		t.Fatalf("the helper ended: %v %v\n%s", h.stdout.Err(), h.Wait(), h.stderr)
	}
	return h.stdout.Text()
}

// end ends the helper and fails the test if it failed.
func (h *helper) end(t testing.TB) {
	t.Helper()
	check(t, h.stdin.Close())
	for h.stdout.Scan() {
		t.Log(h.stdout.Text())
	}
	if err := h.Wait(); err != nil {
		t.Fatalf("helper: %v\n%s", err, h.stderr)
	}
}

// serveHelper serves the directory args[0] in the mode args[1], with one file
// "f", until standard input ends. It prints its face when it does.
func serveHelper(args []string) error {
	ctx := context.Background()
	v := New(Config{Dir: args[0], Mode: Mode(args[1])})
	if err := v.Open(ctx); err != nil {
		return err
	}
	if err := v.Mount(ctx); err != nil {
		return errors.Join(err, v.Close())
	}
	if err := v.Publish("f", Entry{Content: []byte("served\n"), ModTime: time.Now()}); err != nil {
		return errors.Join(err, v.Close())
	}
	mode, why := v.Face()
	fmt.Fprintf(os.Stdout, "%s: %s\n", mode, why)
	_, err := io.Copy(io.Discard, os.Stdin)
	return errors.Join(err, v.Close())
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// needFUSE fails a test that can't run here.
func needFUSE(t testing.TB) {
	t.Helper()
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Fatalf("%v: install Debian's package fuse3 (make deps), and give a container --device /dev/fuse", err)
	}
	if os.Geteuid() != 0 {
		t.Fatal("mounting takes root: run the tests by make test, which uses sudo")
	}
}

// newVolume returns an open volume on a new directory, which is closed at the
// test's end, and whatever is mounted there then is taken away.
func newVolume(t testing.TB, cfg Config) *Volume {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	cleanMounts(t, cfg.Dir)
	if cfg.Logger == nil {
		cfg.Logger = testLogger(t)
	}
	v := New(cfg)
	check(t, v.Open(context.Background()))
	t.Cleanup(func() { check(t, v.Close()) })
	return v
}

// refusePolling has the kernel learn that files of a mount can't be polled. A Go
// program polls every file that it opens, in a way that can stop its whole
// runtime, which in these tests is the one that would have to answer.
func refusePolling(t testing.TB, dir string) {
	t.Helper()
	fd, err := unix.Open(filepath.Join(dir, pollProbe), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	check(t, err)
	defer unix.Close(fd)
	if _, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0); err != nil && !errors.Is(err, unix.EINTR) {
		t.Fatal(err)
	}
}

// mount gives a volume its face.
func mount(t testing.TB, v *Volume) {
	t.Helper()
	check(t, v.Mount(context.Background()))
	if mode, _ := v.Face(); mode == FUSE {
		refusePolling(t, v.cfg.Dir)
	}
}

// newTestTree returns a tree whose memory goes with the test.
func newTestTree(t testing.TB, subdirs ...string) *tree {
	t.Helper()
	l, err := newLedger()
	check(t, err)
	t.Cleanup(func() { check(t, l.close()) })
	return newTree(subdirs, l, nil)
}

// cleanMounts takes away all mounts at a path at the test's end, however it
// ends.
func cleanMounts(t testing.TB, dir string) {
	t.Helper()
	t.Cleanup(func() {
		for unix.Unmount(dir, unix.MNT_FORCE|unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW) == nil {
			continue
		}
	})
}

// mountVolume is newVolume with the FUSE face.
func mountVolume(t testing.TB, cfg Config) *Volume {
	t.Helper()
	needFUSE(t)
	cfg.Mode = FUSE
	v := newVolume(t, cfg)
	mount(t, v)
	return v
}

func testLogger(t testing.TB) *slog.Logger {
	t.Helper()
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}

var testTime = time.Date(2026, 3, 4, 5, 6, 7, 89000, time.UTC)

func entry(content string) Entry {
	return Entry{Content: []byte(content), ModTime: testTime, Version: "1.000001", ZKPath: "/config/x"}
}

func publish(t testing.TB, v *Volume, name string, e Entry) {
	t.Helper()
	check(t, v.Publish(name, e))
}

// wantFile fails the test if a file in the volume's directory doesn't have that
// content.
func wantFile(t testing.TB, v *Volume, name, want string) {
	t.Helper()
	got, err := os.ReadFile(filepath.Join(v.cfg.Dir, name))
	check(t, err)
	if string(got) != want {
		t.Errorf("%s holds %q, want %q", name, got, want)
	}
}

// wantErr fails the test if err isn't target or doesn't hold all of the texts.
func wantErr(t testing.TB, err, target error, texts ...string) {
	t.Helper()
	if err == nil || target != nil && !errors.Is(err, target) {
		t.Fatalf("error %v, want %v", err, target)
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("error %q doesn't hold %q", err, text)
		}
	}
}

// stat is what stat(2) shows, in full.
func stat(t testing.TB, path string) *syscall.Stat_t {
	t.Helper()
	info, err := os.Lstat(path)
	check(t, err)
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		t.Fatalf("stat of %q gives a %T", path, info.Sys())
	}
	return st
}

// await waits until done says so; it looks again and again because the kernel
// doesn't tell.
func await(t testing.TB, what string, done func() bool) {
	t.Helper()
	again := time.NewTicker(time.Millisecond)
	defer again.Stop()
	late := time.After(20 * time.Second)
	for !done() {
		select {
		case <-again.C:
		case <-late:
			t.Fatalf("waited in vain for %s", what)
		}
	}
}
