package fs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// serve starts another process that serves dir, and waits until it does.
func serve(t *testing.T, dir string, mode Mode, attr *syscall.SysProcAttr) *helper {
	t.Helper()
	cleanMounts(t, dir)
	h := startHelper(t, attr, "serve", dir, string(mode))
	if face := h.line(t); !strings.HasPrefix(face, string(mode)+":") {
		t.Fatalf("the other process serves by %s", face)
	}
	return h
}

// crash kills another process that serves a mount, which stays.
func crash(t *testing.T, h *helper) {
	t.Helper()
	check(t, h.Process.Kill())
	// It was killed, which is an error.
	_ = h.Wait()
}

func TestOpenTakesAwayStaleMounts(t *testing.T) {
	needFUSE(t)
	dir := t.TempDir()
	crash(t, serve(t, dir, FUSE, nil))
	if _, err := os.Stat(dir); !errors.Is(err, unix.ENOTCONN) {
		t.Fatalf("the mount of a killed process: %v", err)
	}
	// Two more dead ones over it.
	for range 2 {
		dev, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
		check(t, err)
		check(t, unix.Mount("x", dir, mountType, 0, "rootmode=40000,user_id=0,group_id=0,fd="+strconv.Itoa(dev)))
		check(t, unix.Close(dev))
	}
	v := newVolume(t, Config{Dir: dir, Mode: FUSE})
	content, _, err := v.ReadLast("f")
	if err != nil || string(content) != "served\n" {
		t.Errorf("what the killed process left: %q, %v", content, err)
	}
	mount(t, v)
	publish(t, v, "f", entry("again\n"))
	wantFile(t, v, "f", "again\n")
	check(t, v.Close())
	if p, err := look(dir); err != nil || p.atRoot() {
		t.Errorf("a mount is left: %+v, %v", p, err)
	}
}

func TestOpenRefusesALivingMount(t *testing.T) {
	needFUSE(t)
	dir := t.TempDir()
	h := serve(t, dir, FUSE, nil)
	err := New(Config{Dir: dir}).Open(t.Context())
	wantErr(t, err, ErrInUse, dir, "process "+strconv.Itoa(h.Process.Pid), "stop that one")
	h.end(t)
	check(t, newVolume(t, Config{Dir: dir}).Close())
}

func TestOpenRefusesADirectoryInALivingMount(t *testing.T) {
	v := mountVolume(t, Config{Subdirs: []string{"decider"}})
	err := New(Config{Dir: filepath.Join(v.cfg.Dir, "decider")}).Open(t.Context())
	wantErr(t, err, nil, "lies in the KingPin mount", v.cfg.Dir)
}

func TestOpenRefusesAHungMountWithoutHanging(t *testing.T) {
	needFUSE(t)
	dir := t.TempDir()
	h := serve(t, dir, FUSE, nil)
	check(t, h.Process.Signal(syscall.SIGSTOP))
	await(t, "the other process to stop", func() bool { return stopped(t, h.Process.Pid) })
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	err := New(Config{Dir: dir}).Open(ctx)
	wantErr(t, err, ErrInUse, dir, "doesn't answer", "process "+strconv.Itoa(h.Process.Pid), "umount -f -l")
	crash(t, h)
}

// stopped reports whether all threads of a process are.
func stopped(t *testing.T, pid int) bool {
	t.Helper()
	stats, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	check(t, err)
	for _, file := range stats {
		stat, err := os.ReadFile(file)
		check(t, err)
		if i := bytes.LastIndexByte(stat, ')'); stat[i+2] != 'T' {
			return false
		}
	}
	return len(stats) > 0
}

func TestOpenRefusesWhatAnotherMonitorHasLocked(t *testing.T) {
	dir := t.TempDir()
	h := serve(t, dir, Plain, nil)
	err := New(Config{Dir: dir, Mode: Plain}).Open(t.Context())
	wantErr(t, err, ErrInUse, dir, "process "+strconv.Itoa(h.Process.Pid), "stop that one")
	h.end(t)
	v := newVolume(t, Config{Dir: dir, Mode: Plain})
	wantErr(t, New(Config{Dir: dir}).Open(t.Context()), ErrInUse, dir, "process "+strconv.Itoa(os.Getpid()))
	check(t, v.Close())
	check(t, newVolume(t, Config{Dir: dir, Mode: Plain}).Close())
}

// A monitor whose mount is in another mount namespace can't be seen, but for its
// lock.
func TestOpenRefusesWhatIsServedInAnotherMountNamespace(t *testing.T) {
	needFUSE(t)
	dir := t.TempDir()
	h := serve(t, dir, FUSE, &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS})
	if p, err := look(dir); err != nil || p.atRoot() {
		t.Fatalf("the other namespace's mount is seen: %+v, %v", p, err)
	}
	err := New(Config{Dir: dir}).Open(t.Context())
	wantErr(t, err, ErrInUse, "process "+strconv.Itoa(h.Process.Pid))
	h.end(t)
}

func TestOpenRefusesAnotherProgramsFUSEMount(t *testing.T) {
	needFUSE(t)
	dir := t.TempDir()
	cleanMounts(t, dir)
	dev, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	check(t, err)
	defer unix.Close(dev)
	check(t, unix.Mount("host:/x", dir, "fuse.sshfs", 0, "rootmode=40000,user_id=0,group_id=0,fd="+strconv.Itoa(dev)))
	err = New(Config{Dir: dir}).Open(t.Context())
	wantErr(t, err, nil, dir, "fuse.sshfs", "host:/x", "another directory")
	if errors.Is(err, ErrInUse) {
		t.Errorf("%v is an ErrInUse", err)
	}
}

func TestOpenOnAnotherFilesystemsMount(t *testing.T) {
	needFUSE(t)
	dir := t.TempDir()
	cleanMounts(t, dir)
	check(t, unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"))
	v := newVolume(t, Config{Dir: dir, Mode: FUSE})
	mount(t, v)
	publish(t, v, "x", entry("x"))
	wantFile(t, v, "x", "x")
	check(t, v.Close())
	wantFile(t, v, "x", "x")
	if p, err := look(dir); err != nil || p.mount.Type != "tmpfs" {
		t.Errorf("left: %+v, %v", p, err)
	}
}

func TestOpenFindsTheDirectory(t *testing.T) {
	base, err := filepath.EvalSymlinks(t.TempDir())
	check(t, err)
	t.Run("missing, with its parents", func(t *testing.T) {
		dir := filepath.Join(base, "a/b/c")
		check(t, newVolume(t, Config{Dir: dir, Subdirs: []string{"decider"}}).Close())
		if st := stat(t, dir); st.Mode != syscall.S_IFDIR|0o755 {
			t.Errorf("created with mode %o", st.Mode)
		}
		if st := stat(t, filepath.Join(dir, ".kingpin")); st.Mode != syscall.S_IFDIR|0o700 {
			t.Errorf(".kingpin has mode %o", st.Mode)
		}
		stat(t, filepath.Join(dir, "decider"))
	})
	t.Run("relative", func(t *testing.T) {
		t.Chdir(base)
		v := newVolume(t, Config{Dir: "rel"})
		if v.plain.path != filepath.Join(base, "rel") {
			t.Errorf("opened %q", v.plain.path)
		}
		check(t, v.Close())
	})
	t.Run("a symbolic link", func(t *testing.T) {
		needFUSE(t)
		check(t, os.Mkdir(filepath.Join(base, "real"), 0o700))
		link := filepath.Join(base, "link")
		check(t, os.Symlink("real", link))
		v := newVolume(t, Config{Dir: link, Mode: FUSE})
		mount(t, v)
		publish(t, v, "x", entry("x"))
		wantFile(t, v, "x", "x")
		err := New(Config{Dir: filepath.Join(base, "real")}).Open(t.Context())
		wantErr(t, err, ErrInUse)
		check(t, v.Close())
	})
	t.Run("a file", func(t *testing.T) {
		path := filepath.Join(base, "file")
		check(t, os.WriteFile(path, nil, 0o600))
		wantErr(t, New(Config{Dir: path}).Open(t.Context()), unix.ENOTDIR, path)
	})
	t.Run("a dangling link", func(t *testing.T) {
		path := filepath.Join(base, "dangling")
		check(t, os.Symlink("nowhere", path))
		wantErr(t, New(Config{Dir: path}).Open(t.Context()), os.ErrExist, path)
	})
}

// Without the right to mount there are plain files, and a reason.
func TestMountAutoFallsBackForOtherUsers(t *testing.T) {
	needFUSE(t)
	dir := publicDir(t)
	check(t, os.Chown(dir, 65534, 65534))
	h := startHelper(t, nobody(), "serve", dir, string(Auto))
	face := h.line(t)
	for _, want := range []string{"plain: ", "/dev/fuse", "permission denied", "run as root"} {
		if !strings.Contains(face, want) {
			t.Errorf("the other process serves by %s, which doesn't hold %q", face, want)
		}
	}
	h.end(t)
	content, err := os.ReadFile(filepath.Join(dir, "f"))
	if err != nil || string(content) != "served\n" {
		t.Errorf("it left %q, %v", content, err)
	}
	strict := startHelper(t, nobody(), "serve", dir, string(FUSE))
	check(t, strict.stdin.Close())
	for strict.stdout.Scan() {
		t.Errorf("FUSE or nothing serves by %s", strict.stdout.Text())
	}
	var exit *exec.ExitError
	if err := strict.Wait(); !errors.As(err, &exit) || !strings.Contains(strict.stderr.String(), "/dev/fuse") {
		t.Errorf("FUSE or nothing: %v\n%s", err, strict.stderr)
	}
}

func TestMountWithoutTheCapability(t *testing.T) {
	needFUSE(t)
	for err, want := range map[error]string{unix.EPERM: "SYS_ADMIN", unix.ENODEV: "modprobe", unix.EINVAL: ""} {
		if got := adviseMount(err); !strings.Contains(got, want) || (want == "") != (got == "") {
			t.Errorf("advice for %v: %q", err, got)
		}
	}
	for err, want := range map[error]string{unix.ENOENT: "--device", unix.EACCES: "run as root", unix.EIO: ""} {
		if got := adviseDevice(err); !strings.Contains(got, want) || (want == "") != (got == "") {
			t.Errorf("advice for %v: %q", err, got)
		}
	}
}
