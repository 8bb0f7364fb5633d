package sdnotify_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kingpinfs/kingpin/internal/sdnotify"
)

// childVariable makes the test binary the process that a manager has started.
const childVariable = "SDNOTIFY_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		if err := describeStored(os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// manager listens where NOTIFY_SOCKET says for the rest of the test.
func manager(t *testing.T, address string) *net.UnixConn {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: address, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	t.Setenv("NOTIFY_SOCKET", address)
	return conn
}

// receive returns the next message and its descriptors.
func receive(t *testing.T, conn *net.UnixConn) (string, []*os.File) {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	message, rights := make([]byte, 4096), make([]byte, 4096)
	n, rn, _, _, err := conn.ReadMsgUnix(message, rights)
	if err != nil {
		t.Fatal(err)
	}
	controls, err := unix.ParseSocketControlMessage(rights[:rn])
	if err != nil {
		t.Fatal(err)
	}
	var files []*os.File
	for i := range controls {
		fds, err := unix.ParseUnixRights(&controls[i])
		if err != nil {
			t.Fatal(err)
		}
		for _, fd := range fds {
			f := os.NewFile(uintptr(fd), "received")
			t.Cleanup(func() { f.Close() })
			files = append(files, f)
		}
	}
	return string(message[:n]), files
}

func TestNotifyReachesTheManager(t *testing.T) {
	for name, address := range map[string]string{
		"path":     filepath.Join(t.TempDir(), "notify"),
		"abstract": "@kingpin-sdnotify-test-" + filepath.Base(t.TempDir()) + fmt.Sprint(os.Getpid()),
	} {
		t.Run(name, func(t *testing.T) {
			conn := manager(t, address)
			const state = "READY=1\nSTATUS=ready mode=fuse"
			if err := sdnotify.Notify(state); err != nil {
				t.Fatal(err)
			}
			if got, files := receive(t, conn); got != state || len(files) != 0 {
				t.Fatalf("the manager got %q and %d descriptors, want %q and none", got, len(files), state)
			}
		})
	}
}

func TestWithoutAManagerNothingHappens(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	t.Setenv("FDSTORE", "16")
	f := open(t, os.DevNull, os.O_RDONLY)
	if err := errors.Join(
		sdnotify.Notify("READY=1"), sdnotify.Store("x", f), sdnotify.Unstore("x"), sdnotify.Barrier(t.Context()),
	); err != nil {
		t.Fatal(err)
	}
	if sdnotify.Enabled() || sdnotify.StoreLimit() != 0 {
		t.Fatalf("Enabled %v and StoreLimit %d without a manager", sdnotify.Enabled(), sdnotify.StoreLimit())
	}
}

func TestAManagerThatIsGoneIsAnError(t *testing.T) {
	address := filepath.Join(t.TempDir(), "notify")
	t.Setenv("NOTIFY_SOCKET", address)
	err := sdnotify.Notify("READY=1")
	if err == nil || !strings.Contains(err.Error(), address) {
		t.Fatalf("got %v, want an error that names %s", err, address)
	}
}

// A manager that reads nothing may itself be waiting for the caller.
func TestNotifyDoesNotWaitForeverForAManagerThatHangs(t *testing.T) {
	manager(t, filepath.Join(t.TempDir(), "notify"))
	for {
		err := sdnotify.Notify("WATCHDOG=1")
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func open(t *testing.T, path string, flags int) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, flags|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func memfd(t *testing.T, content string) *os.File {
	t.Helper()
	fd, err := unix.MemfdCreate("sdnotify-test", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "memfd")
	t.Cleanup(func() { f.Close() })
	if _, err := f.WriteString(content); err != nil {
		t.Fatal(err)
	}
	return f
}

func sameFile(t *testing.T, a, b *os.File) bool {
	t.Helper()
	first, err := a.Stat()
	if err != nil {
		t.Fatal(err)
	}
	second, err := b.Stat()
	if err != nil {
		t.Fatal(err)
	}
	return os.SameFile(first, second)
}

func TestStoreReplacesWhatIsUnderTheName(t *testing.T) {
	conn := manager(t, filepath.Join(t.TempDir(), "notify"))
	for name, f := range map[string]*os.File{
		"dir":    open(t, t.TempDir(), unix.O_DIRECTORY),
		"o_path": open(t, t.TempDir(), unix.O_PATH),
		"memfd":  memfd(t, "content"),
		"device": open(t, os.DevNull, os.O_RDWR),
	} {
		if err := sdnotify.Store(name, f); err != nil {
			t.Fatal(err)
		}
		if got, files := receive(t, conn); got != "FDSTOREREMOVE=1\nFDNAME="+name || len(files) != 0 {
			t.Fatalf("first message %q with %d descriptors, want the removal of %q", got, len(files), name)
		}
		got, files := receive(t, conn)
		if got != "FDSTORE=1\nFDPOLL=0\nFDNAME="+name || len(files) != 1 {
			t.Fatalf("second message %q with %d descriptors, want one to store as %q", got, len(files), name)
		}
		if !sameFile(t, files[0], f) {
			t.Fatalf("what is stored as %q is another file", name)
		}
		if _, err := f.Stat(); err != nil {
			t.Fatalf("the caller's own descriptor is gone: %v", err)
		}
	}
}

// What is in the store must go on without the poller's flags being changed
// underneath its owner.
func TestStoreLeavesTheDescriptorNonBlocking(t *testing.T) {
	manager(t, filepath.Join(t.TempDir(), "notify"))
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	defer writer.Close()
	if err := sdnotify.Store("pipe", reader); err != nil {
		t.Fatal(err)
	}
	if err := reader.SetReadDeadline(time.Now().Add(-time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := reader.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("a read after its deadline gives %v", err)
	}
}

func TestUnstore(t *testing.T) {
	conn := manager(t, filepath.Join(t.TempDir(), "notify"))
	if err := sdnotify.Unstore("config-dev"); err != nil {
		t.Fatal(err)
	}
	if got, _ := receive(t, conn); got != "FDSTOREREMOVE=1\nFDNAME=config-dev" {
		t.Fatalf("got %q", got)
	}
}

func TestNamesThatSystemdRefuses(t *testing.T) {
	conn := manager(t, filepath.Join(t.TempDir(), "notify"))
	f := open(t, os.DevNull, os.O_RDONLY)
	for _, name := range []string{"", "a:b", "a\nFDSTORE=1", "ä", strings.Repeat("a", 256)} {
		if err := sdnotify.Store(name, f); err == nil {
			t.Errorf("Store took the name %q", name)
		}
		if err := sdnotify.Unstore(name); err == nil {
			t.Errorf("Unstore took the name %q", name)
		}
	}
	if err := sdnotify.Notify("last"); err != nil {
		t.Fatal(err)
	}
	if got, _ := receive(t, conn); got != "last" {
		t.Fatalf("the manager was sent %q for a name that it refuses", got)
	}
}

func TestStoreOfAClosedFileIsAnError(t *testing.T) {
	manager(t, filepath.Join(t.TempDir(), "notify"))
	f := open(t, os.DevNull, os.O_RDONLY)
	f.Close()
	if err := sdnotify.Store("x", f); err == nil || !strings.Contains(err.Error(), `"x"`) {
		t.Fatalf("got %v, want an error that names the descriptor", err)
	}
}

func TestBarrierWaitsUntilTheManagerCloses(t *testing.T) {
	conn := manager(t, filepath.Join(t.TempDir(), "notify"))
	done := make(chan error, 1)
	go func() { done <- sdnotify.Barrier(t.Context()) }()
	got, files := receive(t, conn)
	if got != "BARRIER=1" || len(files) != 1 {
		t.Fatalf("got %q with %d descriptors", got, len(files))
	}
	select {
	case err := <-done:
		t.Fatalf("Barrier returned %v before the manager closed its end", err)
	default:
	}
	files[0].Close()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestBarrierEndsWithItsContext(t *testing.T) {
	conn := manager(t, filepath.Join(t.TempDir(), "notify"))
	ctx, cancel := context.WithCancelCause(t.Context())
	done := make(chan error, 1)
	go func() { done <- sdnotify.Barrier(ctx) }()
	receive(t, conn)
	why := errors.New("enough")
	cancel(why)
	if err := <-done; !errors.Is(err, why) {
		t.Fatalf("got %v, want %v", err, why)
	}
}

func TestStoreLimit(t *testing.T) {
	manager(t, filepath.Join(t.TempDir(), "notify"))
	for value, want := range map[string]int{"": 0, "16": 16, "0": 0, "-1": 0, "many": 0} {
		t.Setenv("FDSTORE", value)
		if got := sdnotify.StoreLimit(); got != want {
			t.Errorf("FDSTORE=%q: got %d, want %d", value, got, want)
		}
	}
}

func TestWatchdogInterval(t *testing.T) {
	for _, test := range []struct {
		usec, pid string
		want      time.Duration
	}{
		{"", "", 0},
		{"30000000", "", 30 * time.Second},
		{"30000000", fmt.Sprint(os.Getpid()), 30 * time.Second},
		{"30000000", "1", 0},
		{"never", "", 0},
		{"0", "", 0},
	} {
		t.Setenv("WATCHDOG_USEC", test.usec)
		t.Setenv("WATCHDOG_PID", test.pid)
		if got := sdnotify.WatchdogInterval(); got != test.want {
			t.Errorf("WATCHDOG_USEC=%q WATCHDOG_PID=%q: got %v, want %v", test.usec, test.pid, got, test.want)
		}
	}
}

// storedReport is what the child says of the descriptors that it was given.
type storedReport struct {
	Contents    map[string]string // by name
	CloseOnExec bool              // all of them are
	Environment []string          // LISTEN_… variables left
	Again       int               // what a second call returns
	Open        []string          // names of the descriptors from 3 on that are open
}

func describeStored(out io.Writer) error {
	stored := sdnotify.Stored()
	report := storedReport{Contents: map[string]string{}, CloseOnExec: true, Again: len(sdnotify.Stored())}
	for name, f := range stored {
		content, err := io.ReadAll(f)
		if err != nil {
			return err
		}
		report.Contents[name] = string(content)
		flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFD, 0)
		if err != nil {
			return err
		}
		report.CloseOnExec = report.CloseOnExec && flags&unix.FD_CLOEXEC != 0
	}
	for _, variable := range os.Environ() {
		if strings.HasPrefix(variable, "LISTEN_") {
			report.Environment = append(report.Environment, variable)
		}
	}
	for fd := 3; fd < 8; fd++ {
		if path, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd)); err == nil && strings.HasPrefix(path, "/memfd:") {
			report.Open = append(report.Open, path)
		}
	}
	return json.NewEncoder(out).Encode(report)
}

// runStored runs a child with memfds of these contents as descriptors 3, 4, …
// and the variables; $PID stands for its process id.
func runStored(t *testing.T, contents []string, variables ...string) storedReport {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// The shell knows the process id before the child does.
	var script strings.Builder
	for _, variable := range variables {
		fmt.Fprintf(&script, "export %s\n", strings.ReplaceAll(variable, "$PID", "$$"))
	}
	cmd := exec.Command("sh", "-c", script.String()+"exec "+exe) //nolint:gosec // the test's own binary
	cmd.Env = append(os.Environ(), childVariable+"=1")
	for _, content := range contents {
		f := memfd(t, content)
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		cmd.ExtraFiles = append(cmd.ExtraFiles, f)
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr.String())
	}
	var report storedReport
	if err := json.Unmarshal(out, &report); err != nil {
		t.Fatal(err)
	}
	return report
}

func TestStored(t *testing.T) {
	for _, test := range []struct {
		name      string
		contents  []string
		variables []string
		want      map[string]string
		open      int
	}{
		{
			name: "names", contents: []string{"a", "b"},
			variables: []string{"LISTEN_PID=$PID", "LISTEN_FDS=2", "LISTEN_FDNAMES=config-dev:config-lock"},
			want:      map[string]string{"config-dev": "a", "config-lock": "b"}, open: 2,
		},
		{
			name: "one name twice", contents: []string{"a", "b", "c"},
			variables: []string{"LISTEN_PID=$PID", "LISTEN_FDS=3", "LISTEN_FDNAMES=x:x:y"},
			want:      map[string]string{"x": "a", "y": "c"}, open: 2,
		},
		{
			name: "meant for another process", contents: []string{"a"},
			variables: []string{"LISTEN_PID=1", "LISTEN_FDS=1", "LISTEN_FDNAMES=x"},
			want:      map[string]string{}, open: 1,
		},
		{
			name: "none", contents: nil,
			variables: []string{"LISTEN_PID=$PID", "LISTEN_FDS=0", "LISTEN_FDNAMES="},
			want:      map[string]string{},
		},
		{
			name: "a number that is none", contents: []string{"a"},
			variables: []string{"LISTEN_PID=$PID", "LISTEN_FDS=some"},
			want:      map[string]string{}, open: 1,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			report := runStored(t, test.contents, test.variables...)
			if fmt.Sprint(report.Contents) != fmt.Sprint(test.want) {
				t.Errorf("stored %v, want %v", report.Contents, test.want)
			}
			if !report.CloseOnExec {
				t.Error("a descriptor would be inherited by children")
			}
			if len(report.Environment) != 0 {
				t.Errorf("the environment still says %v", report.Environment)
			}
			if report.Again != 0 {
				t.Errorf("a second call returns %d descriptors", report.Again)
			}
			if len(report.Open) != test.open {
				t.Errorf("%v are open, want %d", report.Open, test.open)
			}
		})
	}
}
