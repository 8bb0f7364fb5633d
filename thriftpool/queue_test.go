package thriftpool_test

import (
	"context"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kingpinfs/kingpin/serverset"
	"github.com/kingpinfs/kingpin/thriftpool"
)

// crowd has two hosts in a bubble, with a connection to each at most. That to the
// busy one is in use, and so many calls have failed on the other one, and wait for
// the busy one.
type crowd struct {
	t          *testing.T
	pool       *thriftpool.Pool
	busy, free *handler
	retries    chan error
}

// release ends a call that waits on a host.
func (c *crowd) release(h *handler) {
	c.t.Helper()
	select {
	case h.proceed <- struct{}{}:
	case <-time.After(time.Hour): // of the bubble: all timeouts are over
		c.t.Fatal("no call has reached the host")
	}
	synctest.Wait()
}

// begin begins a call, whose error it sends.
func (c *crowd) begin(call func(ctx context.Context) error) <-chan error {
	done := make(chan error, 1)
	go func() { done <- call(context.Background()) }()
	synctest.Wait()
	return done
}

// wait is a call that ends when its host is released.
func (c *crowd) wait(ctx context.Context) error {
	_, err := client(c.pool).Wait(ctx, 7)
	return err
}

func (c *crowd) echo(ctx context.Context) error {
	_, err := client(c.pool).Echo(ctx, "hello")
	return err
}

func crowded(t *testing.T, retries int, test func(t *testing.T, c *crowd)) {
	t.Helper()
	c := &crowd{busy: newHandler(), free: newHandler(), retries: make(chan error, retries)}
	bubble(t, c.busy, func(t *testing.T, busy *piped) {
		c.t = t
		c.busy.proceed, c.free.proceed = make(chan struct{}), make(chan struct{})
		withServer(t, c.free, func(t *testing.T, free *piped) {
			provider := hostsOf("busy:1")
			failing := retries
			var err error
			c.pool, err = thriftpool.New(provider, thriftpool.Options{
				MaxConnsPerHost: 1, Idempotent: []string{"echo"}, Ejection: serverset.EjectionOptions{Failures: -1},
				Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
					if address == "busy:1" {
						return busy.dial(ctx, network, address)
					}
					if failing--; failing < 0 {
						return free.dial(ctx, network, address)
					}
					ours, theirs := net.Pipe()
					free.running.Go(func() {
						_, _ = request(theirs)
						_ = theirs.Close()
					})
					return ours, nil
				},
			})
			must(t, err)
			defer func() { must(t, c.pool.Close(context.Background())) }()
			slow := c.begin(c.wait)
			provider.set("busy:1", "free:1")
			synctest.Wait()
			for range retries {
				go func() { c.retries <- c.echo(context.Background()) }()
				synctest.Wait()
			}
			if stats := c.pool.Stats(); stats.Waiting != retries {
				t.Fatalf("%d calls wait: %+v", stats.Waiting, stats)
			}
			test(t, c)
			c.release(c.busy)
			must(t, <-slow)
			for range retries {
				must(t, <-c.retries)
			}
		})
	})
}

// TestRetryWaits has a call wait that excludes the host that is free. Others
// don't wait for it.
func TestRetryWaits(t *testing.T) {
	crowded(t, 1, func(t *testing.T, c *crowd) {
		begun := time.Now()
		for range 3 {
			must(t, c.echo(context.Background()))
		}
		if took := time.Since(begun); took != 0 {
			t.Errorf("the calls waited for %v", took)
		}
	})
}

// TestManyRetriesWait has a call wait behind more such calls than are tried at a
// time. It is the next when the host is free.
func TestManyRetriesWait(t *testing.T) {
	crowded(t, 50, func(t *testing.T, c *crowd) {
		first := c.begin(c.wait)
		second, third := c.begin(c.wait), c.begin(c.echo)
		for _, done := range []<-chan error{first, second} {
			c.release(c.free)
			select {
			case err := <-done:
				must(t, err)
			default:
				t.Fatalf("a call still waits: %+v", c.pool.Stats())
			}
		}
		select {
		case err := <-third:
			must(t, err)
		default:
			t.Errorf("the last call still waits: %+v", c.pool.Stats())
		}
	})
}
