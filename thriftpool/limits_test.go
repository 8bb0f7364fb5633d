package thriftpool_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/kingpinfs/kingpin/serverset"
	"github.com/kingpinfs/kingpin/thriftpool"
)

// TestManyGoroutines has ten thousand callers share ten connections.
func TestManyGoroutines(t *testing.T) {
	const callers, conns = 10_000, 10
	h := newHandler()
	s := serve(t, h, serverOptions{})
	pool := open(t, hostsOf(s.endpoint()), thriftpool.Options{MaxConns: conns, Timeout: thriftpool.Never})
	ctx := within(t)
	var running sync.WaitGroup
	for i := range callers {
		running.Go(func() {
			id := fmt.Sprint(i)
			if n, err := client(pool).Count(ctx, id); err != nil || n != 1 {
				t.Errorf("Count(%q) returned %d, %v", id, n, err)
			}
		})
	}
	running.Wait()
	if n := h.calls.Load(); n != callers {
		t.Errorf("the server had %d calls", n)
	}
	if n := s.accepted.Load(); n > conns {
		t.Errorf("there were %d connections", n)
	}
}

// TestLimits has many callers begin at once, while hosts come and go: at no time
// may there be more connections than allowed, to a host or to all.
func TestLimits(t *testing.T) {
	const all, each = 7, 3
	h := newHandler()
	var endpoints []string
	for range 4 {
		endpoints = append(endpoints, serve(t, h, serverOptions{}).endpoint())
	}
	provider := hostsOf(endpoints...)
	dial, most := counting()
	pool := open(t, provider, thriftpool.Options{MaxConns: all, MaxConnsPerHost: each, MaxCalls: 20, Dial: dial})
	ctx := within(t)
	var running sync.WaitGroup
	var calls atomic.Int64
	for range 50 {
		running.Go(func() {
			for range 20 {
				if _, err := client(pool).Echo(ctx, "hello"); err != nil {
					t.Error(err)
				}
				if calls.Add(1)%50 == 0 {
					n := calls.Load() / 50 % 4
					provider.set(endpoints[n : n+1+(4-n-1)/2]...)
				}
			}
		})
	}
	running.Wait()
	total, perHost := most()
	if total > all {
		t.Errorf("there were %d connections", total)
	}
	for host, n := range perHost {
		if n > each {
			t.Errorf("host %q had %d connections", host, n)
		}
	}
}

// TestEvenSpread calls several hosts from many goroutines, with connections in
// plenty: each gets its part. TestNewHost sees to scarce ones.
func TestEvenSpread(t *testing.T) {
	const hosts, callers, each = 4, 40, 20
	var endpoints []string
	handlers := make([]*handler, hosts)
	for i := range handlers {
		handlers[i] = newHandler()
		endpoints = append(endpoints, serve(t, handlers[i], serverOptions{}).endpoint())
	}
	pool := open(t, hostsOf(endpoints...), thriftpool.Options{MaxConnsPerHost: callers, Selector: serverset.RoundRobin()})
	ctx := within(t)
	var running sync.WaitGroup
	for range callers {
		running.Go(func() {
			for range each {
				if _, err := client(pool).Echo(ctx, "hello"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	running.Wait()
	for i, h := range handlers {
		if n := h.calls.Load(); n != callers*each/hosts {
			t.Errorf("host %d had %d calls", i, n)
		}
	}
}

// TestNewHost has a pool whose connections are all in use when a second host
// joins. It must get its part of them.
func TestNewHost(t *testing.T) {
	a, b := serve(t, newHandler(), serverOptions{}), serve(t, newHandler(), serverOptions{})
	provider := hostsOf(a.endpoint())
	pool := open(t, provider, thriftpool.Options{MaxConns: 6})
	ctx, cancel := context.WithCancel(within(t))
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	for range 20 {
		running.Go(func() {
			for ctx.Err() == nil {
				if _, err := client(pool).Echo(ctx, "hello"); err != nil && !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
			}
		})
	}
	eventually(t, "the first host has all connections", func() bool { return pool.Stats().Hosts[a.endpoint()] == 6 })
	provider.set(a.endpoint(), b.endpoint())
	eventually(t, "both have as many", func() bool {
		hosts := pool.Stats().Hosts
		return hosts[a.endpoint()] == 3 && hosts[b.endpoint()] == 3
	})
}

// TestHostLeaves has a host leave while it has connections, one of them in use.
// That call finishes.
func TestHostLeaves(t *testing.T) {
	h := newHandler()
	h.waiting, h.proceed = make(chan struct{}, 1), make(chan struct{})
	a, b := serve(t, h, serverOptions{}), serve(t, h, serverOptions{})
	provider := hostsOf(a.endpoint())
	pool := open(t, provider, thriftpool.Options{MinConnsPerHost: 3})
	must(t, pool.Warm(within(t)))
	done := make(chan error, 1)
	go func() {
		_, err := client(pool).Wait(within(t), 7)
		done <- err
	}()
	<-h.waiting
	provider.set(b.endpoint())
	eventually(t, "the idle ones are closed", func() bool { return a.open() == 1 })
	eventually(t, "the other host has its own", func() bool { return b.open() == 3 })
	close(h.proceed)
	must(t, <-done)
	eventually(t, "the last one is closed", func() bool { return a.open() == 0 })
	_, err := client(pool).Echo(within(t), "hello")
	must(t, err)
}

// TestNoHosts calls while there are none, which fails at once, and warms a pool
// until there are.
func TestNoHosts(t *testing.T) {
	s := serve(t, newHandler(), serverOptions{})
	provider := hostsOf()
	pool := open(t, provider, thriftpool.Options{Timeout: thriftpool.Never})
	if _, err := client(pool).Echo(context.Background(), "hello"); !errors.Is(err, thriftpool.ErrNoHosts) {
		t.Errorf("Echo returned %v", err)
	}
	warm := make(chan error, 1)
	go func() { warm <- pool.Warm(within(t)) }()
	provider.set(s.endpoint())
	must(t, <-warm)
	eventually(t, "there is a connection", func() bool { return s.open() == 1 })
	_, err := client(pool).Echo(within(t), "hello")
	must(t, err)
}

// TestWarm opens connections before there are calls.
func TestWarm(t *testing.T) {
	a, b := serve(t, newHandler(), serverOptions{}), serve(t, newHandler(), serverOptions{})
	pool := open(t, hostsOf(a.endpoint(), b.endpoint(), refusing(t)), thriftpool.Options{MinConnsPerHost: 2})
	must(t, pool.Warm(within(t)))
	eventually(t, "each has two", func() bool { return a.open() == 2 && b.open() == 2 })
	a.drop()
	eventually(t, "what was closed is replaced when it is found", func() bool {
		_, err := client(pool).Echo(within(t), "hello")
		must(t, err)
		return a.accepted.Load() >= 4
	})

	alone := open(t, hostsOf(refusing(t)), thriftpool.Options{})
	if err := alone.Warm(within(t)); err == nil {
		t.Error("a pool without any host that answers is warm")
	}
}
