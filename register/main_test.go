package register_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/kingpinfs/kingpin/internal/devcluster/devtest"
	"github.com/kingpinfs/kingpin/register"
)

func TestMain(m *testing.M) { devtest.Main(m) }

// patience is how long the tests wait for what should come soon.
const patience = time.Minute

// switchable is a check that says what the test wants.
type switchable struct{ fails atomic.Bool }

func (s *switchable) String() string { return "switch" }

func (s *switchable) Check(context.Context, string) error {
	if s.fails.Load() {
		return fmt.Errorf("the test says so")
	}
	return nil
}

// running is a registration that runs.
type running struct {
	t    *testing.T
	r    *register.Registration
	stop context.CancelFunc
	done chan error

	mu      sync.Mutex // guards the rest
	history []register.Status
	changed chan struct{} // closed, and replaced, when there is more
}

// quick returns a configuration whose checks are made often.
func quick(addr string, check register.Check) register.Config {
	return register.Config{
		Service: "search", Environment: "prod", Host: "10.0.0.1", Port: 8080, Checks: []register.Check{check},
		ZooKeeper: addr, Interval: 10 * time.Millisecond, Timeout: 10 * time.Second, SessionTimeout: time.Second,
	}
}

// start runs a registration, which is stopped when the test ends.
func start(t *testing.T, cfg register.Config) *running {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	run := &running{t: t, stop: stop, done: make(chan error, 1), changed: make(chan struct{})}
	cfg.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	cfg.Changed = run.note
	run.r = register.New(cfg)
	go func() { run.done <- run.r.Run(ctx) }()
	t.Cleanup(func() { _ = run.end() }) // what it returns is a test's business
	return run
}

func (run *running) note(s register.Status) {
	run.mu.Lock()
	defer run.mu.Unlock()
	run.history = append(run.history, s)
	close(run.changed)
	run.changed = make(chan struct{})
}

// end stops the registration and returns what Run returned.
func (run *running) end() error {
	run.stop()
	err := <-run.done
	run.done <- err
	return err
}

// await waits for a status.
func (run *running) await(what string, is func(register.Status) bool) register.Status {
	run.t.Helper()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	poll := time.NewTicker(5 * time.Millisecond) // of the connection no changes are told
	defer poll.Stop()
	for {
		run.mu.Lock()
		changed := run.changed
		run.mu.Unlock()
		if s := run.r.Status(); is(s) {
			return s
		}
		select {
		case <-changed:
		case <-poll.C:
		case err := <-run.done:
			run.done <- err
			run.t.Fatalf("it ended with %v before it was %s", err, what)
		case <-timeout.C:
			run.t.Fatalf("it never was %s: %+v", what, run.r.Status())
		}
	}
}

func (run *running) awaitState(state register.State) register.Status {
	run.t.Helper()
	return run.await(string(state), func(s register.Status) bool { return s.State == state })
}

// serverset is what ZooKeeper has of the serverset that the tests register in,
// by the plain client.
type serverset struct {
	t    *testing.T
	conn *zk.Conn
	path string
}

func watchServerset(t *testing.T, addr string) serverset {
	t.Helper()
	conn, chroot := devtest.RawZooKeeper(t, addr)
	return serverset{t, conn, chroot + "/discovery/search/prod"}
}

// members returns the members, sorted, and what is sent to when they change.
func (s serverset) members() ([]string, <-chan zk.Event) {
	s.t.Helper()
	names, _, events, err := s.conn.ChildrenW(s.path)
	if errors.Is(err, zk.ErrNoNode) {
		_, _, events, err = s.conn.ExistsW(s.path)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return names, events
}

// awaitMembers waits until the members are so many.
func (s serverset) awaitMembers(n int) []string {
	s.t.Helper()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for {
		names, events := s.members()
		if len(names) == n {
			return names
		}
		select {
		case <-events:
		case <-timeout.C:
			s.t.Fatalf("the members are %q, want %d of them", names, n)
		}
	}
}

// stat returns how a member stands.
func (s serverset) stat(member string) (data string, stat *zk.Stat) {
	s.t.Helper()
	content, stat, err := s.conn.Get(s.path + "/" + member)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(content), stat
}

// create makes an ephemeral znode of the test's own session, or, with flags 0, a
// persistent one.
func (s serverset) create(member string, flags int32) {
	s.t.Helper()
	base := strings.TrimSuffix(s.path, "/discovery/search/prod")
	for _, path := range []string{"/discovery", "/discovery/search", "/discovery/search/prod"} {
		if _, err := s.conn.Create(base+path, nil, 0, zk.WorldACL(zk.PermAll)); err != nil && !errors.Is(err, zk.ErrNodeExists) {
			s.t.Fatal(err)
		}
	}
	if _, err := s.conn.Create(s.path+"/"+member, []byte("10.0.0.1:8080"), flags, zk.WorldACL(zk.PermAll)); err != nil {
		s.t.Fatal(err)
	}
}

func (s serverset) remove(member string) {
	s.t.Helper()
	if err := s.conn.Delete(s.path+"/"+member, -1); err != nil {
		s.t.Fatal(err)
	}
}

// listen listens on a free port of this machine and returns its address. serve is
// called with each connection.
func listen(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var tasks sync.WaitGroup
	tasks.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			tasks.Go(func() { defer conn.Close(); serve(conn) })
		}
	})
	t.Cleanup(func() { listener.Close(); tasks.Wait() })
	return listener.Addr().String()
}
