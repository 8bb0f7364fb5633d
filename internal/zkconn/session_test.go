package zkconn_test

import (
	"context"
	"errors"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kingpinfs/kingpin/internal/devcluster"
	"github.com/kingpinfs/kingpin/internal/devcluster/devtest"
	"github.com/kingpinfs/kingpin/internal/zkconn"
	"github.com/kingpinfs/kingpin/store"
)

func TestSessionExpiry(t *testing.T) {
	server := devtest.ZooKeeper(t)
	writer, ctx := open(t, config(t, server.Addr())), within(t)
	cfg := config(t, server.Addr())
	proxy := proxied(t, server.Addr())
	cfg.Servers = []string{proxy.Addr()}
	cfg.SessionTimeout = time.Second
	c, r := openObserved(t, cfg)

	must(t, writer.Create(ctx, "/x", nil))
	must(t, c.CreateEphemeral(ctx, "/ephemeral", nil))
	for range 3 { // several watches are one loss
		_, _, err := c.GetWatched(ctx, "/x")
		must(t, err)
		_, _, err = c.ChildrenWatched(ctx, "/x")
		must(t, err)
		_, _, err = c.GetWatched(ctx, "/missing")
		wantKind(t, err, store.NotFound)
	}
	before := c.Status().Session

	proxy.Stall()
	awaitMissing(t, writer, "/ephemeral")
	restore(t, proxy)
	r.awaitSessions(t, "new disconnected expired new")
	if after := c.Status(); after.Session == before || !strings.HasPrefix(after.Session, "0x") || after.Watches != 0 {
		t.Errorf("the session was %s; now %+v", before, after)
	}
	if changed := r.reported(); len(changed) != 0 {
		t.Errorf("changes were reported: %q", changed)
	}

	// Watches of the new session work.
	_, _, err := c.GetWatched(ctx, "/x")
	must(t, err)
	_, err = writer.Set(ctx, "/x", []byte("y"), store.AnyVersion)
	must(t, err)
	r.awaitChange(t, "/x", 1)
}

// awaitMissing waits until a znode is gone.
func awaitMissing(t *testing.T, c *zkconn.Conn, path string) {
	t.Helper()
	r := within(t)
	for {
		_, _, err := c.Get(r, path)
		if store.KindOf(err) == store.NotFound {
			return
		}
		must(t, err)
		must(t, c.Sync(r, path))
	}
}

func TestServerRestart(t *testing.T) {
	server := devtest.ZooKeeper(t)
	ctx := within(t)
	c, r := openObserved(t, config(t, server.Addr()))
	must(t, c.Create(ctx, "/x", nil))
	_, _, err := c.GetWatched(ctx, "/x")
	must(t, err)

	must(t, server.Kill())
	r.awaitSessions(t, "new disconnected")
	if s := c.Status(); s.Connected || s.LastError == "" || s.Session == "" {
		t.Errorf("while the server is down: %+v", s)
	}
	// A call made meanwhile waits.
	read := make(chan error)
	go func() {
		_, _, err := c.Get(ctx, "/x")
		read <- err
	}()
	must(t, server.Restart(ctx))
	must(t, <-read)
	r.awaitSessions(t, "new disconnected same")
	_, err = c.Set(ctx, "/x", []byte("y"), store.AnyVersion)
	must(t, err)
	r.awaitChange(t, "/x", 1)
	if s := c.Status(); !s.Connected || s.LastError != "" || s.Server != server.Addr() {
		t.Errorf("after the restart: %+v", s)
	}
}

// The session goes on with the servers that are left.
func TestEnsembleMemberLost(t *testing.T) {
	ensemble := devtest.Ensemble(t, 3)
	ctx := within(t)
	c, r := openObserved(t, config(t, ensemble.Addr()))
	must(t, c.CreateEphemeral(ctx, "/x", nil))
	_, _, err := c.GetWatched(ctx, "/x")
	must(t, err)
	session := c.Status().Session
	for _, member := range ensemble.Members() {
		if member.Addr() == c.Status().Server {
			must(t, member.Kill())
		}
	}
	r.awaitSessions(t, "new disconnected same")
	if now := c.Status().Session; now != session {
		t.Fatalf("the session was %s and is %s", session, now)
	}
	_, err = c.Set(ctx, "/x", []byte("y"), store.AnyVersion)
	for store.KindOf(err) == store.Unavailable { // the killed one may have led
		_, err = c.Set(ctx, "/x", []byte("y"), store.AnyVersion)
	}
	must(t, err)
	r.awaitChange(t, "/x", 1)
}

// A server that accepts connections and says nothing is given up for another.
func TestSilentServer(t *testing.T) {
	addr := devtest.SharedZooKeeper(t)
	cfg := config(t, addr)
	silent := proxied(t, cfg.Servers[0])
	silent.Stall()
	cfg.Servers = append(cfg.Servers, silent.Addr())
	cfg.ConnectTimeout = 200 * time.Millisecond
	cfg.SessionTimeout = time.Second
	for range 5 { // each starts with either
		c := open(t, cfg)
		must(t, c.WaitConnected(within(t)))
		c.Close()
	}
}

func TestCallsEndWithTheirContext(t *testing.T) {
	proxy := proxied(t, sharedServer(t))
	proxy.Cut()
	cfg := config(t, proxy.Addr())
	c := open(t, cfg)
	calls := map[string]func(context.Context) error{
		"Get":             func(ctx context.Context) error { _, _, err := c.Get(ctx, "/x"); return err },
		"GetWatched":      func(ctx context.Context) error { _, _, err := c.GetWatched(ctx, "/x"); return err },
		"Children":        func(ctx context.Context) error { _, _, err := c.Children(ctx, "/x"); return err },
		"ChildrenWatched": func(ctx context.Context) error { _, _, err := c.ChildrenWatched(ctx, "/x"); return err },
		"Create":          func(ctx context.Context) error { return c.Create(ctx, "/x", nil) },
		"CreateEphemeral": func(ctx context.Context) error { return c.CreateEphemeral(ctx, "/x", nil) },
		"Set":             func(ctx context.Context) error { _, err := c.Set(ctx, "/x", nil, 0); return err },
		"Delete":          func(ctx context.Context) error { return c.Delete(ctx, "/x", 0) },
		"Sync":            func(ctx context.Context) error { return c.Sync(ctx, "/x") },
		"Lock":            func(ctx context.Context) error { _, err := c.Lock(ctx, "/x"); return err },
		"WaitConnected":   c.WaitConnected,
	}
	for name, call := range calls {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			err := call(ctx)
			wantKind(t, err, store.Unavailable)
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("the context's error isn't visible: %v", err)
			}

			cause := errors.New("the user went away")
			cancelled, stop := context.WithCancelCause(t.Context())
			stop(cause)
			err = call(cancelled)
			wantKind(t, err, store.Unavailable)
			if !errors.Is(err, context.Canceled) || !errors.Is(err, cause) {
				t.Errorf("the context's error and cause aren't visible: %v", err)
			}
		})
	}
}

// Calls that are given up while the server hangs don't pile up, and harm
// nobody when they are answered after all.
func TestAbandonedCalls(t *testing.T) {
	server := devtest.ZooKeeper(t)
	c, ctx := open(t, config(t, server.Addr())), within(t)
	must(t, c.Create(ctx, "/x", []byte("data")))
	must(t, server.Pause())
	var wg sync.WaitGroup
	for i := range 1000 {
		wg.Go(func() {
			short, cancel := context.WithTimeout(ctx, time.Duration(i%20)*time.Millisecond)
			defer cancel()
			var err error
			switch i % 3 {
			case 0:
				_, _, err = c.GetWatched(short, "/x")
			case 1:
				_, _, err = c.Children(short, "/x")
			case 2:
				err = c.Sync(short, "/x")
			}
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	must(t, server.Resume())
	wantData(t, c, "/x", "data")
}

func TestCloseWhileCallsHang(t *testing.T) {
	for name, hurt := range map[string]func(*devcluster.Proxy){
		"stalled":      (*devcluster.Proxy).Stall,
		"disconnected": (*devcluster.Proxy).Cut,
	} {
		t.Run(name, func(t *testing.T) {
			addr := devtest.SharedZooKeeper(t)
			cfg := config(t, addr)
			proxy := proxied(t, cfg.Servers[0])
			cfg.Servers = []string{proxy.Addr()}
			c, r := openObserved(t, cfg)
			must(t, c.Create(within(t), "/x", nil))
			unlock, err := c.Lock(within(t), "/lock")
			must(t, err)
			hurt(proxy)
			if name == "disconnected" {
				r.awaitSessions(t, "new disconnected")
			}
			var wg sync.WaitGroup
			var failed atomic.Int32
			for range 50 {
				wg.Go(func() {
					_, _, err := c.Get(context.Background(), "/x")
					wantClosed(t, err)
					failed.Add(1)
				})
				wg.Go(func() {
					_, err := c.Lock(context.Background(), "/lock")
					wantClosed(t, err)
					failed.Add(1)
				})
			}
			c.Close()
			wg.Wait()
			if failed.Load() != 100 {
				t.Errorf("%d calls failed", failed.Load())
			}
			unlock() // must not hang
			c.Close()
			wantClosed(t, c.Create(t.Context(), "/y", nil))
			if err := c.Open(); store.KindOf(err) != store.Invalid {
				t.Errorf("opening a closed client: %v", err)
			}
			if s := c.Status(); s.Connected {
				t.Errorf("closed, and %+v", s)
			}
		})
	}
}

func wantClosed(t *testing.T, err error) {
	t.Helper()
	if store.KindOf(err) != store.Unavailable || !strings.Contains(err.Error(), "client is closed") {
		t.Errorf("got %v", err)
	}
}

func TestCloseAtAnyTime(t *testing.T) {
	addr := devtest.SharedZooKeeper(t)
	for i := range 20 {
		c := open(t, config(t, addr))
		if i%2 == 0 {
			must(t, c.WaitConnected(within(t)))
		}
		c.Close()
	}
	zkconn.New(config(t, addr)).Close() // never opened
}

func TestWaitConnectedSaysWhyNot(t *testing.T) {
	refusing, err := devcluster.FreePort()
	must(t, err)
	refused := net.JoinHostPort("127.0.0.1", strconv.Itoa(refusing))
	mute := listen(t) // accepts, then hangs up
	tests := map[string]struct {
		servers []string
		want    []string
	}{
		"refused":       {[]string{refused}, []string{refused, "connection refused"}},
		"no such name":  {[]string{"no-such-host.invalid:2181"}, []string{"no-such-host.invalid"}},
		"not ZooKeeper": {[]string{mute}, []string{mute, "gave no session"}},
		"all are tried": {[]string{refused, "no-such-host.invalid:2181"}, []string{refused, "no-such-host.invalid:2181"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			cfg := config(t, refused)
			cfg.Servers = test.servers
			c := open(t, cfg)
			awaitFailure(t, c, test.want...)
		})
	}
}

// listen returns the address of a server that hangs up on everybody.
func listen(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_ = conn.Close()
		}
	})
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	return l.Addr().String()
}

func TestNames(t *testing.T) {
	server := sharedServer(t)
	_, port, err := net.SplitHostPort(server)
	must(t, err)
	cfg := config(t, "no-such-host.invalid:1,localhost:"+port+",256.256.256.256")
	c := open(t, cfg)
	must(t, c.WaitConnected(within(t)))
	if s := c.Status().Server; !strings.HasPrefix(s, "localhost:"+port) {
		t.Errorf("connected to %q", s)
	}
}

func TestNotOpen(t *testing.T) {
	c := zkconn.New(zkconn.Config{Servers: []string{"127.0.0.1:1"}})
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	_, _, err := c.Get(ctx, "/x")
	wantKind(t, err, store.Unavailable)
	if !strings.Contains(err.Error(), "not open") {
		t.Errorf("got %v", err)
	}
	c.Close()
	wantKind(t, c.Open(), store.Invalid)

	for name, cfg := range map[string]zkconn.Config{
		"no servers": {},
		"bad server": {Servers: []string{"a b:1"}},
		"bad chroot": {Servers: []string{"a:1"}, Chroot: "fleet"},
	} {
		c := zkconn.New(cfg)
		if err := c.Open(); store.KindOf(err) != store.Invalid {
			t.Errorf("%s: %v", name, err)
		}
		c.Close()
	}
}

// sharedServer returns the shared server's address, without a chroot.
func sharedServer(t *testing.T) string {
	t.Helper()
	server, _, _ := strings.Cut(devtest.SharedZooKeeper(t), "/")
	return server
}
