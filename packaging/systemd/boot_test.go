//go:build systemdboot

package systemd

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kingpinfs/kingpin/internal/devcluster"
	"github.com/kingpinfs/kingpin/internal/devcluster/devtest"
)

// box is a machine with the monitor installed, and the fleet that it is of.
type box struct {
	*machine
	zookeeper *devcluster.ZooKeeper
	s3        *devcluster.S3
	adminAddr string
	config    string // the name of the one config
}

// newBox boots a machine, installs the monitor and publishes version 1.
func newBox(t *testing.T) *box {
	t.Helper()
	binary(t) // which may take long, so that it is built before it is waited for
	b := &box{zookeeper: devtest.ZooKeeper(t), s3: devtest.S3(t), adminAddr: freeAddr(t), machine: boot(t)}
	b.install(binary(t), "/usr/bin/kingpin", 0o755)
	for _, file := range []string{unit, "kingpin-register@.service"} {
		b.install(file, "/usr/lib/systemd/system/"+file, 0o644)
	}
	b.write("/etc/kingpin/kingpin.env", strings.Join(append(b.environment(), "KINGPIN_DEPENDENCY=box.dep"), "\n")+"\n")
	b.run("systemctl", "daemon-reload")

	b.config = strings.TrimSpace(b.kingpin("", "metaconfig", "create-config", "test", "value"))
	b.kingpin("", "dependency", "create", "box.dep")
	b.kingpin("", "dependency", "add", "box.dep", b.config)
	b.publish(1)
	return b
}

// freeAddr returns an address on which nobody listens. The container has no
// network of its own, in which the usual one would be free.
func freeAddr(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// environment says where the fleet's servers are.
func (b *box) environment() []string {
	return []string{
		"KINGPIN_ZK=" + b.zookeeper.Addr(), "KINGPIN_S3_ENDPOINT=" + b.s3.Endpoint(), "KINGPIN_S3_BUCKET=" + devtest.Bucket,
		"AWS_ACCESS_KEY_ID=any", "AWS_SECRET_ACCESS_KEY=any", "KINGPIN_ADMIN_ADDR=" + b.adminAddr,
	}
}

// tryKingpin runs a command on this machine and returns what it printed.
func (b *box) tryKingpin(program, input string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(), b.environment()...)
	cmd.Stdin = strings.NewReader(input)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("kingpin %q: %w\n%s", args, err, &stderr)
	}
	return stdout.String(), nil
}

// kingpin runs a command on this machine that must succeed, and returns what it
// printed.
func (b *box) kingpin(input string, args ...string) string {
	b.t.Helper()
	output, err := b.tryKingpin(binary(b.t), input, args...)
	if err != nil {
		b.t.Fatal(err)
	}
	return output
}

// publish publishes a version of the config.
func (b *box) publish(n int) {
	b.t.Helper()
	b.kingpin(contentOf(n), "config", "put", b.config, "-")
}

// file is the config's file as the container's processes see it.
func (b *box) file() string { return b.path("/var/config/" + b.config) }

// awaitContent waits until the file holds a version.
func (b *box) awaitContent(n int) {
	b.t.Helper()
	b.await(fmt.Sprintf("version %d in %s", n, b.config), func() bool {
		content, err := os.ReadFile(b.file())
		return err == nil && string(content) == contentOf(n)
	})
}

// served returns what process 1 sees where configs and serversets are served.
func (b *box) served() []mount {
	b.t.Helper()
	return []mount{b.mountAt(b.leader, "/var/config"), b.mountAt(b.leader, "/var/serverset")}
}

// mainPID is the id of the unit's main process in the container.
func (b *box) mainPID() string {
	b.t.Helper()
	return b.show("MainPID")
}

// awaitNext waits until the unit is active with another main process.
func (b *box) awaitNext(before string) {
	b.t.Helper()
	b.await("the next main process", func() bool {
		pid := b.mainPID()
		return pid != before && pid != "0" && b.show("ActiveState") == "active"
	})
}

// mustBeMounted fails the test unless both directories are FUSE mounts that
// process 1 sees. It returns them.
func (b *box) mustBeMounted() []mount {
	b.t.Helper()
	served := b.served()
	for _, m := range served {
		if m.fstype != "fuse.kingpin" {
			b.t.Fatalf("process 1 sees %+v where configs and serversets are served", served)
		}
	}
	return served
}

// mustBeTheSame fails the test unless the mounts are what they were.
func (b *box) mustBeTheSame(before []mount) {
	b.t.Helper()
	if after := b.served(); !slices.Equal(before, after) {
		b.t.Errorf("the mounts are %+v, and were %+v", after, before)
	}
}

func TestStartAndStop(t *testing.T) {
	b := newBox(t)
	b.run("systemctl", "start", unit)
	b.mustBeMounted()
	b.awaitContent(1)
	if status := b.show("StatusText"); !strings.Contains(status, "mode=fuse") {
		t.Errorf("the status is %q", status)
	}
	pid := b.mainPID()
	if own, all := b.run("readlink", "/proc/"+pid+"/ns/mnt"), b.run("readlink", "/proc/1/ns/mnt"); own != all {
		t.Errorf("the monitor has the mount namespace %s, and all else %s", own, all)
	}
	if stored := b.show("NFileDescriptorStore"); stored == "0" {
		t.Error("systemd keeps no descriptors")
	}

	r := read(t, b.file())
	r.awaitMore(b.machine)
	b.run("systemctl", "stop", unit)
	r.awaitMore(b.machine)
	r.check("stop")
	for _, m := range b.served() {
		if m != (mount{}) {
			t.Errorf("after a stop there is still %+v", m)
		}
	}
	if stored := b.show("NFileDescriptorStore"); stored != "0" {
		t.Errorf("after a stop systemd still keeps %s descriptors", stored)
	}
	if result := b.show("Result"); result != "success" {
		t.Errorf("the stop's result is %q", result)
	}
}

// privateBind starts a process in a mount namespace of its own in which /var/config is
// bound elsewhere, as containers have it, and returns the path of the bind.
func (b *box) privateBind() string {
	b.t.Helper()
	cmd := b.command(b.t.Context(), "unshare", "--mount", "--propagation", "private", "sh", "-c",
		"mkdir -p /mnt/bound && mount --bind /var/config /mnt/bound && echo bound && exec sleep infinity")
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = cmd.Cancel(); _ = cmd.Wait() })
	line := make([]byte, len("bound\n"))
	if _, err := out.Read(line); err != nil {
		b.t.Fatalf("binding /var/config: %v", err)
	}
	// nsenter forks to enter the process namespace: the child is in the bind's.
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", cmd.Process.Pid, cmd.Process.Pid))
	if err != nil {
		b.t.Fatal(err)
	}
	return filepath.Join("/proc", strings.TrimSpace(string(children)), "root/mnt/bound", b.config)
}

// interruption is something that the readers must not notice.
type interruption struct {
	name string
	// cause has the main process replaced, if restarts is set when it returns.
	cause func(t *testing.T, b *box)
}

func TestReadersDoNotNotice(t *testing.T) {
	b := newBox(t)
	b.run("systemctl", "start", unit)
	mounts := b.mustBeMounted()
	b.awaitContent(1)
	bound := b.privateBind()
	b.write("/etc/systemd/system/"+unit+".d/impatient.conf", "[Service]\nWatchdogSec=1s\n")
	b.run("systemctl", "daemon-reload")
	b.run("systemctl", "restart", unit)
	version := 1
	for _, i := range []interruption{
		{"restart", func(_ *testing.T, b *box) { b.run("systemctl", "restart", unit) }},
		{"kill -9 of the main process", func(_ *testing.T, b *box) {
			b.run("systemctl", "kill", "--signal=KILL", "--kill-who=main", unit)
		}},
		{"kill -9 of all processes", func(_ *testing.T, b *box) {
			b.run("systemctl", "kill", "--signal=KILL", "--kill-who=all", unit)
		}},
		{"a main process that hangs", func(_ *testing.T, b *box) {
			b.run("systemctl", "kill", "--signal=STOP", "--kill-who=main", unit)
		}},
		{"daemon-reexec, then restart", func(_ *testing.T, b *box) {
			b.run("systemctl", "daemon-reexec")
			b.run("systemctl", "restart", unit)
		}},
		{"a newer build, then restart", func(t *testing.T, b *box) {
			newer := filepath.Join(t.TempDir(), "kingpin")
			if err := build(newer, "v0.0.1-newer"); err != nil {
				t.Fatal(err)
			}
			b.install(newer, "/usr/bin/kingpin", 0o755)
			b.run("systemctl", "restart", unit)
		}},
	} {
		t.Run(i.name, func(t *testing.T) {
			before := b.mainPID()
			r := read(t, b.file(), bound)
			r.awaitMore(b.machine)
			i.cause(t, b)
			b.awaitNext(before)
			r.awaitMore(b.machine)
			b.mustBeTheSame(mounts)
			version++
			b.publish(version)
			b.awaitContent(version)
			r.awaitMore(b.machine)
			r.check(i.name)
		})
	}
	if text := b.kingpin("", "status"); !strings.Contains(text, "v0.0.1-newer") {
		t.Errorf("after the upgrade, the status is\n%s", text)
	}
	b.run("systemctl", "stop", unit)
	if left := b.served(); left[0] != (mount{}) || left[1] != (mount{}) {
		t.Errorf("after a stop there is still %+v", left)
	}
}

// A thread of a killed worker may wait in the kernel for an answer that only the
// next one gives, so that systemd can't end it. That must not keep systemd from
// starting the next one.
func TestKillsUnderUpdates(t *testing.T) {
	const kills = 20
	b := newBox(t)
	b.run("systemctl", "start", unit)
	mounts := b.mustBeMounted()
	b.awaitContent(1)
	r := read(t, b.file())
	last := 1
	var publishErr error
	var publishing sync.WaitGroup
	stop := make(chan struct{})
	program := binary(t)
	publishing.Go(func() {
		for publishErr == nil {
			select {
			case <-stop:
				return
			default:
				last++
				_, publishErr = b.tryKingpin(program, contentOf(last), "config", "put", b.config, "-")
			}
		}
	})
	end := sync.OnceFunc(func() { close(stop); publishing.Wait() })
	t.Cleanup(end)
	for range kills {
		before := b.mainPID()
		b.run("systemctl", "kill", "--signal=KILL", "--kill-who=all", unit)
		b.awaitNext(before)
		r.awaitMore(b.machine)
	}
	end()
	if publishErr != nil {
		t.Fatal(publishErr)
	}
	b.awaitContent(last)
	b.mustBeTheSame(mounts)
	r.check(fmt.Sprint(kills, " kills under updates"))
}

// A package's installation reloads systemd at any time, and systemd then looks
// at each descriptor that it keeps. It must not wait for who serves one, or it
// would never start it.
func TestReloadOfSystemdWhileNobodyServes(t *testing.T) {
	b := newBox(t)
	b.write("/etc/systemd/system/"+unit+".d/slow.conf", "[Service]\nRestartSec=3s\n")
	b.run("systemctl", "daemon-reload")
	b.run("systemctl", "start", unit)
	mounts := b.mustBeMounted()
	b.awaitContent(1)
	before := b.mainPID()
	// The kernel no longer knows what the directories are like, which the monitor
	// mends soon, and nobody else may.
	b.run("sh", "-c", "echo version 2 > /var/config/"+b.config)
	published := func() int {
		return strings.Count(b.run("journalctl", "--no-pager", "--unit="+unit), "msg=published name="+b.config)
	}
	last := published() + 1
	b.publish(3)
	b.await("the publication of version 3", func() bool { return published() == last })
	b.run("systemctl", "kill", "--signal=KILL", "--kill-who=all", unit)
	b.await("the end of the main process", func() bool { return b.mainPID() == "0" })
	b.run("systemctl", "daemon-reload")
	b.run("systemctl", "daemon-reexec")
	b.awaitNext(before)
	b.awaitContent(3)
	b.mustBeTheSame(mounts)
}

func TestReload(t *testing.T) {
	b := newBox(t)
	b.run("systemctl", "start", unit)
	before := b.mainPID()
	b.run("systemctl", "reload", unit)
	b.await("the log of the reload", func() bool {
		return strings.Contains(b.run("journalctl", "--no-pager", "--unit="+unit), "SIGHUP: reading everything again")
	})
	b.await("the end of the reload", func() bool { return b.show("ActiveState") == "active" })
	if after := b.mainPID(); after != before {
		t.Errorf("the main process is %s, and was %s", after, before)
	}
}

// With ZooKeeper and S3 both away the monitor serves what it served last, and
// becomes ready when they are back.
func TestStartWithBothAway(t *testing.T) {
	b := newBox(t)
	b.run("systemctl", "enable", "--now", unit)
	b.awaitContent(1)
	b.run("systemctl", "stop", unit)
	if err := b.zookeeper.Pause(); err != nil {
		t.Fatal(err)
	}
	if err := b.s3.Stop(); err != nil {
		t.Fatal(err)
	}
	b.run("systemctl", "start", "--no-block", unit)
	b.await("the mounts", func() bool { return b.served()[0].fstype == "fuse.kingpin" })
	b.awaitContent(1)
	if state := b.show("ActiveState"); state != "activating" {
		t.Errorf("the unit is %q", state)
	}
	// A restart that finds it not ready doesn't unmount, either.
	mounts := b.mustBeMounted()
	r := read(t, b.file())
	r.awaitMore(b.machine)
	before := b.mainPID()
	b.run("systemctl", "restart", "--no-block", unit)
	b.await("the next main process", func() bool { pid := b.mainPID(); return pid != before && pid != "0" })
	r.awaitMore(b.machine)
	r.check("restart of a monitor that isn't ready")
	b.mustBeTheSame(mounts)

	if err := b.s3.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := b.zookeeper.Resume(); err != nil {
		t.Fatal(err)
	}
	b.await("readiness", func() bool { return b.show("ActiveState") == "active" })
	b.publish(2)
	b.awaitContent(2)
}

// The monitor's processes may do no more than the unit says.
func TestHardening(t *testing.T) {
	b := newBox(t)
	b.run("systemctl", "start", unit)
	group := b.run("systemctl", "show", "--property=ControlGroup", "--value", unit)
	for pid := range strings.FieldsSeq(b.run("cat", "/sys/fs/cgroup"+group+"/cgroup.procs")) {
		status := b.run("cat", "/proc/"+pid+"/status")
		want := fmt.Sprintf("CapBnd:\t%016x", 1<<unix.CAP_SYS_ADMIN|1<<unix.CAP_SYS_PTRACE|1<<unix.CAP_DAC_OVERRIDE|1<<unix.CAP_CHOWN|1<<unix.CAP_FOWNER)
		for _, line := range []string{want, "NoNewPrivs:\t1", "Seccomp:\t2"} {
			if !strings.Contains(status, line) {
				t.Errorf("process %s lacks %q:\n%s", pid, line, status)
			}
		}
	}
	if log := b.run("journalctl", "--no-pager", "--unit="+unit); strings.Contains(log, "operation not permitted") {
		t.Errorf("something was refused:\n%s", log)
	}
}

// The drop-in of docs/systemd.md confines a monitor that doesn't mount.
func TestPlainFilesConfined(t *testing.T) {
	guide, err := os.ReadFile("../../docs/systemd.md")
	if err != nil {
		t.Fatal(err)
	}
	var dropIn string
	for _, block := range strings.Split(string(guide), "```\n") {
		if strings.HasPrefix(block, "[Service]\nEnvironment=KINGPIN_MODE=plain\n") {
			dropIn = block
		}
	}
	if dropIn == "" {
		t.Fatal("docs/systemd.md has no drop-in for plain files")
	}
	b := newBox(t)
	b.write("/etc/systemd/system/"+unit+".d/plain.conf", dropIn)
	b.run("mkdir", "-p", "/var/config", "/var/serverset")
	b.run("systemctl", "daemon-reload")
	b.run("systemctl", "start", unit)
	if served := b.served(); served[0] != (mount{}) {
		t.Errorf("it mounts %+v", served)
	}
	b.awaitContent(1)
	r := read(t, b.file())
	b.run("systemctl", "restart", unit)
	b.publish(2)
	b.awaitContent(2)
	r.check("restart with plain files")
	pid := b.mainPID()
	if output, err := b.try("nsenter", "--target", pid, "--mount", "touch", "/usr/written"); err == nil {
		t.Errorf("the monitor may write to /usr: %s", output)
	}
}
