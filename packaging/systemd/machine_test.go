//go:build systemdboot

package systemd

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kingpinfs/kingpin/internal/devcluster/devtest"
)

// tree is the Debian tree to boot; see scripts/test-systemd, which makes it.
var tree = flag.String("tree", "", "boot a copy of the Debian tree in this `DIR`")

// patience is how long the tests wait for what should come soon.
const patience = 30 * time.Second

// unit is the service under test.
const unit = "kingpin-monitor.service"

// machine is a container with a systemd of its own that has booted. It shares
// this machine's network, and so its servers.
type machine struct {
	t      *testing.T
	leader string // the process id of its process 1
}

// boot boots a copy of the tree, which ends and is removed with the test.
func boot(t *testing.T) *machine {
	t.Helper()
	if *tree == "" {
		t.Fatal("which systemd? Run the tests by `make test-systemd`")
	}
	root := filepath.Join(t.TempDir(), fmt.Sprint("kingpin-machine-", os.Getpid()))
	if output, err := exec.Command("cp", "--archive", "--reflink=auto", *tree, root).CombinedOutput(); err != nil {
		t.Fatalf("copying %s: %v\n%s", *tree, err, output)
	}
	nspawn := devtest.Systemd(t, devtest.SystemdConfig{Command: func() *exec.Cmd {
		args := []string{
			"--quiet", "--directory=" + root, "--boot", "--console=pipe", "--link-journal=no",
			"--register=no", "--notify-ready=yes",
			// What a machine has and a container lacks: all capabilities, programs
			// that check the use of devices, and FUSE.
			"--capability=all", "--system-call-filter=bpf", "--bind=/dev/fuse",
		}
		if _, err := os.Stat("/run/systemd/system"); err != nil {
			args = append(args, "--keep-unit") // nobody here gives it a scope of its own
		}
		cmd := exec.Command("systemd-nspawn", args...)
		// Also where this machine still has version 1 of control groups.
		cmd.Env = append(os.Environ(), "UNIFIED_CGROUP_HIERARCHY=1")
		return cmd
	}})
	m := &machine{t: t}
	nspawn.Start()
	t.Cleanup(func() {
		if m.leader != "" && t.Failed() {
			m.abortMounts() // process 1 may wait for one that nobody serves
		}
		nspawn.Stop()
		// What it leaves behind where /run isn't a filesystem of its own.
		if err := os.Remove("/run/systemd/nspawn/propagate/" + filepath.Base(root)); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Error(err)
		}
	})
	started := nspawn.AwaitMessage("who is the container's process 1", func(message devtest.SystemdMessage) bool {
		return message.Value("X_NSPAWN_LEADER_PID") != ""
	})
	m.leader = started.Value("X_NSPAWN_LEADER_PID")
	t.Cleanup(func() {
		if t.Failed() {
			log, _ := m.try("journalctl", "--no-pager", "--output=short-precise", "--lines=200", "--unit=kingpin-*")
			state, _ := m.try("systemctl", "status", "--no-pager", "--full", "kingpin-*")
			t.Logf("%s\n%s", log, state)
		}
	})
	nspawn.Await("READY=1")
	m.await("the end of the boot", func() bool {
		state, _ := m.try("systemctl", "is-system-running")
		return strings.HasPrefix(state, "running") || strings.HasPrefix(state, "degraded")
	})
	t.Log(strings.SplitN(m.run("systemctl", "--version"), "\n", 2)[0])
	return m
}

// try runs a command in the container and returns what it printed.
func (m *machine) try(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := m.command(ctx, args...)
	output, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%q in the container: %w\n%s", args, err, output)
	}
	return strings.TrimSuffix(string(output), "\n"), err
}

// command makes a command that runs in the container.
func (m *machine) command(ctx context.Context, args ...string) *exec.Cmd {
	enter := []string{"--target", m.leader, "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--"}
	cmd := exec.CommandContext(ctx, "nsenter", append(enter, args...)...)
	cmd.WaitDelay = time.Second
	return cmd
}

// run runs a command in the container that must succeed.
func (m *machine) run(args ...string) string {
	m.t.Helper()
	output, err := m.try(args...)
	if err != nil {
		m.t.Fatal(err)
	}
	return output
}

// path returns the path by which a file of the container is reached from
// outside, through its process 1: as its processes see it, mounts included.
func (m *machine) path(file string) string {
	return filepath.Join("/proc", m.leader, "root", file)
}

// install copies a file into the container.
func (m *machine) install(from, to string, mode os.FileMode) {
	m.t.Helper()
	source, err := os.Open(from)
	if err != nil {
		m.t.Fatal(err)
	}
	defer source.Close()
	// In place of what is there, which may be running.
	target := m.path(to)
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		m.t.Fatal(err)
	}
	copied, err := os.CreateTemp(filepath.Dir(target), ".install-")
	if err != nil {
		m.t.Fatal(err)
	}
	defer copied.Close()
	if _, err := io.Copy(copied, source); err != nil {
		m.t.Fatal(err)
	}
	if err := copied.Chmod(mode); err != nil {
		m.t.Fatal(err)
	}
	if err := os.Rename(copied.Name(), target); err != nil {
		m.t.Fatal(err)
	}
}

// write writes a file in the container.
func (m *machine) write(file, content string) {
	m.t.Helper()
	path := m.path(file)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		m.t.Fatal(err)
	}
}

// show returns a property of the unit.
func (m *machine) show(property string) string {
	m.t.Helper()
	return m.showOf(unit, property)
}

// showOf returns a property of another unit.
func (m *machine) showOf(other, property string) string {
	m.t.Helper()
	return m.run("systemctl", "show", "--property="+property, "--value", other)
}

// await waits until a condition holds.
func (m *machine) await(what string, holds func() bool) {
	m.t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for !holds() {
		select {
		case <-poll.C:
		case <-deadline.C:
			m.t.Fatalf("%s didn't come within %v", what, patience)
		}
	}
}

// mount is what a process sees at a mount point.
type mount struct {
	id, device, fstype string
}

// mountAt returns what a process sees mounted there; the zero mount if nothing.
// The process is given by its id on this machine.
func (m *machine) mountAt(pid, dir string) mount {
	m.t.Helper()
	content, err := os.ReadFile(filepath.Join("/proc", pid, "mountinfo"))
	if err != nil {
		m.t.Fatal(err)
	}
	var found mount
	for line := range strings.Lines(string(content)) {
		// proc_pid_mountinfo(5): id parent device root point options … - fstype …
		fields := strings.Fields(line)
		if _, after, _ := strings.Cut(line, " - "); len(fields) > 5 && fields[4] == dir {
			found = mount{fields[0], fields[2], strings.Fields(after)[0]}
		}
	}
	return found
}

// abortMounts ends all FUSE sessions that the container sees.
func (m *machine) abortMounts() {
	for _, dir := range []string{"/var/config", "/var/serverset"} {
		if mounted := m.mountAt(m.leader, dir); mounted.fstype == "fuse.kingpin" {
			_, minor, _ := strings.Cut(mounted.device, ":")
			_ = os.WriteFile(m.path("/sys/fs/fuse/connections/"+minor+"/abort"), []byte("1"), 0) // it may have ended
		}
	}
}
