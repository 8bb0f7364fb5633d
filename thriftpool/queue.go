package thriftpool

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/kingpinfs/kingpin/serverset"
)

// queue holds the calls that wait for a connection, in the order in which they
// came. Pool.mu guards it.
type queue struct {
	first, last *waiter
	length      int
	anywhere    int       // of them, how many take any host
	spare       sync.Pool // of waiters, for those to come; needs no mu
}

// waiter is a call that waits. Who takes it out of the queue owes it a grant.
type waiter struct {
	exclude    []string
	ready      chan grant // has room for one
	prev, next *waiter
	queued     bool
}

// anywhere tells whether the call takes any host.
func (w *waiter) anywhere() bool { return len(w.exclude) == 0 }

// push adds a waiter. It is to be awaited, which gives it back.
func (q *queue) push(exclude []string) *waiter {
	w, ok := q.spare.Get().(*waiter)
	if !ok {
		w = &waiter{ready: make(chan grant, 1)}
	}
	w.exclude, w.queued = exclude, true
	w.prev, w.next = q.last, nil
	if q.last == nil {
		q.first = w
	} else {
		q.last.next = w
	}
	q.last = w
	q.length++
	if w.anywhere() {
		q.anywhere++
	}
	return w
}

func (q *queue) remove(w *waiter) {
	if w.prev == nil {
		q.first = w.next
	} else {
		w.prev.next = w.next
	}
	if w.next == nil {
		q.last = w.prev
	} else {
		w.next.prev = w.prev
	}
	w.prev, w.next, w.queued = nil, nil, false
	q.length--
	if w.anywhere() {
		q.anywhere--
	}
}

// await returns what the waiter is granted.
func (p *Pool) await(ctx context.Context, w *waiter, deadline time.Time) (grant, error) {
	defer func() {
		w.exclude = nil
		p.queue.spare.Put(w)
	}()
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	var err error
	select {
	case g := <-w.ready:
		return g, g.err
	case <-ctx.Done():
		err = ctx.Err()
	case <-timer.C:
		err = context.DeadlineExceeded
	}
	p.withdraw(w)
	return grant{}, fmt.Errorf("waiting for one of %d connections: %w", p.options.MaxConns, err)
}

// withdraw takes a waiter out of the queue, who may have kept others from being
// served. What it was granted meanwhile goes back.
func (p *Pool) withdraw(w *waiter) {
	p.mu.Lock()
	if w.queued {
		p.queue.remove(w)
		p.dispatch()
		p.mu.Unlock()
		return
	}
	p.mu.Unlock()
	p.decline(<-w.ready)
}

// decline gives back what was granted.
func (p *Pool) decline(g grant) {
	if g.err != nil {
		return
	}
	g.lease.Done(serverset.Abandoned)
	if g.evict != nil {
		g.evict.close()
	}
	if g.conn == nil {
		p.forfeit(g.host)
		return
	}
	p.release(g.conn, time.Now())
}

// list adds a connection to the idle ones. mu must be held.
func (p *Pool) list(c *conn, now time.Time) {
	c.idleSince = now
	c.older, c.newer = p.newest, nil
	if p.newest == nil {
		p.oldest = c
	} else {
		p.newest.newer = c
	}
	p.newest = c
	if !p.armed {
		p.rouse()
	}
	c.next = c.host.idle
	c.host.idle = c
	p.idle++
}

// unlist removes a connection from the idle ones. mu must be held.
func (p *Pool) unlist(c *conn) {
	if c.older == nil {
		p.oldest = c.newer
	} else {
		c.older.newer = c.newer
	}
	if c.newer == nil {
		p.newest = c.older
	} else {
		c.newer.older = c.older
	}
	// Mostly it is the first: the one that was used last is used next.
	for at := &c.host.idle; ; at = &(*at).next {
		if *at == c {
			*at = c.next
			break
		}
	}
	c.older, c.newer, c.next = nil, nil, nil
	p.idle--
}

func contains(endpoints []string, endpoint string) bool {
	return len(endpoints) > 0 && slices.Contains(endpoints, endpoint)
}
