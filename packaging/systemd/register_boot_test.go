//go:build systemdboot

package systemd

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
)

// site is a box on which services are registered.
type site struct {
	*box
	serverset string
}

// newSite boots a machine whose monitor follows a serverset without members.
func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{box: newBox(t)}
	s.serverset = strings.TrimSpace(s.kingpin("", "metaconfig", "create-serverset", "web", "prod"))
	s.kingpin("", "dependency", "add", "box.dep", s.serverset)
	s.run("systemctl", "start", unit)
	return s
}

// describe writes what the unit of a registration reads, and returns the unit's
// name.
func (s *site) describe(instance, args string) string {
	s.t.Helper()
	s.write("/etc/kingpin/register/"+instance+".env",
		fmt.Sprintf("KINGPIN_REGISTER_ARGS=-s web -e prod %s\nKINGPIN_ZK=%s\n", args, s.zookeeper.Addr()))
	return "kingpin-register@" + instance + ".service"
}

// members are those of the serverset, as the fleet has them.
func (s *site) members() []string {
	s.t.Helper()
	var shown struct {
		Members []struct{ Endpoint string }
	}
	if err := json.Unmarshal([]byte(s.kingpin("", "serverset", "show", s.serverset, "--output", "json")), &shown); err != nil {
		s.t.Fatal(err)
	}
	var endpoints []string
	for _, m := range shown.Members {
		endpoints = append(endpoints, m.Endpoint)
	}
	slices.Sort(endpoints)
	return endpoints
}

func (s *site) awaitMembers(want ...string) {
	s.t.Helper()
	slices.Sort(want)
	s.await(fmt.Sprintf("the members %q", want), func() bool { return slices.Equal(s.members(), want) })
}

// accept is a service that accepts connections, and does nothing else, until it is
// closed.
func accept(t *testing.T, addr string) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() { _ = listener.Close() })
	return listener
}

// port is the flags that say where a service is.
func port(addr string) string {
	host, port, _ := strings.Cut(addr, ":")
	return "--host " + host + " -p " + port
}

func TestRegistration(t *testing.T) {
	s := newSite(t)
	web, other := accept(t, "127.0.0.1:0"), accept(t, "127.0.0.1:0")
	webAddr, otherAddr := web.Addr().String(), other.Addr().String()
	const healthy = "/etc/kingpin/healthy"
	s.write(healthy, "")
	webUnit := s.describe("web", port(webAddr)+" --check tcp --interval 200ms")
	otherUnit := s.describe("other", port(otherAddr)+` --interval 200ms --check "exec:/usr/bin/test -e `+healthy+`" --drain 100ms`)

	// They are ready when they have registered.
	s.run("systemctl", "start", webUnit, otherUnit)
	if members := s.members(); len(members) != 2 {
		t.Errorf("when both have been started the members are %q", members)
	}
	s.await("both in the file", func() bool {
		content, err := os.ReadFile(s.path("/var/serverset/" + s.serverset))
		return err == nil && strings.Contains(string(content), webAddr+"\n") && strings.Contains(string(content), otherAddr+"\n")
	})
	s.mustBeConfined(webUnit)

	_ = web.Close()
	s.awaitMembers(otherAddr)
	if state := s.showOf(webUnit, "ActiveState"); state != "active" {
		t.Errorf("while its service doesn't work the unit is %q", state)
	}
	accept(t, webAddr)
	s.awaitMembers(webAddr, otherAddr)
	if err := os.Remove(s.path(healthy)); err != nil {
		t.Fatal(err)
	}
	s.awaitMembers(webAddr)
	s.write(healthy, "")
	s.awaitMembers(webAddr, otherAddr)

	before := s.showOf(webUnit, "MainPID")
	s.run("systemctl", "kill", "--signal=KILL", webUnit)
	s.await("the next process", func() bool {
		pid := s.showOf(webUnit, "MainPID")
		return pid != before && pid != "0" && s.showOf(webUnit, "ActiveState") == "active"
	})
	s.awaitMembers(webAddr, otherAddr)

	s.run("systemctl", "stop", otherUnit)
	if members := s.members(); !slices.Equal(members, []string{webAddr}) {
		t.Errorf("after the stop of the other the members are %q", members)
	}
	for _, property := range []string{"Result=success", "ActiveState=inactive"} {
		name, want, _ := strings.Cut(property, "=")
		if got := s.showOf(otherUnit, name); got != want {
			t.Errorf("after a stop its %s is %q", name, got)
		}
	}
}

// Of two registrations of one endpoint on a machine the second waits, and takes
// over when the first ends.
func TestRegistrationOfTheSameEndpoint(t *testing.T) {
	s := newSite(t)
	addr := accept(t, "127.0.0.1:0").Addr().String()
	args := port(addr) + " --interval 200ms --drain 100ms"
	first, second := s.describe("first", args), s.describe("second", args)
	s.run("systemctl", "start", first)
	s.run("systemctl", "start", "--no-block", second)
	pid := s.showOf(first, "MainPID")
	s.await("the second to say whom it waits for", func() bool {
		return strings.Contains(s.showOf(second, "StatusText"), pid)
	})
	if state := s.showOf(second, "ActiveState"); state != "activating" {
		t.Errorf("the second is %q", state)
	}
	s.run("systemctl", "stop", first)
	s.await("the second to be ready", func() bool { return s.showOf(second, "ActiveState") == "active" })
	s.awaitMembers(addr)
}

// mustBeConfined fails the test unless a unit's process has a user of its own and
// no rights.
func (s *site) mustBeConfined(other string) {
	s.t.Helper()
	status := s.run("cat", "/proc/"+s.showOf(other, "MainPID")+"/status")
	for _, line := range []string{"CapBnd:\t0000000000000000", "CapEff:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"} {
		if !strings.Contains(status, line) {
			s.t.Errorf("%s lacks %q:\n%s", other, line, status)
		}
	}
	if strings.Contains(status, "Uid:\t0\t") {
		s.t.Errorf("%s runs as root", other)
	}
	if log := s.run("journalctl", "--no-pager", "--unit="+other); strings.Contains(log, "not permitted") {
		s.t.Errorf("something was refused:\n%s", log)
	}
}
