package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// watching is a running `kingpin config watch`.
type watching struct {
	t      *testing.T
	cmd    *exec.Cmd
	stdout *bufio.Reader
	stderr *bufio.Reader
}

// startWatch runs `kingpin config watch` in a directory until the test ends.
func startWatch(t *testing.T, dir string, args ...string) *watching {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "kingpin", append([]string{"config", "watch", "--config-dir", dir}, args...)...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	// What hangs is killed, and fails the test by its exit code.
	cmd.WaitDelay = 20 * time.Second
	w := &watching{t: t, cmd: cmd, stdout: pipe(t, cmd.StdoutPipe), stderr: pipe(t, cmd.StderrPipe)}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.end)
	return w
}

// patientReader gives up after a while.
type patientReader struct{ *os.File }

func (r patientReader) Read(p []byte) (int, error) {
	if err := r.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return 0, err
	}
	return r.File.Read(p)
}

func pipe(t *testing.T, open func() (io.ReadCloser, error)) *bufio.Reader {
	t.Helper()
	reader, err := open()
	if err != nil {
		t.Fatal(err)
	}
	file, ok := reader.(*os.File)
	if !ok {
		t.Fatalf("the pipe is a %T", reader)
	}
	return bufio.NewReader(patientReader{file})
}

// end waits until it has ended, by the signal that ends the test or an earlier
// one.
func (w *watching) end() {
	w.t.Helper()
	if w.cmd.ProcessState != nil {
		return
	}
	_ = w.cmd.Wait() // says that the context ended
	if code := w.cmd.ProcessState.ExitCode(); code != exitDone {
		w.t.Errorf("%q exited with %d", w.cmd.Args, code)
	}
}

// prints checks that it prints this line next.
func (w *watching) prints(want string) {
	w.t.Helper()
	if line := w.line(w.stdout); line != want {
		w.t.Fatalf("it printed %q, not %q", line, want)
	}
}

// complains checks that it says this next on stderr.
func (w *watching) complains(want string) {
	w.t.Helper()
	if line := w.line(w.stderr); !strings.Contains(line, want) {
		w.t.Fatalf("it said %q, not %q", line, want)
	}
}

func (w *watching) line(from *bufio.Reader) string {
	w.t.Helper()
	line, err := from.ReadString('\n')
	if err != nil {
		rest, _ := io.ReadAll(w.stderr)
		w.t.Fatalf("it ended after %q: %v\n%s", line, err, rest)
	}
	return strings.TrimSuffix(line, "\n")
}

// publish replaces a file in a directory, or creates it.
func publish(t *testing.T, dir, name, content string) {
	t.Helper()
	aside := filepath.Join(dir, ".new")
	if err := os.WriteFile(aside, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(aside, filepath.Join(dir, name)); err != nil {
		t.Fatal(err)
	}
}

func TestWatchPrintsVersions(t *testing.T) {
	dir := t.TempDir()
	w := startWatch(t, dir, "config.a")
	w.complains("no such file")
	publish(t, dir, "config.a", "one\n")
	w.prints("one")
	publish(t, dir, "config.a", "two, ")
	publish(t, dir, "config.b", "of no matter\n")
	two := make([]byte, len("two, "))
	if _, err := io.ReadFull(w.stdout, two); err != nil || string(two) != "two, " {
		t.Fatalf("it printed %q: %v", two, err)
	}
	publish(t, dir, "config.a", "three\n")
	w.prints("three")
	if err := os.Remove(filepath.Join(dir, "config.a")); err != nil {
		t.Fatal(err)
	}
	w.complains("no such file")
	publish(t, dir, "config.a", "four\n")
	w.prints("four")
}

func TestWatchPrintsJSON(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "decider"), 0o755); err != nil {
		t.Fatal(err)
	}
	name := "decider/new_feed"
	publish(t, dir, name, "50\n")
	moment := time.Date(2015, 11, 20, 10, 12, 25, 670000000, time.UTC)
	if err := os.Chtimes(filepath.Join(dir, name), moment, moment); err != nil {
		t.Fatal(err)
	}
	w := startWatch(t, dir, name, "--output", "json")
	w.prints(`{"name":"decider/new_feed","version":"","mtime":"2015-11-20T10:12:25.67Z","content":"50\n"}`)
	publish(t, dir, name, "<&>\xff")
	var got watchedVersion
	if err := json.Unmarshal([]byte(w.line(w.stdout)), &got); err != nil {
		t.Fatal(err)
	}
	if got.Content != nil || string(got.ContentBase64) != "<&>\xff" {
		t.Errorf("it printed %+v", got)
	}
}

// A monitor's mount, which comes and goes.
func TestWatchSeesMounts(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("mounting takes root: run the tests as root, or by `make test`, which uses sudo")
	}
	dir := t.TempDir()
	publish(t, dir, "config.a", "plain\n")
	w := startWatch(t, dir, "config.a", "--", "sh", "-c", `echo "$KINGPIN_NAME $KINGPIN_VERSION $(cat)"`)
	w.prints("config.a  plain")

	if err := unix.Mount("kingpin-test", dir, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	mounted := true
	unmount := func() {
		if mounted {
			mounted = false
			if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
				t.Error(err)
			}
		}
	}
	defer unmount()
	aside := filepath.Join(dir, ".aside")
	if err := os.WriteFile(aside, []byte("mounted\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setxattr(aside, "user.kingpin.version", []byte("1448012345.67"), 0); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(aside, filepath.Join(dir, "config.a")); err != nil {
		t.Fatal(err)
	}
	w.prints("config.a 1448012345.67 mounted")
	publish(t, dir, "config.a", "mounted, too\n")
	w.prints("config.a  mounted, too")
	unmount()
	w.prints("config.a  plain")
}

// One command at a time, and after it the newest version.
func TestWatchRunsOneCommandAtATime(t *testing.T) {
	dir := t.TempDir()
	gate := filepath.Join(t.TempDir(), "gate")
	if err := unix.Mkfifo(gate, 0o600); err != nil {
		t.Fatal(err)
	}
	publish(t, dir, "config.a", "0\n")
	w := startWatch(t, dir, "config.a", "--", "sh", "-c", `echo "begins $(cat)"; cat "$0"; echo ends`, gate)
	pass := func() {
		t.Helper()
		if err := os.WriteFile(gate, []byte("passes\n"), 0); err != nil {
			t.Fatal(err)
		}
	}
	w.prints("begins 0")
	for n := range 50 {
		publish(t, dir, "config.a", fmt.Sprintf("%d\n", n+1))
	}
	pass()
	w.prints("passes")
	w.prints("ends")
	w.prints("begins 50")
	pass()
	w.prints("passes")
	w.prints("ends")
}

// A content is larger than any pipe, and the command needn't read it.
func TestWatchHandsOverContents(t *testing.T) {
	dir := t.TempDir()
	publish(t, dir, "config.a", strings.Repeat("0123456789abcdef", 1<<18))
	w := startWatch(t, dir, "config.a", "--", "sh", "-c", `wc -c; head -c 4 /dev/stdin; echo " again"`)
	w.prints("4194304")
	w.prints("0123 again")
	w = startWatch(t, dir, "config.a", "--", "echo", "unread")
	w.prints("unread")
}

func TestWatchGoesOnWhenACommandFails(t *testing.T) {
	dir := t.TempDir()
	publish(t, dir, "config.a", "one\n")
	w := startWatch(t, dir, "config.a", "--", "sh", "-c", `read -r x; echo "$x"; [ "$x" != one ]`)
	w.prints("one")
	w.complains("the command failed")
	publish(t, dir, "config.a", "two\n")
	w.prints("two")
}

func TestWatchPassesSignalsOn(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(sig.String(), func(t *testing.T) {
			dir := t.TempDir()
			publish(t, dir, "config.a", "one\n")
			w := startWatch(t, dir, "config.a", "--", "bash", "-c",
				`trap 'echo got TERM; kill $!; exit 7' TERM; trap 'echo got INT; kill $!; exit 7' INT; sleep 1000 & echo up; wait`)
			w.prints("up")
			if err := w.cmd.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			w.prints("got " + strings.TrimPrefix(unix.SignalName(sig), "SIG"))
			w.end()
			// Nothing failed, and so nothing is said.
			if rest, err := io.ReadAll(w.stderr); len(rest) > 0 {
				t.Errorf("it said %q (%v)", rest, err)
			}
		})
	}
}

// What can't be watched is an error that says why.
func TestWatchFails(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("becoming nobody takes root: run the tests as root, or by `make test`, which uses sudo")
	}
	dir := t.TempDir()
	// Each directory above may be entered, this one may not be listed.
	for path := dir; path != "/" && path != os.TempDir(); path = filepath.Dir(path) {
		if err := os.Chmod(path, 0o711); err != nil {
			t.Fatal(err)
		}
	}
	binary, err := exec.LookPath("kingpin")
	if err != nil {
		t.Fatal(err)
	}
	opened, err := os.Open(binary) // which nobody can reach
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	cmd := exec.CommandContext(t.Context(), "kingpin", "config", "watch", "--config-dir", dir, "config.a")
	cmd.Path = "/proc/self/fd/3"
	cmd.ExtraFiles = []*os.File{opened}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	output, _ := cmd.CombinedOutput() // the exit code is in ProcessState
	if code := cmd.ProcessState.ExitCode(); code != exitRefused || !strings.Contains(string(output), "watching the directory") {
		t.Errorf("it exited with %d\n%s", code, output)
	}
}

func TestServedNames(t *testing.T) {
	if names := servedNames("/nonexistent"); len(names) > 0 {
		t.Errorf("got %q", names)
	}
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "decider"), 0o755); err != nil {
		t.Fatal(err)
	}
	publish(t, dir, "config.a", "")
	publish(t, filepath.Join(dir, "decider"), "b", "")
	publish(t, dir, ".hidden", "")
	if names := servedNames(dir); !slices.Equal(names, []string{"config.a", "decider/b"}) {
		t.Errorf("got %q", names)
	}
}
