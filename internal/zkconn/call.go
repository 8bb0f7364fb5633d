package zkconn

import (
	"context"

	"github.com/go-zookeeper/zk"
)

// repeat says what may be done about a call whose connection broke.
type repeat bool

const (
	once  repeat = false // it may have happened: the caller must look
	twice repeat = true  // it changes nothing: ask again
)

// outcome is what a call inside the library came to.
type outcome[T any] struct {
	value T
	err   error
}

// call runs a blocking call of the library, as soon as there is a session, and
// returns when it has ended, or with ctx. A call that ctx abandons runs on by
// itself, until it is answered or the connection breaks.
func call[T any](ctx context.Context, c *Conn, r repeat, run func(*zk.Conn) (T, error)) (T, error) {
	var zero T
	for {
		l, err := c.awaitLink(ctx)
		if err != nil {
			return zero, err
		}
		pending, err := start(ctx, c, l, run)
		if err != nil {
			return zero, err
		}
		select {
		case o := <-pending:
			switch {
			case o.err == nil || c.ctx.Err() != nil:
				return o.value, c.explain(o.err)
			case neverSent(o.err):
				continue
			case r == twice && connectionLost(o.err):
				// Once only: it may be this very request, or its answer, that
				// makes the server hang up.
				r = once
				continue
			}
			return zero, o.err
		case <-ctx.Done():
			return zero, contextCause(ctx)
		}
	}
}

// start runs a call in a goroutine of its own; the outcome's channel never
// blocks. Its errors are that ctx ended, or that the Conn is closed, before
// the call could start.
func start[T any](ctx context.Context, c *Conn, l *link, run func(*zk.Conn) (T, error)) (<-chan outcome[T], error) {
	select {
	case c.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, contextCause(ctx)
	}
	pending := make(chan outcome[T], 1)
	started := c.spawn(func() {
		defer func() { <-c.slots }()
		value, err := run(l.zk)
		pending <- outcome[T]{value, err}
	})
	if !started {
		<-c.slots
		return nil, errClosed
	}
	return pending, nil
}

// spawn runs a task that Close waits for, unless the Conn is closed.
func (c *Conn) spawn(task func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.tasks.Go(task)
	return true
}

// explain replaces what the library says of a call that Close cut off.
func (c *Conn) explain(err error) error {
	if err != nil && connectionLost(err) && c.ctx.Err() != nil {
		return errClosed
	}
	return err
}
