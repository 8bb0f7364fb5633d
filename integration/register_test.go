package integration

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"
	"golang.org/x/sys/unix"

	"github.com/kingpinfs/kingpin/internal/devcluster"
	"github.com/kingpinfs/kingpin/internal/devcluster/devtest"
)

// notifyAll returns the signals that a service is sent.
func notifyAll() <-chan os.Signal {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGWINCH)
	return signals
}

// A service whose check fails leaves every box's file within three intervals and a
// second, and comes back.
func TestRegisterFollowsTheService(t *testing.T) {
	f := newFleet(t, gofakes3)
	f.run("dependency", "create", "box.dep")
	name := f.newServerset("svc", "prod", "box.dep")
	f.zk.join(svcPath, "10.0.0.1:80") // an empty list would be held back
	monitors := []*monitor{
		f.startMonitor(monitorConfig{Mode: "fuse", Dependencies: []string{"box.dep"}}),
		f.startMonitor(monitorConfig{Mode: "plain", Dependencies: []string{"box.dep"}}),
	}
	s := newService(t)
	r := f.startRegister(s)
	r.awaitRegistered(0)
	for _, m := range monitors {
		m.awaitServerset(name, "10.0.0.1:80", s.endpoint)
	}

	// The bound counts from when the service stopped. The log tells where the time
	// went, if it is ever exceeded.
	const fall, interval = 3, time.Second
	said := len(r.stderr.String())
	down := time.Now()
	s.down()
	for _, m := range monitors {
		m.awaitServerset(name, "10.0.0.1:80")
	}
	took := time.Since(down)
	failed := logged(t, r.awaitLine(said, `"msg":"the check fails"`))
	unhealthy := logged(t, r.awaitLine(said, `"msg":"the service is unhealthy"`))
	t.Logf("gone from every box %v after the service stopped; the first failed check came after %v, the last after %v",
		took.Round(time.Millisecond), failed.Sub(down).Round(time.Millisecond), unhealthy.Sub(down).Round(time.Millisecond))
	if bound := fall*interval + time.Second; took > bound {
		t.Errorf("it took %v to leave the files, over %v", took, bound)
	}

	up := time.Now()
	s.up()
	for _, m := range monitors {
		m.awaitServerset(name, "10.0.0.1:80", s.endpoint)
	}
	t.Logf("back on every box %v after the service started", time.Since(up).Round(time.Millisecond))

	leaving := time.Now()
	r.signal(syscall.SIGTERM)
	for _, m := range monitors {
		m.awaitServerset(name, "10.0.0.1:80")
	}
	t.Logf("gone from every box %v after SIGTERM", time.Since(leaving).Round(time.Millisecond))
	if code := r.wait(); code != 0 {
		t.Errorf("it exited with %d", code)
	}
}

// A registration that is killed ends with its session; the next one on the machine
// takes its place before that.
func TestRegisterKilled(t *testing.T) {
	f := newFleet(t, gofakes3)
	s := newService(t)
	r := f.startRegister(s, "--session-timeout", "30s", "--interval", "50ms")
	r.awaitRegistered(0)
	member := f.zk.member()
	r.kill()
	if !f.zk.exists(svcPath + "/" + member) {
		t.Fatal("the member went with the process: this test shows nothing")
	}
	_, before := f.zk.get(svcPath + "/" + member)
	next := f.startRegister(s, "--session-timeout", "1s", "--interval", "50ms")
	next.awaitLine(0, `"msg":"replaced the registration of an earlier run"`)
	if now := f.zk.member(); now != member {
		t.Errorf("the member was %s, and is %s", member, now)
	}
	if _, after := f.zk.get(svcPath + "/" + member); after.EphemeralOwner == before.EphemeralOwner {
		t.Error("the member still belongs to the killed process")
	}
	killed := time.Now()
	next.kill()
	f.zk.awaitGone(svcPath + "/" + member)
	t.Logf("gone %v after the kill, with a session of 1 s", time.Since(killed).Round(time.Millisecond))
}

// The member is gone before the command is told to end, and callers have had the
// time to notice.
func TestRegisterEndsCommandLast(t *testing.T) {
	t.Parallel()
	const drain = 500 * time.Millisecond
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(sig.String(), func(t *testing.T) {
			f := newFleet(t, gofakes3)
			s := newService(t)
			s.down()
			r := f.startRegisterCommand(s, 42, "--drain", drain.String(), "--interval", "50ms")
			r.awaitOutput(r.stdout, 0, "^listening")
			r.awaitRegistered(0)
			member := f.zk.member()
			if _, stat := f.zk.get(svcPath + "/" + member); stat.EphemeralOwner == 0 {
				t.Error("the member isn't ephemeral")
			}
			for _, passed := range []syscall.Signal{syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGWINCH} {
				r.signal(passed)
				r.awaitOutput(r.stdout, 0, regexp.QuoteMeta(passed.String())+": members 1")
			}
			sent := time.Now()
			r.signal(sig)
			f.zk.awaitGone(svcPath + "/" + member)
			gone := time.Now()
			if code := r.wait(); code != 42 {
				t.Errorf("it exited with %d, want the command's 42", code)
			}
			members, told := reported(t, r.stdout.String(), sig.String())
			t.Logf("gone after %v; the command was told after %v", gone.Sub(sent).Round(time.Millisecond), told.Sub(sent).Round(time.Millisecond))
			if members != "0 <nil>" || told.Sub(sent) < drain {
				t.Errorf("the command was told after %v, when there were so many members: %s", told.Sub(sent), members)
			}
		})
	}
}

// startRegisterCommand is startRegister with a command that listens, and says what
// signals it gets and how many members there are then.
func (f *fleet) startRegisterCommand(s *service, code int, args ...string) *registration {
	f.t.Helper()
	server, chroot, _ := strings.Cut(f.zkAddr, "/")
	helper := helperCommand(f.t, "member-reporter", server, "/"+chroot+svcPath, s.port, strconv.Itoa(code))
	args = append([]string{"register", "-s", "svc", "-e", "prod", "-p", s.port, "--log-format", "json"}, args...)
	cmd := helper
	cmd.Args = append(append([]string{binary(f.t)}, append(args, "--", cmd.Path)...), helper.Args[1:]...)
	cmd.Path = binary(f.t)
	cmd.Env = f.env(helperEnv + "=member-reporter")
	return &registration{startProcess(f.t, cmd), s}
}

// A second signal doesn't wait for callers.
func TestRegisterSecondSignal(t *testing.T) {
	t.Parallel()
	f := newFleet(t, gofakes3)
	s := newService(t)
	s.down()
	r := f.startRegisterCommand(s, 3, "--drain", "10m", "--interval", "50ms")
	r.awaitRegistered(0)
	r.signal(syscall.SIGTERM)
	r.awaitLine(0, `"msg":"waiting until callers have noticed"`)
	r.signal(syscall.SIGTERM)
	if code := r.wait(); code != 3 {
		t.Errorf("it exited with %d", code)
	}
	// Without a command as well.
	s.up()
	alone := f.startRegister(s, "--drain", "10m", "--interval", "50ms")
	alone.awaitRegistered(0)
	alone.signal(syscall.SIGTERM)
	alone.awaitLine(0, `"msg":"waiting until callers have noticed"`)
	alone.signal(syscall.SIGTERM)
	alone.wait()
	if n := f.zk.members(); n != 0 {
		t.Errorf("there are %d members left", n)
	}
}

// A command that dies is no member any more, at once; and it dies with who
// registers it.
func TestRegisterCommandDies(t *testing.T) {
	t.Parallel()
	f := newFleet(t, gofakes3)
	s := newService(t)
	s.down()
	r := f.startRegisterCommand(s, 0, "--session-timeout", "10m", "--interval", "50ms")
	r.awaitRegistered(0)
	pid := r.commandPID()
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if code := r.wait(); code != 128+9 {
		t.Errorf("it exited with %d, want 137", code)
	}
	if n := f.zk.members(); n != 0 {
		t.Errorf("when it has exited there are %d members", n)
	}

	r = f.startRegisterCommand(s, 0, "--session-timeout", "1s", "--interval", "50ms")
	r.awaitRegistered(0)
	pid = r.commandPID()
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pidfd)
	r.kill()
	ended := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	if n, err := unix.Poll(ended, int(patience.Milliseconds())); err != nil || n != 1 {
		t.Errorf("the command %d outlived who registered it: %d, %v", pid, n, err)
	}
	f.zk.awaitGone(svcPath + "/" + f.zk.member())
}

// commandPID finds the process that it runs.
func (r *registration) commandPID() int {
	r.t.Helper()
	var pid int
	await(r.t, "the command's process", func() error {
		threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", r.pid()))
		if err != nil {
			return err
		}
		for _, thread := range threads {
			children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", r.pid(), thread.Name()))
			if err != nil {
				continue // it has ended
			}
			if fields := strings.Fields(string(children)); len(fields) > 0 {
				pid, err = strconv.Atoi(fields[0])
				return err
			}
		}
		return errNotYet
	})
	return pid
}

// A session that expired is made good, and so is an ensemble that was restarted.
func TestRegisterSurvivesZooKeeper(t *testing.T) {
	server := devtest.ZooKeeper(t)
	s3 := gofakes3(t)
	f := newFleetOn(t, server.Addr(), s3)
	proxy, err := devcluster.StartProxy(server.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.Close)
	s := newService(t)
	r := f.startRegister(s, "--zk", proxy.Addr(), "--session-timeout", "1s", "--interval", "50ms")
	r.awaitRegistered(0)
	member := f.zk.member()
	_, before := f.zk.get(svcPath + "/" + member)

	proxy.Cut()
	f.zk.awaitGone(svcPath + "/" + member)
	said := len(r.stderr.String())
	if err := proxy.Restore(); err != nil {
		t.Fatal(err)
	}
	restored := time.Now()
	r.awaitRegistered(said)
	t.Logf("registered again %v after an expired session", time.Since(restored).Round(time.Millisecond))
	if _, after := f.zk.get(svcPath + "/" + f.zk.member()); after.EphemeralOwner == before.EphemeralOwner {
		t.Error("the session is the same")
	}

	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	r.awaitLine(said, "disconnected from ZooKeeper")
	if err := server.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if now := connectZK(t, server.Addr()).member(); now != member {
		t.Errorf("after a restart of ZooKeeper the member is %s, and was %s", now, member)
	}
}

// Who has registered the endpoint from elsewhere is named, and waited for.
func TestRegisterForeignEndpoint(t *testing.T) {
	t.Parallel()
	f := newFleet(t, gofakes3)
	s := newService(t)
	f.zk.create(svcPath, nil)
	theirs := f.zk.createEphemeral(svcPath+"/"+hexUUID()+"-"+s.endpoint, []byte(s.endpoint), 0)
	admin, err := devcluster.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	addr := fmt.Sprint("127.0.0.1:", admin)
	r := f.startRegister(s, "--interval", "50ms", "--admin-addr", addr)
	line := r.awaitLine(0, "somebody else has registered it")
	if want := fmt.Sprintf("session 0x%x", uint64(f.zk.conn.SessionID())); !strings.Contains(line, want) {
		t.Errorf("the log says %s, and not who: %s", line, want)
	}
	if code := askAdmin(t, addr, "/admin/healthcheck"); code != http.StatusInternalServerError {
		t.Errorf("the health check is answered by %d", code)
	}
	f.zk.remove(theirs)
	r.awaitRegistered(0)
	if code := askAdmin(t, addr, "/admin/healthcheck"); code != http.StatusOK {
		t.Errorf("registered, the health check is answered by %d", code)
	}
}

func askAdmin(t *testing.T, addr, path string) int {
	t.Helper()
	response, err := adminClient.Get("http://" + addr + path)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	return response.StatusCode
}

// Under systemd it is ready when the service has been registered, and says what it
// waits for until then.
func TestRegisterTellsSystemd(t *testing.T) {
	t.Parallel()
	f := newFleet(t, gofakes3)
	s := newService(t)
	s.down()
	unit := devtest.Systemd(t, devtest.SystemdConfig{
		Command: func() *exec.Cmd { return f.registerCommand(s, "--interval", "50ms", "--drain", "0s") }, Watchdog: 10 * time.Second,
	})
	unit.Start()
	unit.AwaitMessage("why it isn't ready", func(m devtest.SystemdMessage) bool {
		return !m.Has("READY=1") && strings.Contains(m.Value("STATUS"), "unhealthy: "+s.endpoint) && strings.Contains(m.Value("STATUS"), "connection refused")
	})
	s.up()
	m := unit.Await("READY=1")
	if status := m.Value("STATUS"); status != "registered: "+s.endpoint+" "+svcPath {
		t.Errorf("when it is ready the status is %q", status)
	}
	unit.Await("WATCHDOG=1")
	if state := unit.Stop(); state.ExitCode() != 0 {
		t.Errorf("it ended with %v", state)
	}
	if n := f.zk.members(); n != 0 {
		t.Errorf("after the stop there are %d members", n)
	}
}

// Two who have the same endpoint on one machine.
func TestRegisterTwice(t *testing.T) {
	t.Parallel()
	f := newFleet(t, gofakes3)
	s := newService(t)
	first := f.startRegister(s, "--interval", "50ms", "--drain", "0s")
	first.awaitRegistered(0)
	second := f.startRegister(s, "--interval", "50ms")
	second.awaitLine(0, fmt.Sprintf("the process %d of this machine registers it already", first.pid()))
	first.signal(syscall.SIGTERM)
	if code := first.wait(); code != 0 {
		t.Errorf("the first exited with %d", code)
	}
	second.awaitRegistered(0)
}

// Without ZooKeeper a stop doesn't hang, and says what remains.
func TestRegisterStopsWithoutZooKeeper(t *testing.T) {
	t.Parallel()
	server := devtest.ZooKeeper(t)
	f := newFleetOn(t, server.Addr(), gofakes3(t))
	s := newService(t)
	r := f.startRegister(s, "--interval", "50ms", "--drain", "0s")
	r.awaitRegistered(0)
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	r.awaitLine(0, "disconnected from ZooKeeper")
	r.signal(syscall.SIGTERM)
	if code := r.wait(); code != 4 {
		t.Errorf("it exited with %d, want 4: unavailable", code)
	}
	r.awaitLine(0, "ZooKeeper removes the member within 10s")
}

// What was run in a serverset that there isn't creates it.
func TestRegisterCreatesServerset(t *testing.T) {
	t.Parallel()
	f := newFleet(t, gofakes3)
	s := newService(t)
	if _, _, err := f.zk.conn.Get(f.zk.chroot + svcPath); !errors.Is(err, zk.ErrNoNode) {
		t.Fatalf("the serverset is there already: %v", err)
	}
	r := f.startRegister(s, "--interval", "50ms", "--check", "exec:true", "--check", "tcp")
	r.awaitLine(0, "the serverset doesn't exist, and is created")
	r.awaitRegistered(0)
	if data, _ := f.zk.get(svcPath + "/" + f.zk.member()); string(data) != s.endpoint {
		t.Errorf("the member holds %q", data)
	}
}
