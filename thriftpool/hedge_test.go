package thriftpool_test

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kingpinfs/kingpin/serverset"
	"github.com/kingpinfs/kingpin/thriftpool"
)

// hedging has two hosts in a bubble, of which the first one asked takes its time.
type hedging struct {
	*piped
	slow string // the host that hangs; the first that is dialled, if it is ""
	asks map[string]int
}

func (h *hedging) dial(ctx context.Context, network, address string) (net.Conn, error) {
	h.mu.Lock()
	h.asks[address]++
	if h.slow == "" {
		h.slow = address
	}
	slow := h.slow == address
	h.mu.Unlock()
	if !slow {
		return h.piped.dial(ctx, network, address)
	}
	ours, theirs := net.Pipe()
	h.running.Go(func() {
		defer func() { _ = theirs.Close() }()
		silence(theirs)
	})
	return ours, nil
}

// hedge runs a test with two hosts, the first one asked of which never answers.
func hedge(t *testing.T, options thriftpool.Options, test func(t *testing.T, pool *thriftpool.Pool, h *hedging)) {
	t.Helper()
	bubble(t, newHandler(), func(t *testing.T, p *piped) {
		h := &hedging{piped: p, asks: make(map[string]int)}
		hosts, err := serverset.NewStatic("a:1", "b:1")
		must(t, err)
		options.Dial = h.dial
		pool, err := thriftpool.New(hosts, options)
		must(t, err)
		defer func() { must(t, pool.Close(context.Background())) }()
		test(t, pool, h)
		synctest.Wait()
		if stats := pool.Stats(); stats.Open != stats.Idle {
			t.Errorf("connections are in use: %+v", stats)
		}
	})
}

func TestHedge(t *testing.T) {
	var attempts []thriftpool.Attempt
	options := thriftpool.Options{
		HedgeAfter: 100 * time.Millisecond, Idempotent: []string{"echo"},
		Hooks: thriftpool.Hooks{Attempted: func(_ context.Context, a thriftpool.Attempt) { attempts = append(attempts, a) }},
	}
	hedge(t, options, func(t *testing.T, pool *thriftpool.Pool, h *hedging) {
		begun := time.Now()
		echo(t, pool)
		if took := time.Since(begun); took != 100*time.Millisecond {
			t.Errorf("it took %v", took)
		}
		if h.asks["a:1"] != 1 || h.asks["b:1"] != 1 {
			t.Errorf("the hosts were asked %v", h.asks)
		}
		// The answer of the second came first; the first was cancelled.
		if len(attempts) != 2 || !attempts[0].Hedge || attempts[0].Err != nil || attempts[1].Hedge ||
			!errors.Is(attempts[1].Err, context.Canceled) {
			t.Errorf("the attempts were %+v", attempts)
		}

		// What isn't idempotent is not hedged, though it waits for the slow one.
		attempts = nil
		for waited := false; !waited; {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			_, err := client(pool).Count(ctx, "x")
			cancel()
			waited = errors.Is(err, context.DeadlineExceeded)
		}
		for _, a := range attempts {
			if a.Hedge {
				t.Errorf("there was a hedge: %+v", a)
			}
		}
	})
}

// TestHedgeFails has a hedge that gets no answer either.
func TestHedgeFails(t *testing.T) {
	bubble(t, newHandler(), func(t *testing.T, p *piped) {
		hosts, err := serverset.NewStatic("a:1", "b:1")
		must(t, err)
		pool, err := thriftpool.New(hosts, thriftpool.Options{
			HedgeAfter: 100 * time.Millisecond, Idempotent: []string{"echo"}, Timeout: time.Second,
			Dial: func(context.Context, string, string) (net.Conn, error) {
				ours, theirs := net.Pipe()
				p.running.Go(func() { silence(theirs) })
				return ours, nil
			},
		})
		must(t, err)
		defer func() { must(t, pool.Close(context.Background())) }()
		begun := time.Now()
		if _, err := client(pool).Echo(context.Background(), "hello"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("it returned %v", err)
		}
		if took := time.Since(begun); took != time.Second {
			t.Errorf("it took %v", took)
		}
		ctx, cancel := context.WithCancel(context.Background())
		time.AfterFunc(500*time.Millisecond, cancel)
		if _, err := client(pool).Echo(ctx, "hello"); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled, it returned %v", err)
		}
	})
}

// TestHedgeBudget makes hedges as retries: there may only be so many.
func TestHedgeBudget(t *testing.T) {
	options := thriftpool.Options{HedgeAfter: 100 * time.Millisecond, Idempotent: []string{"echo"}, RetryRatio: -1, Timeout: time.Second}
	hedge(t, options, func(t *testing.T, pool *thriftpool.Pool, h *hedging) {
		if _, err := client(pool).Echo(context.Background(), "hello"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("it returned %v", err)
		}
		if len(h.asks) != 1 {
			t.Errorf("the hosts were asked %v", h.asks)
		}
	})
}

// TestHedgePercentile learns how long calls take before it hedges any.
func TestHedgePercentile(t *testing.T) {
	h := newHandler()
	bubble(t, h, func(t *testing.T, p *piped) {
		hosts, err := serverset.NewStatic("a:1", "b:1")
		must(t, err)
		hedges := 0
		pool, err := thriftpool.New(hosts, thriftpool.Options{
			HedgePercentile: 90, Idempotent: []string{"wait"}, Dial: p.dial,
			Hooks: thriftpool.Hooks{Attempted: func(_ context.Context, a thriftpool.Attempt) {
				if a.Hedge {
					hedges++
				}
			}},
		})
		must(t, err)
		defer func() { must(t, pool.Close(context.Background())) }()
		wait := func(milliseconds int64) {
			t.Helper()
			if _, err := client(pool).Wait(context.Background(), milliseconds); err != nil {
				t.Fatal(err)
			}
		}
		for i := range int64(32) {
			wait(10 + i%20) // 10 to 29
		}
		if hedges != 0 {
			t.Fatalf("there were %d hedges before it knew", hedges)
		}
		wait(20)
		if hedges != 0 {
			t.Error("a call that takes as long as most was hedged")
		}
		wait(200)
		synctest.Wait()
		if hedges != 1 {
			t.Errorf("there were %d hedges of a call that takes long", hedges)
		}
	})
}
