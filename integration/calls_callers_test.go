package integration

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kingpinfs/kingpin/internal/ledger"
	"github.com/kingpinfs/kingpin/serverset"
	"github.com/kingpinfs/kingpin/thriftpool"
)

const (
	// callLimit is how long a call may take, answerLimit how long one server may.
	callLimit   = 20 * time.Second
	answerLimit = 5 * time.Second
	// callPause is between two calls of a caller, so that a machine with few
	// processors has some left for servers.
	callPause = 20 * time.Millisecond
)

// callers are goroutines that call a service, all through one pool.
type callers struct {
	t       testing.TB
	s       *thriftService
	pool    *thriftpool.Pool
	stop    context.CancelFunc
	running sync.WaitGroup
	done    []atomic.Int64 // calls that each has finished
	echoes  atomic.Int64   // calls of the idempotent method that were answered
	failed  atomic.Int64   // and those that were not
	longest atomic.Int64   // the longest of all calls

	mu       sync.Mutex       // guards the rest
	answered map[string]int   // calls by server
	records  []recordCall     // of the method that isn't idempotent
	harmed   map[string]*harm // servers that were killed or stopped for a while
	problems map[string]int   // errors of idempotent calls
}

// recordCall is a call of the method that isn't idempotent.
type recordCall struct {
	id         string
	begun, end time.Time
	err        error
}

// harm is from when to when a server couldn't answer. end is zero until then.
type harm struct{ begun, end time.Time }

// startCallers starts so many callers of the idempotent method and so many of the
// other one. They share a pool that knows the service by the monitor's file.
func startCallers(s *thriftService, echoes, records int) *callers {
	t := s.f.t
	t.Helper()
	hosts := serverset.NewFile(s.m.serverset(s.name), serverset.FileOptions{})
	if err := hosts.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(hosts.Close)
	c := &callers{
		t: t, s: s, done: make([]atomic.Int64, echoes+records),
		answered: map[string]int{}, harmed: map[string]*harm{}, problems: map[string]int{},
	}
	var err error
	c.pool, err = thriftpool.New(hosts, thriftpool.Options{
		Idempotent: []string{"echo"}, Timeout: callLimit, AttemptTimeout: answerLimit,
		Hooks: thriftpool.Hooks{Attempted: c.attempted},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	c.stop = stop
	for i := range c.done {
		c.running.Go(func() {
			pause := time.NewTicker(callPause)
			defer pause.Stop()
			for n := 0; ctx.Err() == nil; n++ {
				text := fmt.Sprintf("%d-%d", i, n)
				if i < echoes {
					c.echo(text)
				} else {
					c.record(text)
				}
				c.done[i].Add(1)
				<-pause.C
			}
		})
	}
	t.Cleanup(c.end)
	return c
}

// end ends all calls, and the pool.
func (c *callers) end() {
	c.stop()
	c.running.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := c.pool.Close(ctx); err != nil {
		c.t.Error(err)
	}
}

// attempted is told by the pool of each server that was asked.
func (c *callers) attempted(_ context.Context, attempt thriftpool.Attempt) {
	if attempt.Err == nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.answered[attempt.Host]++
	}
}

func (c *callers) echo(text string) {
	begun := time.Now()
	got, err := ledger.NewLedgerClient(c.pool).Echo(context.Background(), text)
	c.took(time.Since(begun))
	if err == nil && got != text {
		err = fmt.Errorf("the answer to %q is %q", text, got)
	}
	if err == nil {
		c.echoes.Add(1)
		return
	}
	c.failed.Add(1)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.problems[err.Error()]++
}

func (c *callers) record(id string) {
	call := recordCall{id: id, begun: time.Now()}
	_, call.err = ledger.NewLedgerClient(c.pool).Record(context.Background(), id)
	call.end = time.Now()
	c.took(call.end.Sub(call.begun))
	c.mu.Lock()
	defer c.mu.Unlock()
	c.records = append(c.records, call)
}

func (c *callers) took(d time.Duration) {
	for longest := c.longest.Load(); int64(d) > longest; longest = c.longest.Load() {
		c.longest.CompareAndSwap(longest, int64(d))
	}
}

// awaitCalls waits until every caller has finished so many more calls.
func (c *callers) awaitCalls(more int64) {
	c.t.Helper()
	before := make([]int64, len(c.done))
	for i := range c.done {
		before[i] = c.done[i].Load()
	}
	await(c.t, fmt.Sprintf("every caller to finish %d calls", more), func() error {
		for i := range c.done {
			if n := c.done[i].Load() - before[i]; n < more {
				return fmt.Errorf("caller %d has finished %d", i, n)
			}
		}
		return nil
	})
}

// answeredBy returns how many calls each server has answered.
func (c *callers) answeredBy(endpoints ...string) []int {
	c.mu.Lock()
	defer c.mu.Unlock()
	counts := make([]int, len(endpoints))
	for i, endpoint := range endpoints {
		counts[i] = c.answered[endpoint]
	}
	return counts
}

// awaitAnswers waits until a server has answered a call.
func (c *callers) awaitAnswers(server *thriftServer) {
	c.t.Helper()
	await(c.t, server.String()+" to be called", func() error {
		if c.answeredBy(server.endpoint)[0] == 0 {
			return errNotYet
		}
		return nil
	})
}

// mustSpread makes calls, and fails the test unless each server gets its part.
// Calls go where the fewest are under way, so that a server that is slower gets
// fewer, as it should; and on a machine with fewer processors than servers one is
// always slower than another. Half of its part, or twice, is what none may miss.
func (c *callers) mustSpread() {
	c.t.Helper()
	endpoints := c.s.endpoints()
	before := c.answeredBy(endpoints...)
	c.awaitCalls(20)
	after, all := c.answeredBy(endpoints...), 0
	for i := range after {
		after[i] -= before[i]
		all += after[i]
	}
	c.t.Logf("of %d calls the servers got %d", all, after)
	for i, n := range after {
		if part := all / len(after); n <= part/2 || n > part*2 {
			c.t.Errorf("of %d calls %s got %d, of %d servers: %d", all, endpoints[i], n, len(after), after)
		}
	}
}

// harm notes that a server can't answer from now on.
func (c *callers) harm(server *thriftServer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.harmed[server.endpoint] = &harm{begun: time.Now()}
}

// healed notes that no call can begin any more that will have no answer.
func (c *callers) healed(server *thriftServer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.harmed[server.endpoint].end = time.Now()
}

// check ends the calls and checks what came of them.
func (c *callers) check() {
	c.t.Helper()
	c.end()
	if n := c.failed.Load(); n > 0 {
		c.t.Errorf("%d of %d idempotent calls failed: %v", n, n+c.echoes.Load(), c.problems)
	}
	failed, noted := 0, c.s.noted()
	for _, call := range c.records {
		if call.err != nil {
			failed++
			if !c.excused(call) {
				c.t.Errorf("a call failed that had no reason to: %v", call.err)
			}
		}
		if n := noted[call.id]; n > 1 || n == 0 && call.err == nil {
			c.t.Errorf("a call was executed %d times; its error is %v", n, call.err)
		}
	}
	if len(c.records) == 0 || c.echoes.Load() == 0 {
		c.t.Error("nothing was called")
	}
	c.t.Logf("%d idempotent calls, %d others, of which %d failed when their server was harmed; the longest took %v",
		c.echoes.Load(), len(c.records), failed, time.Duration(c.longest.Load()).Round(time.Millisecond))
}

// excused tells whether a call that isn't idempotent may have failed: a server
// may have received it, and was harmed while it was under way.
func (c *callers) excused(call recordCall) bool {
	failure, ok := errors.AsType[*thriftpool.Error](call.err)
	if !ok || !failure.Sent {
		return false
	}
	harm := c.harmed[failure.Host]
	return harm != nil && call.end.After(harm.begun) && call.begun.Before(harm.end)
}
