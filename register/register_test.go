package register_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/kingpinfs/kingpin/internal/devcluster"
	"github.com/kingpinfs/kingpin/internal/devcluster/devtest"
	"github.com/kingpinfs/kingpin/register"
	"github.com/kingpinfs/kingpin/store"
)

var memberPattern = regexp.MustCompile(`^[0-9a-f]{12}4[0-9a-f]{3}[89ab][0-9a-f]{15}-10\.0\.0\.1:8080$`)

func TestMembership(t *testing.T) {
	addr := devtest.SharedZooKeeper(t)
	set := watchServerset(t, addr)
	check := new(switchable)
	run := start(t, quick(addr, check))
	s := run.awaitState(register.StateRegistered)
	members := set.awaitMembers(1)
	if !memberPattern.MatchString(members[0]) || s.Member != members[0] || s.Endpoint != "10.0.0.1:8080" {
		t.Errorf("the members are %q; the status is %+v", members, s)
	}
	data, stat := set.stat(members[0])
	if data != "10.0.0.1:8080" || fmt.Sprintf("0x%x", uint64(stat.EphemeralOwner)) != s.ZooKeeper.Session {
		t.Errorf("the member holds %q and belongs to %x; the session is %s", data, stat.EphemeralOwner, s.ZooKeeper.Session)
	}

	check.fails.Store(true)
	run.awaitState(register.StateUnhealthy)
	set.awaitMembers(0)
	if s := run.await("gone", func(s register.Status) bool { return !s.Registered }); !strings.Contains(s.Error, "check switch: the test says so") || s.LeftAt.IsZero() {
		t.Errorf("the status is %+v", s)
	}
	check.fails.Store(false)
	set.awaitMembers(1)
	if s := run.awaitState(register.StateRegistered); s.Registrations != 2 || s.Error != "" || !s.LeftAt.IsZero() {
		t.Errorf("the status is %+v", s)
	}

	if err := run.end(); err != nil {
		t.Error(err)
	}
	if names, _ := set.members(); len(names) > 0 {
		t.Errorf("when Run has returned there are still %q", names)
	}
	if s := run.r.Status(); s.State != register.StateStopped || s.Registered || s.LeftAt.IsZero() {
		t.Errorf("in the end the status is %+v", s)
	}
	if err := run.r.Run(t.Context()); !errors.Is(err, store.Invalid) {
		t.Errorf("Run again: %v", err)
	}
}

// Who was killed leaves a member until its session times out. The next one puts
// its own in the place of that, when it knows that the service works, and nobody
// sees it missing.
func TestEarlierRun(t *testing.T) {
	addr := devtest.SharedZooKeeper(t)
	set := watchServerset(t, addr)
	first := start(t, quick(addr, new(switchable)))
	name := first.awaitState(register.StateRegistered).Member
	if err := first.end(); err != nil {
		t.Fatal(err)
	}
	set.create(name, zk.FlagEphemeral) // as if it had been killed
	_, left := set.stat(name)

	check := new(switchable)
	check.fails.Store(true)
	second := start(t, quick(addr, check))
	second.await("checked", func(s register.Status) bool { return s.Checks[0].Failed > 0 })
	if second.r.Status().State == register.StateStarting {
		set.stat(name) // it isn't known yet whether the service works
	}
	second.awaitState(register.StateUnhealthy)
	set.awaitMembers(0)
	if err := second.end(); err != nil {
		t.Fatal(err)
	}

	set.create(name, zk.FlagEphemeral)
	_, changed := set.members()
	third := start(t, quick(addr, new(switchable)))
	third.awaitState(register.StateRegistered)
	<-changed // by the replacement
	names, _ := set.members()
	if _, now := set.stat(name); !slices.Equal(names, []string{name}) || now.EphemeralOwner == left.EphemeralOwner {
		t.Errorf("the members are %q, of session %x", names, now.EphemeralOwner)
	}
	if s := third.r.Status(); s.Registrations != 1 {
		t.Errorf("the status is %+v", s)
	}
}

// Somebody else who has registered the endpoint is left alone, and named.
func TestSomebodyElse(t *testing.T) {
	addr := devtest.SharedZooKeeper(t)
	set := watchServerset(t, addr)
	const theirs = "0123456789ab4def8123456789abcdef-10.0.0.1:8080"
	for _, flags := range []int32{zk.FlagEphemeral, 0} {
		set.create(theirs, flags)
		run := start(t, quick(addr, new(switchable)))
		s := run.await("told who", func(s register.Status) bool { return strings.Contains(s.Error, "somebody else") })
		want := fmt.Sprintf("session 0x%x, since ", uint64(set.conn.SessionID()))
		if flags == 0 {
			want = "is persistent, so nobody keeps it; delete it"
		}
		if s.State != register.StateUnregistered || !strings.Contains(s.Error, theirs) || !strings.Contains(s.Error, want) {
			t.Errorf("the status is %+v, want one with %q", s, want)
		}
		if names := set.awaitMembers(1); names[0] != theirs {
			t.Errorf("the members are %q", names)
		}
		set.remove(theirs)
		run.awaitState(register.StateRegistered)
		// Who comes later is not heeded.
		set.create(theirs, flags)
		set.awaitMembers(2)
		if err := run.end(); err != nil {
			t.Error(err)
		}
		if names := set.awaitMembers(1); names[0] != theirs {
			t.Errorf("at the end the members are %q", names)
		}
		set.remove(theirs)
	}
}

// Two machines made of one image have the same name for the same endpoint. Who
// has it taken away doesn't take it back.
func TestTakenAway(t *testing.T) {
	addr := devtest.SharedZooKeeper(t)
	set := watchServerset(t, addr)
	run := start(t, quick(addr, new(switchable)))
	name := run.awaitState(register.StateRegistered).Member
	if _, err := set.conn.Multi(&zk.DeleteRequest{Path: set.path + "/" + name, Version: -1},
		&zk.CreateRequest{Path: set.path + "/" + name, Acl: zk.WorldACL(zk.PermAll), Flags: zk.FlagEphemeral}); err != nil {
		t.Fatal(err)
	}
	s := run.awaitState(register.StateUnregistered)
	if want := fmt.Sprintf("0x%x", uint64(set.conn.SessionID())); !strings.Contains(s.Error, want) {
		t.Errorf("the status is %+v, want one with %q", s, want)
	}
	set.remove(name)
	run.awaitState(register.StateRegistered)
	// Nor does it take away what has become somebody else's.
	set.remove(name)
	run.await("registered again", func(s register.Status) bool { return s.Registered && s.Registrations == 3 })
}

func TestAnotherProcess(t *testing.T) {
	addr := devtest.SharedZooKeeper(t)
	first := start(t, quick(addr, new(switchable)))
	first.awaitState(register.StateRegistered)
	second := start(t, quick(addr, new(switchable)))
	s := second.awaitState(register.StateUnregistered)
	if !strings.Contains(s.Error, "the process ") || !strings.Contains(s.Error, "registers it already") {
		t.Errorf("the status is %+v", s)
	}
	if err := first.end(); err != nil {
		t.Fatal(err)
	}
	second.awaitState(register.StateRegistered)
}

// proxied returns a ZooKeeper and a proxy before it.
func proxied(t *testing.T) (addr string, proxy *devcluster.Proxy) {
	t.Helper()
	addr = devtest.SharedZooKeeper(t)
	server, _, _ := strings.Cut(addr, "/")
	proxy, err := devcluster.StartProxy(server)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.Close)
	return addr, proxy
}

// behind is an address as it is through a proxy.
func behind(proxy *devcluster.Proxy, addr string) string {
	_, chroot, _ := strings.Cut(addr, "/")
	return proxy.Addr() + "/" + chroot
}

// A connection that is lost for less than the session's time changes nothing.
func TestShortLoss(t *testing.T) {
	addr, proxy := proxied(t)
	set := watchServerset(t, addr)
	cfg := quick(behind(proxy, addr), new(switchable))
	cfg.SessionTimeout = time.Minute
	run := start(t, cfg)
	before := run.awaitState(register.StateRegistered)
	_, joined := set.stat(before.Member)
	proxy.Cut()
	if s := run.await("disconnected", func(s register.Status) bool { return !s.ZooKeeper.Connected }); !s.Registered {
		t.Errorf("after a short loss the status is %+v", s)
	}
	if err := proxy.Restore(); err != nil {
		t.Fatal(err)
	}
	after := run.await("reconnected", func(s register.Status) bool { return s.ZooKeeper.Connected })
	if _, now := set.stat(before.Member); *now != *joined || after.Registrations != 1 {
		t.Errorf("the member was %+v, and is %+v; the status is %+v", joined, now, after)
	}
}

func TestSessionExpiry(t *testing.T) {
	addr, proxy := proxied(t)
	set := watchServerset(t, addr)
	run := start(t, quick(behind(proxy, addr), new(switchable)))
	before := run.awaitState(register.StateRegistered)
	proxy.Stall()
	set.awaitMembers(0)
	if err := proxy.Restore(); err != nil {
		t.Fatal(err)
	}
	set.awaitMembers(1)
	after := run.await("registered anew", func(s register.Status) bool {
		return s.Registered && s.ZooKeeper.Session != before.ZooKeeper.Session
	})
	if after.Member != before.Member {
		t.Errorf("the member was %s, now %s", before.Member, after.Member)
	}
}

func TestZooKeeperRestart(t *testing.T) {
	server := devtest.ZooKeeper(t)
	check := new(switchable)
	cfg := quick(server.Addr(), check)
	run := start(t, cfg)
	run.awaitState(register.StateRegistered)
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	check.fails.Store(true) // what can't be told now is told later
	run.await("unhealthy", func(s register.Status) bool {
		return s.Health == register.Unhealthy && strings.Contains(s.Error, "no connection to ZooKeeper")
	})
	if err := server.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	watchServerset(t, server.Addr()).awaitMembers(0)
	check.fails.Store(false)
	run.awaitState(register.StateRegistered)

	// Without ZooKeeper the end doesn't come for ever, and says what remains.
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	run.await("disconnected", func(s register.Status) bool { return !s.ZooKeeper.Connected })
	if err := run.end(); !errors.Is(err, store.Unavailable) || !strings.Contains(err.Error(), "within 1s") {
		t.Errorf("the end without ZooKeeper: %v", err)
	}
}

// A start without ZooKeeper waits for it.
func TestStartWithoutZooKeeper(t *testing.T) {
	server := devtest.ZooKeeper(t)
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	cfg := quick(server.Addr(), new(switchable))
	cfg.Host = "" // found when ZooKeeper has been reached: all of it is on this machine
	run := start(t, cfg)
	if err := server.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s := run.awaitState(register.StateRegistered); s.Endpoint != "127.0.0.1:8080" {
		t.Errorf("the status is %+v", s)
	}
}

func TestInvalid(t *testing.T) {
	good := quick("127.0.0.1:1", new(switchable))
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // what isn't refused ends at once
	for name, spoil := range map[string]func(*register.Config){
		"service":     func(c *register.Config) { c.Service = "a/b" },
		"environment": func(c *register.Config) { c.Environment = "" },
		"port 0":      func(c *register.Config) { c.Port = 0 },
		"port 65536":  func(c *register.Config) { c.Port = 65536 },
		"host":        func(c *register.Config) { c.Host = "a b" },
		"interval":    func(c *register.Config) { c.Interval = -1 },
		"checks":      func(c *register.Config) { c.Checks = append(c.Checks, register.TCP(""), new(switchable)) },
		"rise":        func(c *register.Config) { c.Rise = -1 },
		"ZooKeeper":   func(c *register.Config) { c.ZooKeeper = "" },
		"servers":     func(c *register.Config) { c.ZooKeeper = "a:b" },
	} {
		cfg := good
		spoil(&cfg)
		if err := register.New(cfg).Run(ctx); !errors.Is(err, store.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := register.New(good).Run(ctx); err != nil {
		t.Errorf("called off before it began: %v", err)
	}
}

func TestHandler(t *testing.T) {
	addr := devtest.SharedZooKeeper(t)
	check := new(switchable)
	cfg := quick(addr, check)
	check.fails.Store(true)
	idle := register.New(cfg)
	if code, body := ask(t, idle.Handler(), "/admin/healthcheck"); code != 204 || body != "" {
		t.Errorf("before it runs: %d %q", code, body)
	}
	run := start(t, cfg)
	run.awaitState(register.StateUnhealthy)
	handler := run.r.Handler()
	for path, want := range map[string]string{
		"/admin/ping":        "Ping!\n",
		"/admin/healthcheck": `{"status":500}` + "\n",
	} {
		if _, body := ask(t, handler, path); body != want {
			t.Errorf("GET %s: %q, want %q", path, body, want)
		}
	}
	check.fails.Store(false)
	run.awaitState(register.StateRegistered)
	if code, body := ask(t, handler, "/admin/healthcheck"); code != 200 || body != `{"status":200}`+"\n" {
		t.Errorf("registered: %d %q", code, body)
	}
	_, body := ask(t, handler, "/admin/status")
	var s register.Status
	if err := json.Unmarshal([]byte(body), &s); err != nil || s.State != register.StateRegistered || s.Checks[0].Failed == 0 {
		t.Errorf("the status is %s, %v", body, err)
	}
	_, body = ask(t, handler, "/metrics")
	for _, line := range []string{
		`kingpin_register_registered{environment="prod",service="search"} 1`,
		`kingpin_register_healthy{environment="prod",service="search"} 1`,
		`kingpin_zookeeper_connected 1`,
		`kingpin_register_registrations_total 1`,
		`kingpin_register_check_duration_seconds_count{check="switch"} `,
		`kingpin_register_check_failures_total{check="switch"} `,
	} {
		if !strings.Contains(body, line) {
			t.Errorf("no line %q in\n%s", line, body)
		}
	}
}

func ask(t *testing.T, handler http.Handler, path string) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w.Code, w.Body.String()
}
