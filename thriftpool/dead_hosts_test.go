package thriftpool_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kingpinfs/kingpin/serverset"
	"github.com/kingpinfs/kingpin/thriftpool"
)

// deadHost returns an endpoint where nobody listens.
func deadHost(t *testing.T) string {
	t.Helper()
	s := serve(t, newHandler(), serverOptions{})
	s.kill()
	return s.endpoint()
}

// TestMostHostsAreDead has one host of four be alive, before anybody has taken the
// others off the list. More of them are dead than may be ejected, and each is free
// for the next call the sooner it has refused the last one. No call fails.
func TestMostHostsAreDead(t *testing.T) {
	s := serve(t, newHandler(), serverOptions{})
	pool := open(t, hostsOf(s.endpoint(), deadHost(t), deadHost(t), deadHost(t)), thriftpool.Options{})
	var running sync.WaitGroup
	for range 8 {
		running.Go(func() {
			c := client(pool)
			for range 500 {
				if _, err := c.Echo(within(t), "hello"); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	running.Wait()
}

// TestBusyHostIsBetterThanADeadOne has calls wait for the one connection to a host
// that answers, rather than try, again and again, the host that was ejected.
func TestBusyHostIsBetterThanADeadOne(t *testing.T) {
	h := newHandler()
	s := serve(t, h, serverOptions{})
	dead := deadHost(t)
	var dials atomic.Int64
	pool := open(t, hostsOf(s.endpoint(), dead), thriftpool.Options{
		MaxConnsPerHost: 1, Ejection: serverset.EjectionOptions{Failures: 1, Time: time.Hour, MaxTime: time.Hour},
		Hooks: thriftpool.Hooks{Dialled: func(host string, _ time.Duration, _ error) {
			if host == dead {
				dials.Add(1)
			}
		}},
	})
	c := client(pool)
	eventually(t, "the host that is dead was tried, and ejected", func() bool {
		_, err := c.Echo(within(t), "hello")
		must(t, err)
		return dials.Load() > 0
	})
	before := dials.Load()
	var running sync.WaitGroup
	for range 16 {
		running.Go(func() {
			c := client(pool)
			for range 20 {
				if _, err := c.Echo(within(t), "hello"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	running.Wait()
	if n := dials.Load() - before; n > 0 {
		t.Errorf("it was dialled %d times more", n)
	}
}
