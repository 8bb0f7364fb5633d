package integration

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// hostDirs returns directories of a monitor in a directory that is mounted, and
// propagates what is mounted in it, as the root directory of a machine with
// systemd does.
func hostDirs(t testing.TB) dirs {
	t.Helper()
	needFUSE(t)
	host := filepath.Join(tempDir(t), "host")
	if err := os.Mkdir(host, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(host, host, "", unix.MS_BIND, ""); err != nil {
		t.Fatalf("binding %s: %v", host, err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(host, unix.MNT_DETACH); err != nil {
			t.Errorf("unmounting %s: %v", host, err)
		}
	})
	if err := unix.Mount("", host, "", unix.MS_SHARED, ""); err != nil {
		t.Fatalf("sharing %s: %v", host, err)
	}
	d := dirs{filepath.Join(host, "config"), filepath.Join(host, "serverset"), filepath.Join(host, "state")}
	for _, dir := range []string{d.config, d.serverset} { // runtimes don't create what is to be mounted
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

// containerKind is a way to give a container a directory of the machine's.
type containerKind struct {
	// flags are unshare's.
	flags []string
	// mount is a shell script that mounts $SOURCE at $AT.
	mount string
}

var containerKinds = map[string]containerKind{
	// A mount namespace that hears nothing of what is mounted outside.
	"private": {[]string{"--mount", "--propagation", "private"}, `mount --bind "$SOURCE" "$AT"`},
	// As docker run -v SOURCE:AT:ro,rslave does, and Kubernetes with
	// HostToContainer.
	"rslave": {[]string{"--mount", "--propagation", "slave"},
		`mount --rbind "$SOURCE" "$AT"; mount --make-rslave "$AT"; mount -o remount,bind,ro "$AT"`},
	// The same in a user namespace, where root is nobody outside.
	"rslave-user": {[]string{"--user", "--map-root-user", "--mount", "--propagation", "slave"},
		`mount --rbind "$SOURCE" "$AT"; mount --make-rslave "$AT"`},
	// The same with process ids of its own.
	"rslave-pid": {[]string{"--pid", "--fork", "--kill-child", "--mount", "--propagation", "slave"},
		`mount --rbind "$SOURCE" "$AT"; mount --make-rslave "$AT"`},
}

// container is a process with mounts of its own, which reads a series of
// contents all the time.
type container struct {
	*process
	what  string // for messages
	kind  containerKind
	at    string         // where it has what it was given
	file  string         // in that; "" if that is the file itself
	input io.WriteCloser // the reader ends when it does
}

// startContainer starts a container of some kind that has source, a directory or
// a file of the machine's, and reads a file in it until stop. Readers with the
// same newest check that none sees an older version than any has seen.
func startContainer(t testing.TB, kind, source, file, newest string) *container {
	t.Helper()
	needProgram(t, "unshare")
	c := &container{what: kind + " of " + filepath.Base(source), kind: containerKinds[kind], file: file}
	c.at = filepath.Join(tempDir(t), "at")
	if st := mustStat(t, source); st.Mode&unix.S_IFMT == unix.S_IFDIR {
		if err := os.Mkdir(c.at, 0o755); err != nil {
			t.Fatal(err)
		}
	} else {
		mustWrite(t, c.at, "")
	}
	reader := helperCommand(t, readerHelper, filepath.Join(c.at, file), "quick", newest)
	args := slices.Concat(c.kind.flags, []string{"sh", "-ec", c.kind.mount + `; echo mounted >&2; exec "$0" "$@"`}, reader.Args)
	cmd := exec.Command("unshare", args...)
	cmd.Env = append(reader.Env, "SOURCE="+source, "AT="+c.at)
	input, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.input = input
	c.process = startProcess(t, cmd)
	c.awaitLine(0, "^mounted")
	return c
}

// mainPID is the process in the container: unshare's child if it has forked.
func (c *container) mainPID() int {
	if slices.Contains(c.kind.flags, "--fork") {
		return children(c.t, c.pid())[0]
	}
	return c.pid()
}

// has returns nil if the container's file holds the n-th content.
func (c *container) has(n int) error {
	return has(fmt.Sprintf("/proc/%d/root%s", c.mainPID(), filepath.Join(c.at, c.file)), seriesContent(n))
}

// await waits until the container's file holds the n-th content.
func (c *container) await(n int) {
	c.t.Helper()
	await(c.t, fmt.Sprintf("version %d in the container %s", n, c.what), func() error { return c.has(n) })
}

// stop ends the container and returns what its reader reports.
func (c *container) stop() readerReport {
	c.t.Helper()
	if err := c.input.Close(); err != nil {
		c.t.Error(err)
	}
	if code := c.wait(); code != 0 {
		c.t.Fatalf("the reader in the container %s exited with %d:\n%s", c.what, code, c.stderr)
	}
	var report readerReport
	if err := json.Unmarshal([]byte(c.stdout.String()), &report); err != nil {
		c.t.Fatalf("the report of the reader in the container %s: %v", c.what, err)
	}
	return report
}

// watch starts inotifywait in the container, in the directory of its file.
func (c *container) watch() *watcher {
	c.t.Helper()
	path := filepath.Dir(filepath.Join(c.at, c.file))
	needProgram(c.t, "nsenter")
	inner := watcherKinds["inotifywait"](c.t)
	args := append([]string{"--target", fmt.Sprint(c.mainPID()), "--mount"}, inner.Args...)
	w := &watcher{startProcess(c.t, exec.Command("nsenter", append(args, path)...)), "inotifywait", path}
	w.awaitLine(0, `(?i)^watches established`)
	return w
}

// configWatch starts `kingpin config watch` in the container, on its file. All
// that it prints differs from what it printed before.
func (c *container) configWatch() *watchCommand {
	c.t.Helper()
	needProgram(c.t, "nsenter")
	w := &watchCommand{startProcess(c.t, exec.Command("nsenter", "--target", fmt.Sprint(c.mainPID()), "--mount",
		binary(c.t), "config", "watch", "--output", "json", "--config-dir", filepath.Dir(filepath.Join(c.at, c.file)), filepath.Base(c.file)))}
	w.awaitOutput(w.stdout, 0, "^{")
	c.t.Cleanup(func() {
		before := ""
		for _, v := range w.printed() {
			if v.Content == before {
				c.t.Errorf("config watch printed version %s twice", v.Version)
			}
			before = v.Content
		}
	})
	return w
}
