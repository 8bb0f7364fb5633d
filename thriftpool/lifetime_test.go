package thriftpool_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/apache/thrift/lib/go/thrift"

	"github.com/kingpinfs/kingpin/serverset"
	"github.com/kingpinfs/kingpin/thriftpool"
	"github.com/kingpinfs/kingpin/thriftpool/internal/probe"
)

// piped is a server within a synctest bubble: pools dial it by its dial method.
type piped struct {
	process thrift.TProcessor
	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu     sync.Mutex // guards the rest
	dialed int
	open   int
	hang   bool // connecting takes for ever
}

// bubble runs a test with time of its own.
func bubble(t *testing.T, h *handler, test func(t *testing.T, p *piped)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { withServer(t, h, test) })
}

// withServer runs a part of such a test with a server.
func withServer(t *testing.T, h *handler, test func(t *testing.T, p *piped)) {
	t.Helper()
	p := &piped{process: probe.NewProbeProcessor(h)}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	defer p.running.Wait()
	defer p.cancel()
	test(t, p)
}

func (p *piped) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	p.mu.Lock()
	p.dialed++
	p.open++
	hang := p.hang
	p.mu.Unlock()
	closed := func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.open--
	}
	if hang {
		<-ctx.Done()
		closed()
		return nil, ctx.Err()
	}
	ours, theirs := net.Pipe()
	p.running.Go(func() {
		defer closed()
		protocol := (&serverOptions{}).stack(thrift.NewTSocketFromConnConf(theirs, nil))
		for {
			if _, err := p.process.Process(p.ctx, protocol, protocol); err != nil && !answered(err) {
				_ = theirs.Close()
				return
			}
		}
	})
	return ours, nil
}

func (p *piped) counts() (dialed, open int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dialed, p.open
}

// pool returns a pool of connections to the server, and what ends it.
func (p *piped) pool(t *testing.T, options thriftpool.Options) (*thriftpool.Pool, func()) {
	t.Helper()
	hosts, err := serverset.NewStatic("host:1")
	must(t, err)
	options.Dial = p.dial
	pool, err := thriftpool.New(hosts, options)
	must(t, err)
	return pool, func() { must(t, pool.Close(context.Background())) }
}

func echo(t *testing.T, pool *thriftpool.Pool) {
	t.Helper()
	if got, err := client(pool).Echo(context.Background(), "hello"); err != nil || got != "hello" {
		t.Fatalf("Echo returned %q, %v", got, err)
	}
}

// sleep passes time in a bubble.
func sleep(d time.Duration) { <-time.After(d) }

func TestIdleTimeout(t *testing.T) {
	bubble(t, newHandler(), func(t *testing.T, p *piped) {
		pool, end := p.pool(t, thriftpool.Options{IdleTimeout: 10 * time.Second})
		defer end()
		for range 5 {
			echo(t, pool)
			sleep(9 * time.Second)
		}
		if dialed, open := p.counts(); dialed != 1 || open != 1 {
			t.Fatalf("in use, %d connections were made, %d are open", dialed, open)
		}
		sleep(time.Second + time.Millisecond)
		synctest.Wait()
		if _, open := p.counts(); open != 0 {
			t.Fatal("it is still open")
		}
		echo(t, pool)
	})
}

func TestMinConnsStay(t *testing.T) {
	bubble(t, newHandler(), func(t *testing.T, p *piped) {
		pool, end := p.pool(t, thriftpool.Options{IdleTimeout: 10 * time.Second, MinConnsPerHost: 2, MaxAge: time.Hour})
		defer end()
		must(t, pool.Warm(context.Background()))
		sleep(50 * time.Minute)
		if dialed, open := p.counts(); dialed != 2 || open != 2 {
			t.Fatalf("%d connections were made, %d are open", dialed, open)
		}
		// They are replaced when they are too old.
		sleep(20 * time.Minute)
		synctest.Wait()
		if dialed, open := p.counts(); dialed != 4 || open != 2 {
			t.Fatalf("%d connections were made, %d are open", dialed, open)
		}
	})
}

// TestMinConnsGoBack has more calls at a time than there are connections at least.
// The others end when they were idle for so long.
func TestMinConnsGoBack(t *testing.T) {
	bubble(t, newHandler(), func(t *testing.T, p *piped) {
		pool, end := p.pool(t, thriftpool.Options{IdleTimeout: 10 * time.Second, MinConnsPerHost: 2, MaxAge: time.Hour})
		defer end()
		must(t, pool.Warm(context.Background()))
		sleep(25 * time.Second)
		var calls sync.WaitGroup
		for range 5 {
			calls.Go(func() {
				if _, err := client(pool).Wait(context.Background(), 1000); err != nil {
					t.Error(err)
				}
			})
		}
		calls.Wait()
		sleep(9 * time.Second)
		if dialed, open := p.counts(); dialed != 5 || open != 5 {
			t.Errorf("%d connections were made, %d are open", dialed, open)
		}
		sleep(time.Second + time.Millisecond)
		synctest.Wait()
		if dialed, open := p.counts(); dialed != 5 || open != 2 {
			t.Errorf("%d connections were made, %d are open", dialed, open)
		}
	})
}

// TestMinConnsFail has a host that can't be connected to, and is never ejected.
// Warm and the keeper try as many connections as there are to be, not for ever.
func TestMinConnsFail(t *testing.T) {
	bubble(t, newHandler(), func(t *testing.T, p *piped) {
		hosts, err := serverset.NewStatic("host:1")
		must(t, err)
		const each, many = 20, 1000
		var dials atomic.Int64
		pool, err := thriftpool.New(hosts, thriftpool.Options{
			MinConnsPerHost: each, Ejection: serverset.EjectionOptions{Failures: -1},
			Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
				if dials.Add(1) > many {
					return p.dial(ctx, network, address)
				}
				return nil, errors.New("the test says so")
			},
		})
		must(t, err)
		defer func() { must(t, pool.Close(context.Background())) }()
		if err := pool.Warm(context.Background()); err == nil {
			t.Error("the pool is warm")
		}
		synctest.Wait()
		// The keeper also looks again because there is a host.
		if n := dials.Load(); n < each || n > 4*each {
			t.Errorf("there were %d dials at once", n)
		}
		sleep(2 * time.Second)
		if n := dials.Load(); n > 7*each {
			t.Errorf("there were %d dials in two seconds", n)
		}
	})
}

// TestMaxAge sees that connections end at their age, not all at once, and not in
// the midst of a call.
func TestMaxAge(t *testing.T) {
	bubble(t, newHandler(), func(t *testing.T, p *piped) {
		pool, end := p.pool(t, thriftpool.Options{MaxAge: 100 * time.Second})
		defer end()
		begun := time.Now()
		var ages []time.Duration
		for last := 1; len(ages) < 20; {
			echo(t, pool)
			if dialed, _ := p.counts(); dialed > last {
				ages = append(ages, time.Since(begun))
				begun, last = time.Now(), dialed
			}
			sleep(time.Second)
		}
		slices.Sort(ages)
		if ages[0] < 90*time.Second || ages[19] > 112*time.Second || ages[19]-ages[0] < 2*time.Second {
			t.Errorf("the ages were %v", ages)
		}
		// A call that takes longer.
		if _, err := client(pool).Wait(thriftpool.WithIdempotent(context.Background()), 9_000); err != nil {
			t.Error(err)
		}
	})
}

func TestMaxCalls(t *testing.T) {
	bubble(t, newHandler(), func(t *testing.T, p *piped) {
		pool, end := p.pool(t, thriftpool.Options{MaxCalls: 3})
		defer end()
		for range 9 {
			echo(t, pool)
		}
		synctest.Wait()
		if dialed, open := p.counts(); dialed != 3 || open != 0 {
			t.Errorf("%d connections were made, %d are open", dialed, open)
		}
	})
}

// TestFirstComeFirstServed has calls wait for the only connection.
func TestFirstComeFirstServed(t *testing.T) {
	h := newHandler()
	bubble(t, h, func(t *testing.T, p *piped) {
		h.proceed = make(chan struct{})
		pool, end := p.pool(t, thriftpool.Options{MaxConns: 1})
		defer end()
		served := make(chan int64, 100)
		for i := range int64(100) {
			go func() {
				ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
				defer cancel()
				if i%10 == 5 {
					cancel() // while it waits
				}
				if _, err := client(pool).Wait(ctx, i); err == nil {
					served <- i
				} else if !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
			}()
			synctest.Wait()
		}
		for i := range int64(100) {
			if i%10 == 5 {
				continue
			}
			h.proceed <- struct{}{}
			synctest.Wait()
			if got := <-served; got != i {
				t.Fatalf("call %d was served, not %d", got, i)
			}
		}
	})
}

// TestTimeouts sees each of the timeouts end a call, and when.
func TestTimeouts(t *testing.T) {
	tests := []struct {
		name    string
		options thriftpool.Options
		ctx     time.Duration
		hang    bool
		busy    bool
		want    time.Duration
	}{
		{name: "default", want: 10 * time.Second},
		{name: "Timeout", options: thriftpool.Options{Timeout: 3 * time.Second}, want: 3 * time.Second},
		{name: "AttemptTimeout", options: thriftpool.Options{AttemptTimeout: 2 * time.Second}, want: 2 * time.Second},
		{name: "context", ctx: 4 * time.Second, want: 4 * time.Second},
		{name: "context that ends later", ctx: time.Minute, want: 10 * time.Second},
		{name: "dialling, default", hang: true, want: time.Second},
		{name: "dialling", options: thriftpool.Options{DialTimeout: 5 * time.Second}, hang: true, want: 5 * time.Second},
		{name: "dialling, Timeout", options: thriftpool.Options{Timeout: time.Second / 2}, hang: true, want: time.Second / 2},
		{name: "dialling, context", ctx: time.Second / 4, hang: true, want: time.Second / 4},
		{name: "dialling, AttemptTimeout", options: thriftpool.Options{AttemptTimeout: time.Second / 5}, hang: true, want: time.Second / 5},
		{name: "waiting", options: thriftpool.Options{Timeout: 3 * time.Second}, busy: true, want: 3 * time.Second},
		{name: "waiting, context", ctx: 2 * time.Second, busy: true, want: 2 * time.Second},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := newHandler()
			bubble(t, h, func(t *testing.T, p *piped) {
				h.proceed = make(chan struct{})
				p.hang = test.hang
				test.options.MaxConns = 1
				pool, end := p.pool(t, test.options)
				defer end()
				defer synctest.Wait()
				if test.busy {
					go func() { _, _ = client(pool).Wait(context.Background(), 0) }()
					synctest.Wait()
				}
				ctx := context.Background()
				if test.ctx > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, test.ctx)
					defer cancel()
				}
				begun := time.Now()
				_, err := client(pool).Wait(ctx, 1)
				if !errors.Is(err, context.DeadlineExceeded) || !failure(t, err).Timeout() {
					t.Errorf("the call returned %v", err)
				}
				if took := time.Since(begun); took != test.want {
					t.Errorf("it took %v, want %v", took, test.want)
				}
			})
		})
	}
}

// TestAttemptTimeout has two hosts, the first one dialled of which takes its time
// to accept. The other one is asked when AttemptTimeout is over.
func TestAttemptTimeout(t *testing.T) {
	tests := []struct {
		name    string
		accepts time.Duration // how long the first host takes
		takes   int64         // what a call takes then, in milliseconds
		want    time.Duration
	}{
		{name: "it doesn't accept", accepts: time.Hour, takes: 100, want: 300 * time.Millisecond},
		{name: "it accepts late", accepts: 300 * time.Millisecond, takes: 100, want: 300 * time.Millisecond},
		{name: "it answers late", accepts: 150 * time.Millisecond, takes: 100, want: 300 * time.Millisecond},
		{name: "it answers in time", accepts: 50 * time.Millisecond, takes: 100, want: 150 * time.Millisecond},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, newHandler(), func(t *testing.T, p *piped) {
				hosts, err := serverset.NewStatic("a:1", "b:1")
				must(t, err)
				slow := ""
				pool, err := thriftpool.New(hosts, thriftpool.Options{
					Timeout: time.Second, AttemptTimeout: 200 * time.Millisecond, Idempotent: []string{"wait"},
					Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
						if slow == "" {
							slow = address
						}
						if address == slow {
							select {
							case <-time.After(test.accepts):
							case <-ctx.Done():
								return nil, ctx.Err()
							}
						}
						return p.dial(ctx, network, address)
					},
				})
				must(t, err)
				defer func() { must(t, pool.Close(context.Background())) }()
				begun := time.Now()
				if _, err := client(pool).Wait(context.Background(), test.takes); err != nil {
					t.Errorf("the call returned %v", err)
				}
				if took := time.Since(begun); took != test.want {
					t.Errorf("it took %v, want %v", took, test.want)
				}
			})
		})
	}
}

// TestTrickle has a server that sends byte after byte, always in time for a
// timeout of each, never in time for the call.
func TestTrickle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hosts, err := serverset.NewStatic("host:1")
		must(t, err)
		var running sync.WaitGroup
		defer running.Wait()
		pool, err := thriftpool.New(hosts, thriftpool.Options{
			Timeout: 5 * time.Second,
			Dial: func(context.Context, string, string) (net.Conn, error) {
				ours, theirs := net.Pipe()
				running.Go(func() {
					_, _ = request(theirs)
					for _, b := range reply("hello hello hello") {
						sleep(time.Second)
						if _, err := theirs.Write([]byte{b}); err != nil {
							return
						}
					}
				})
				return ours, nil
			},
		})
		must(t, err)
		defer func() { must(t, pool.Close(context.Background())) }()
		begun := time.Now()
		if _, err := client(pool).Echo(context.Background(), "hello"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the call returned %v", err)
		}
		if took := time.Since(begun); took != 5*time.Second {
			t.Errorf("it took %v", took)
		}
	})
}

// TestClose sees how calls end that are under way when the pool is closed.
func TestClose(t *testing.T) {
	h := newHandler()
	bubble(t, h, func(t *testing.T, p *piped) {
		h.proceed = make(chan struct{})
		begin := func(pool *thriftpool.Pool) (results chan error) {
			results = make(chan error, 3)
			for i := range int64(3) { // two are answered, one waits for a connection
				go func() {
					_, err := client(pool).Wait(context.Background(), i)
					results <- err
				}()
				synctest.Wait()
			}
			return results
		}
		options := thriftpool.Options{MaxConns: 2, Timeout: thriftpool.Never}

		pool, _ := p.pool(t, options)
		results := begin(pool)
		closed := make(chan error, 2)
		for range 2 {
			go func() { closed <- pool.Close(context.Background()) }()
		}
		synctest.Wait()
		if _, err := client(pool).Echo(context.Background(), "hello"); !errors.Is(err, thriftpool.ErrClosed) {
			t.Errorf("while it is being closed a call returned %v", err)
		}
		for range 3 {
			h.proceed <- struct{}{}
			must(t, <-results)
		}
		must(t, <-closed)
		must(t, <-closed)

		pool, _ = p.pool(t, options)
		results = begin(pool)
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := pool.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Close returned %v", err)
		}
		for range 3 {
			if err := <-results; !errors.Is(err, thriftpool.ErrClosed) {
				t.Errorf("a call that was cut returned %v", err)
			}
		}
		must(t, pool.Close(context.Background()))
		if _, err := client(pool).Echo(context.Background(), "hello"); !errors.Is(err, thriftpool.ErrClosed) {
			t.Errorf("after Close a call returned %v", err)
		}
		if err := pool.Warm(context.Background()); !errors.Is(err, thriftpool.ErrClosed) {
			t.Errorf("after Close Warm returned %v", err)
		}

		pool, _ = p.pool(t, options)
		must(t, pool.Close(context.Background())) // never used
		if _, err := client(pool).Echo(context.Background(), "hello"); !errors.Is(err, thriftpool.ErrClosed) {
			t.Errorf("after Close a call returned %v", err)
		}

		pool, _ = p.pool(t, options)
		p.hang = true
		dialling := make(chan error)
		go func() {
			_, err := client(pool).Echo(context.Background(), "hello")
			dialling <- err
		}()
		synctest.Wait()
		ctx, cancel = context.WithCancel(context.Background())
		cancel()
		if err := pool.Close(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("Close returned %v", err)
		}
		if err := <-dialling; !errors.Is(err, thriftpool.ErrClosed) {
			t.Errorf("a call that was being connected returned %v", err)
		}
		close(h.proceed)
		synctest.Wait()
		if _, open := p.counts(); open != 0 {
			t.Errorf("%d connections are open", open)
		}
	})
}

// TestBudget makes idempotent calls to a service that is down: in the long run
// there may be a retry for each fifth call.
func TestBudget(t *testing.T) {
	hosts := hostsOf()
	var dials int
	pool := open(t, hosts, thriftpool.Options{
		RetryRatio: 0.2, RetryBurst: 10, Ejection: serverset.EjectionOptions{Failures: -1},
		Dial: func(context.Context, string, string) (net.Conn, error) {
			dials++
			return nil, errors.New("it is down")
		},
	})
	var endpoints []string
	for i := range 50 {
		endpoints = append(endpoints, fmt.Sprintf("host-%d:1", i))
	}
	hosts.set(endpoints...)
	eventually(t, "the hosts are known", func() bool {
		_, err := client(pool).Echo(within(t), "hello")
		return !errors.Is(err, thriftpool.ErrNoHosts)
	})
	for range 100 { // spends what is saved
		_, _ = client(pool).Echo(within(t), "hello")
	}
	dials = 0
	const calls = 1000
	for range calls {
		if _, err := client(pool).Echo(within(t), "hello"); failure(t, err).Sent {
			t.Fatal(err)
		}
	}
	if retries := dials - calls; retries < calls/5-1 || retries > calls/5+1 {
		t.Errorf("there were %d retries for %d calls", retries, calls)
	}
}
