package thriftpool

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/apache/thrift/lib/go/thrift"

	"github.com/kingpinfs/kingpin/serverset"
)

type idempotentKey struct{}

// WithIdempotent returns a context whose calls do no harm when they are executed
// twice, so that they may be made again though a server may have received them.
func WithIdempotent(ctx context.Context) context.Context {
	return context.WithValue(ctx, idempotentKey{}, true)
}

// Call implements thrift.TClient, for generated clients. When ctx is done it
// returns at once, whatever the server does. The error is an *Error, or the
// thrift.TApplicationException that the server answered.
func (p *Pool) Call(ctx context.Context, method string, args, result thrift.TStruct) (thrift.ResponseMeta, error) {
	if len(p.options.Middleware) == 0 {
		return p.call(ctx, method, args, result)
	}
	return p.client.Call(ctx, method, args, result)
}

// Service returns a client of one of several services that a server has behind
// one port, told apart as by thrift.TMultiplexedProtocol.
func (p *Pool) Service(name string) thrift.TClient {
	prefix := name + thrift.MULTIPLEXED_SEPARATOR
	client := thrift.WrappedTClient{Wrapped: func(ctx context.Context, method string, args, result thrift.TStruct) (thrift.ResponseMeta, error) {
		return p.run(ctx, &message{method: method, name: prefix + method, args: args, result: result})
	}}
	return thrift.WrapClient(client, p.options.Middleware...)
}

func (p *Pool) call(ctx context.Context, method string, args, result thrift.TStruct) (thrift.ResponseMeta, error) {
	return p.run(ctx, &message{method: method, name: method, args: args, result: result})
}

// task is one call, with all its attempts.
type task struct {
	message
	begun      time.Time
	deadline   time.Time // of the whole call
	idempotent bool
	first      *task // if this is a hedge: the attempts that it runs beside

	attempts int
	refused  int    // of them, where nobody listened
	sent     bool   // a server may have received it
	failed   *fault // of the attempt before

	shared bool       // there may be a hedge, so that mu is to be held
	mu     sync.Mutex // guards the rest; dead is only appended to
	dead   []string   // hosts that failed it
	asking string     // the host that is asked
}

// lock locks mu if that is needed.
func (t *task) lock() (unlock func()) {
	if !t.shared {
		return func() {}
	}
	t.mu.Lock()
	return t.mu.Unlock
}

// run makes a call.
func (p *Pool) run(ctx context.Context, m *message) (thrift.ResponseMeta, error) {
	if err := ctx.Err(); err != nil {
		return thrift.ResponseMeta{}, &Error{Method: m.method, Err: err}
	}
	if !p.enter() {
		return thrift.ResponseMeta{}, &Error{Method: m.method, Err: ErrClosed}
	}
	defer p.leave()
	p.budget.earn()
	begun := time.Now()
	t := task{message: *m, begun: begun, deadline: begun.Add(p.options.Timeout)}
	if deadline, ok := ctx.Deadline(); ok && deadline.Before(t.deadline) {
		t.deadline = deadline
	}
	t.idempotent = p.idempotent[m.method] || ctx.Value(idempotentKey{}) != nil
	a, f := p.make(ctx, &t)
	if p.metrics != nil || p.hedging != nil {
		p.observe(&t, outcomeOf(a, f), time.Since(begun))
	}
	if f != nil {
		return a.meta, t.error(f)
	}
	return a.meta, a.exception
}

// make makes a call, hedged or not.
func (p *Pool) make(ctx context.Context, t *task) (answer, *fault) {
	if p.hedging != nil && t.idempotent && hedgeable(t.result) {
		if delay, ok := p.hedging.delay(t.method); ok {
			return p.hedged(ctx, t, delay)
		}
	}
	return p.persist(ctx, t)
}

func (p *Pool) observe(t *task, outcome faultKind, took time.Duration) {
	p.metrics.called(t.method, outcome, took)
	if p.hedging != nil && t.idempotent && (outcome == 0 || outcome == excepted) {
		p.hedging.observe(t.method, took)
	}
}

// persist asks one host after the other, if need be.
func (p *Pool) persist(ctx context.Context, t *task) (answer, *fault) {
	for {
		a, f := p.attempt(ctx, t)
		if f == nil {
			return a, nil
		}
		t.sent = t.sent || f.sent
		if !p.again(t, f) {
			return a, f
		}
		t.failed = f
	}
}

// again tells whether a call is to be made once more after it failed.
func (p *Pool) again(t *task, f *fault) bool {
	// A host where nobody listens was asked nothing, and can't be overloaded by it.
	// When most hosts have died, every call meets some.
	refused := f.kind == undialled && errors.Is(f.err, syscall.ECONNREFUSED) && p.options.MaxAttempts > 1 && p.options.RetryRatio >= 0
	if refused {
		t.refused++
	}
	if t.attempts-t.refused >= p.options.MaxAttempts || !f.repeatable(t.idempotent) || !time.Now().Before(t.deadline) {
		return false
	}
	if f.received && !reset(t.result) {
		return false
	}
	if !refused && !p.budget.spend() {
		return false
	}
	p.metrics.retried()
	p.log.Debug("calling another host", "method", t.method, "failed", f.host, "error", f.err)
	defer t.lock()()
	t.dead = append(t.dead, f.host)
	return true
}

// reset empties a result that may have been filled in part, as it was when the
// generated client made it. It reports whether it could.
func reset(result thrift.TStruct) bool {
	if !hedgeable(result) {
		return false
	}
	reflect.ValueOf(result).Elem().SetZero()
	return true
}

// error is what the caller is told.
func (t *task) error(f *fault) error {
	e := &Error{Method: t.method, Host: f.host, Attempts: t.attempts, Sent: t.sent, Err: f.err}
	if f.kind == unserved && t.failed != nil {
		e.Host, e.Err = t.failed.host, t.failed.err
		if !errors.Is(f.err, serverset.ErrAllExcluded) {
			e.Err = fmt.Errorf("%w, after %w", f.err, t.failed.err)
		}
	}
	return e
}

// attempt asks one host.
func (p *Pool) attempt(ctx context.Context, t *task) (answer, *fault) {
	for {
		g, c, f := p.connection(ctx, t)
		if f != nil {
			return answer{}, f
		}
		a, f := p.askWith(ctx, g, c, t)
		if f == nil || f.kind != stale {
			return a, f
		}
		// No host was asked. There are only so many connections that were idle, and
		// the others may be dead as well.
		p.rouse()
	}
}

// askWith asks the host that was granted, over the connection if there is one.
func (p *Pool) askWith(ctx context.Context, g grant, c *conn, t *task) (answer, *fault) {
	begun := time.Now()
	t.ask(g.host.endpoint)
	defer t.ask("")
	// Generated code may panic, and the program live on.
	result := serverset.Abandoned
	defer func() { g.lease.Done(result) }()
	var a answer
	var f *fault
	deadline := p.attemptDeadline(t, begun)
	if c == nil {
		c, f = p.open(ctx, g, deadline)
	}
	if f == nil {
		a, f = p.exchange(ctx, c, t, deadline)
	}
	if f != nil {
		f.hasty = deadline.Equal(t.deadline) && t.hasty(begun)
	}
	result = outcome(f)
	if f == nil || f.kind != stale {
		t.attempts++
		p.attempted(ctx, t, g.host, outcomeOf(a, f), f, begun)
	}
	return a, f
}

// ask says which host is asked now; "" if none is.
func (t *task) ask(host string) {
	if t.shared {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.asking = host
	}
	if first := t.first; first != nil && host != "" {
		first.mu.Lock()
		defer first.mu.Unlock()
		first.dead = append(first.dead, host) // which the first doesn't need to ask any more
	}
}

// attempted tells those who want to know what came of asking a host.
func (p *Pool) attempted(ctx context.Context, t *task, h *host, kind faultKind, f *fault, begun time.Time) {
	hook := p.options.Hooks.Attempted
	if h.metrics == nil && hook == nil {
		return
	}
	took := time.Since(begun)
	h.metrics.attempted(kind, took)
	if t.first != nil {
		p.metrics.hedged()
	}
	if hook == nil {
		return
	}
	attempt := Attempt{Method: t.method, Host: h.endpoint, Number: t.attempts, Hedge: t.first != nil, Took: took}
	if f != nil {
		attempt.Err = f.err
	}
	hook(ctx, attempt)
}

// connection returns a connection that is in order, or none if one is to be
// opened.
func (p *Pool) connection(ctx context.Context, t *task) (grant, *conn, *fault) {
	for {
		g, err := p.choose(ctx, t)
		if err != nil {
			return g, nil, &fault{kind: unserved, err: err}
		}
		if g.evict != nil {
			g.evict.close()
		}
		// A wire looks into the connection itself, when it sends.
		if c := g.conn; c == nil || c.wire != nil && c.fresh(t.begun) || c.healthy(time.Now()) {
			return g, c, nil
		}
		p.discard(g.conn)
		g.lease.Done(serverset.Abandoned)
		p.rouse() // the others may be dead as well
	}
}

// choose acquires a connection to a host that hasn't failed this call yet.
func (p *Pool) choose(ctx context.Context, t *task) (grant, error) {
	unlock := t.lock()
	dead := slices.Clip(t.dead)
	unlock()
	return p.acquire(ctx, dead, t.deadline, t.first == nil)
}

// attemptDeadline is until when a host may answer that was chosen at a time. What
// it takes to connect to it counts.
func (p *Pool) attemptDeadline(t *task, chosen time.Time) time.Time {
	if own := chosen.Add(p.options.AttemptTimeout); own.Before(t.deadline) {
		return own
	}
	return t.deadline
}

// open opens the connection for which there is a right, until a deadline.
func (p *Pool) open(ctx context.Context, g grant, deadline time.Time) (*conn, *fault) {
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	c, err := p.dial(ctx, g.host, g.lease.Host())
	if err == nil {
		p.opened(c)
		return c, nil
	}
	p.forfeit(g.host)
	f := &fault{kind: undialled, err: err, host: g.host.endpoint}
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		f.kind, f.err = cancelled, ctx.Err()
	case p.cutting.Err() != nil:
		f.kind, f.err = cut, ErrClosed
	}
	return nil, f
}

// exchange makes the call over a connection, which then goes back or is closed.
func (p *Pool) exchange(ctx context.Context, c *conn, t *task, deadline time.Time) (answer, *fault) {
	// An error comes again when the connection is used.
	_ = c.conn.SetDeadline(deadline)
	watched := func() bool { return true }
	if ctx.Done() != nil {
		watched = context.AfterFunc(ctx, c.abort)
	}
	good := false // nor is it, if generated code panics
	defer func() {
		now := time.Now()
		if watched() && good && c.usable(now, p.options.MaxCalls) {
			p.release(c, now)
		} else {
			p.discard(c)
		}
	}()
	a, f := c.exchange(ctx, &t.message)
	if f != nil {
		p.explain(ctx, c, f)
	}
	good = f == nil
	return a, f
}

// hasty tells whether an attempt that begins now, or began then, leaves a host
// less than half of the time that the call had. If it times out, that isn't held
// against the host, or a crowded pool would have good hosts ejected.
func (t *task) hasty(begun time.Time) bool {
	return t.deadline.Sub(begun) < t.deadline.Sub(t.begun)/2
}

// explain says of a fault what the connection can't know.
func (p *Pool) explain(ctx context.Context, c *conn, f *fault) {
	f.host = c.host.endpoint
	if f.kind != broken && f.kind != timedOut {
		return
	}
	switch err := ctx.Err(); {
	case errors.Is(err, context.Canceled):
		f.kind, f.err = cancelled, err
	case err != nil || f.kind == timedOut:
		f.kind = timedOut
		f.err = thrift.NewTTransportExceptionFromError(fmt.Errorf("it didn't answer in time: %w", context.DeadlineExceeded))
	case p.cutting.Err() != nil:
		f.kind, f.err = cut, ErrClosed
	case !f.sent && c.reused:
		f.kind = stale
	}
}

// outcome is what an attempt says of its host.
func outcome(f *fault) serverset.Outcome {
	switch {
	case f == nil:
		return serverset.Answered
	case f.blames():
		return serverset.Failed
	default:
		return serverset.Abandoned
	}
}
