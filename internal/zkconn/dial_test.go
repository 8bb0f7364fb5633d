package zkconn

import (
	"context"
	"errors"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// fakeDialer returns a dialer that waits for nothing and knows its own names.
func fakeDialer(t *testing.T, servers ...string) (d *dialer, cancel context.CancelFunc) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	cfg := Config{Servers: servers}
	cfg.setDefaults()
	d = newDialer(ctx, &cfg, func() bool { return false }, func(error) {})
	d.lookup = func(_ context.Context, host string) ([]string, error) {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	return d, cancel
}

// round returns what Next says until the next round begins.
func round(t *testing.T, d *dialer, n int, wantRetry bool) []string {
	t.Helper()
	var servers []string
	for i := range n {
		server, retry := d.Next()
		if retry != (wantRetry && i == 0) {
			t.Fatalf("server %d of the round: retryStart is %v", i, retry)
		}
		servers = append(servers, server)
	}
	return servers
}

func TestRounds(t *testing.T) {
	all := []string{"a:1", "b:1", "c:1", "d:1"}
	d, cancel := fakeDialer(t, all...)
	firsts := map[string]bool{}
	for i := range 100 {
		servers := round(t, d, len(all), i > 0)
		firsts[servers[0]] = true
		slices.Sort(servers)
		if !slices.Equal(servers, all) {
			t.Fatalf("a round visits %q", servers)
		}
		if limit := 2 * time.Second; d.delay < 0 || d.delay >= limit {
			t.Fatalf("a delay of %v", d.delay)
		}
	}
	if len(firsts) != len(all) {
		t.Errorf("100 rounds begin with %v only", firsts)
	}

	// After a connection is lost all others come first, and at once.
	for range 100 {
		lost, _ := d.Next()
		d.Connected()
		if servers := round(t, d, len(all), false); servers[len(all)-1] != lost {
			t.Fatalf("after %s was lost the servers are tried in the order %q", lost, servers)
		}
		d.Connected()
	}

	// The library notices Close at retryStart alone.
	cancel()
	if _, retry := d.Next(); !retry {
		t.Error("closing isn't passed on")
	}
}

// Boxes that lose a server at one moment come back at different ones.
func TestReconnectJitter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := fakeDialer(t, "name:1")
		d.cfg.SessionTimeout = 4 * time.Second
		waits := func(before func()) (least, most time.Duration) {
			least = time.Hour
			for range 200 {
				before()
				server, _ := d.Next()
				began := time.Now()
				_, err := d.dial("tcp", server, 0)
				var dns *net.DNSError
				if !errors.As(err, &dns) {
					t.Fatalf("got %v", err)
				}
				least, most = min(least, time.Since(began)), max(most, time.Since(began))
			}
			return least, most
		}
		_, _ = d.Next() // the very first attempt
		if d.delay != 0 {
			t.Errorf("the first attempt waits for %v", d.delay)
		}
		// A tenth of the session at most, so that it survives.
		if least, most := waits(d.Connected); least > 100*time.Millisecond || most < 300*time.Millisecond || most > 400*time.Millisecond {
			t.Errorf("reconnecting waits between %v and %v", least, most)
		}
		if least, most := waits(func() {}); least > 200*time.Millisecond || most < 600*time.Millisecond || most > 800*time.Millisecond {
			t.Errorf("a new round waits between %v and %v", least, most)
		}
	})
}

func TestNamesAreResolvedAtEachConnect(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	d, _ := fakeDialer(t, "zk:"+port)
	var addresses []string
	d.lookup = func(_ context.Context, host string) ([]string, error) {
		if host != "zk" {
			t.Errorf("looked up %q", host)
		}
		return slices.Clone(addresses), nil
	}
	dial := func() error {
		server, _ := d.Next()
		conn, err := d.dial("tcp", server, 0)
		if err == nil {
			_ = conn.Close()
		}
		return err
	}
	d.sleep = func(context.Context, time.Duration) {}
	addresses = []string{"127.0.0.2"} // nobody listens there
	if err := dial(); err == nil {
		t.Fatal("connected to nobody")
	}
	addresses = []string{"127.0.0.3", "127.0.0.1", "127.0.0.2"}
	if err := dial(); err != nil {
		t.Fatal(err)
	}
	if want := "zk:" + port + " (127.0.0.1:" + port + ")"; d.current() != want {
		t.Errorf("connected to %q, want %q", d.current(), want)
	}
}
