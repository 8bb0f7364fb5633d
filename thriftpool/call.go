package thriftpool

import (
	"context"
	"errors"
	"fmt"
	"reflect"
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
	deadline   time.Time // of the whole call
	idempotent bool

	attempts int
	sent     bool     // a server may have received it
	failed   *fault   // of the attempt before
	dead     []string // hosts that failed it
	stale    []string // hosts where an idle connection was dead
}

// run makes a call, to one host after the other if need be.
func (p *Pool) run(ctx context.Context, m *message) (thrift.ResponseMeta, error) {
	if err := ctx.Err(); err != nil {
		return thrift.ResponseMeta{}, &Error{Method: m.method, Err: err}
	}
	if !p.enter() {
		return thrift.ResponseMeta{}, &Error{Method: m.method, Err: ErrClosed}
	}
	defer p.leave()
	p.budget.earn()
	t := task{message: *m, deadline: time.Now().Add(p.options.Timeout)}
	if deadline, ok := ctx.Deadline(); ok && deadline.Before(t.deadline) {
		t.deadline = deadline
	}
	t.idempotent = p.idempotent[m.method] || ctx.Value(idempotentKey{}) != nil
	for {
		meta, err, f := p.attempt(ctx, &t)
		if f == nil {
			return meta, err
		}
		t.sent = t.sent || f.sent
		if !p.again(&t, f) {
			return meta, t.error(f)
		}
		t.failed = f
	}
}

// again tells whether a call is to be made once more after it failed.
func (p *Pool) again(t *task, f *fault) bool {
	if t.attempts >= p.options.MaxAttempts || !f.repeatable(t.idempotent) || !time.Now().Before(t.deadline) {
		return false
	}
	if f.received && !clear(t.result) {
		return false
	}
	if !p.budget.spend() {
		return false
	}
	if f.kind == stale {
		t.stale = append(t.stale, f.host)
	} else {
		t.dead = append(t.dead, f.host)
	}
	return true
}

// clear empties a result that may have been filled in part, as it was when the
// generated client made it. It reports whether it could.
func clear(result thrift.TStruct) bool {
	v := reflect.ValueOf(result)
	if v.Kind() != reflect.Pointer || v.IsNil() || v.Elem().Kind() != reflect.Struct {
		return false
	}
	v.Elem().SetZero()
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
func (p *Pool) attempt(ctx context.Context, t *task) (thrift.ResponseMeta, error, *fault) {
	g, c, f := p.connection(ctx, t)
	if f != nil {
		return thrift.ResponseMeta{}, nil, f
	}
	t.attempts++
	if c == nil {
		if c, f = p.open(ctx, g, t.deadline); f != nil {
			g.lease.Done(outcome(f))
			return thrift.ResponseMeta{}, nil, f
		}
	}
	meta, err, f := p.ask(ctx, c, t)
	g.lease.Done(outcome(f))
	return meta, err, f
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
		if g.conn == nil || g.conn.healthy(time.Now()) {
			return g, g.conn, nil
		}
		p.discard(g.conn)
		g.lease.Done(serverset.Abandoned)
		p.rouse() // the others may be dead as well
	}
}

// choose acquires a connection to a host that hasn't failed this call yet. One
// where only an idle connection was dead is better than none.
func (p *Pool) choose(ctx context.Context, t *task) (grant, error) {
	if len(t.stale) == 0 {
		return p.acquire(ctx, t.dead, t.deadline)
	}
	g, err := p.acquire(ctx, append(t.dead[:len(t.dead):len(t.dead)], t.stale...), t.deadline)
	if errors.Is(err, serverset.ErrAllExcluded) {
		return p.acquire(ctx, t.dead, t.deadline)
	}
	return g, err
}

// open opens the connection for which there is a right.
func (p *Pool) open(ctx context.Context, g grant, deadline time.Time) (*conn, *fault) {
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	c, err := p.dial(ctx, g.host)
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

// ask makes the call over a connection, which then goes back or is closed.
func (p *Pool) ask(ctx context.Context, c *conn, t *task) (thrift.ResponseMeta, error, *fault) {
	begun := time.Now()
	deadline := t.deadline
	if own := begun.Add(p.options.AttemptTimeout); own.Before(deadline) {
		deadline = own
	}
	// An error comes again when the connection is used.
	_ = c.conn.SetDeadline(deadline)
	watched := func() bool { return true }
	if ctx.Done() != nil {
		watched = context.AfterFunc(ctx, c.abort)
	}
	meta, err, f := c.exchange(ctx, &t.message)
	spared := watched()
	now := time.Now()
	if f != nil {
		p.explain(ctx, c, f)
	}
	if f == nil && spared && c.usable(now, p.options.MaxCalls) {
		p.release(c, now)
	} else {
		p.discard(c)
	}
	return meta, err, f
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
