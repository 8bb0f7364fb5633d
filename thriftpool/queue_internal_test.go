package thriftpool

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kingpinfs/kingpin/serverset"
)

// TestWithdraw has a call give up that waited for any host. The one behind it,
// which wants the one host that others leave alone, is served.
func TestWithdraw(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hosts, err := serverset.NewStatic("a:1", "b:1", "ejected:1")
		if err != nil {
			t.Fatal(err)
		}
		p, err := New(hosts, Options{MaxConnsPerHost: 1, Ejection: serverset.EjectionOptions{Failures: 1}})
		if err != nil {
			t.Fatal(err)
		}
		if !p.enter() {
			t.Fatal("the pool is closed")
		}
		var granted []grant
		defer func() {
			for _, g := range granted {
				p.decline(g)
			}
			p.leave()
			if err := p.Close(context.Background()); err != nil {
				t.Error(err)
			}
		}()
		deadline := time.Now().Add(time.Minute)
		acquire := func(exclude ...string) string {
			g, err := p.acquire(context.Background(), exclude, deadline, true)
			if err != nil {
				t.Error(err)
				return ""
			}
			granted = append(granted, g)
			return g.host.endpoint
		}
		for _, host := range p.balancer.Hosts() {
			if host.Endpoint() == "ejected:1" {
				lease, _ := p.balancer.Take(host)
				lease.Done(serverset.Failed)
			}
		}
		if a, b := acquire(), acquire(); a == b || a == "ejected:1" || b == "ejected:1" {
			t.Fatalf("the hosts %q and %q were taken", a, b)
		}

		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		first := make(chan error, 1)
		go func() {
			_, err := p.acquire(ctx, nil, deadline, true)
			first <- err
		}()
		synctest.Wait()
		second := make(chan string, 1)
		go func() { second <- acquire("a:1", "b:1") }()
		synctest.Wait()
		cancel()
		if err := <-first; !errors.Is(err, context.Canceled) {
			t.Errorf("the first one got %v", err)
		}
		synctest.Wait()
		select {
		case host := <-second:
			if host != "ejected:1" {
				t.Errorf("the second one got %q", host)
			}
		default:
			t.Error("the second one still waits")
			<-second
		}
	})
}
