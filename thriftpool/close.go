package thriftpool

import (
	"context"
	"fmt"
	"math"
	"time"
)

// closing is the bit of Pool.calls that says that no more calls begin.
const closing = math.MinInt64

// enter begins a call, unless the pool is being closed.
func (p *Pool) enter() bool {
	p.starting.Do(p.start)
	if p.calls.Add(1) < 0 {
		p.leave()
		return false
	}
	return true
}

// leave ends a call.
func (p *Pool) leave() {
	if p.calls.Add(-1) == closing {
		p.draining.Do(func() { close(p.drained) })
	}
}

// Close lets no new calls begin, waits for those under way, and closes all
// connections. When ctx is done before, it cuts what is still under way, whose
// callers get ErrClosed, and returns an error that says so. It may be called
// again, and by several at once; all wait.
func (p *Pool) Close(ctx context.Context) error {
	p.starting.Do(func() {}) // never, if it hasn't been
	if p.calls.Or(closing) == 0 {
		p.draining.Do(func() { close(p.drained) })
	}
	var err error
	select {
	case <-p.drained:
	case <-ctx.Done():
		err = fmt.Errorf("closing the pool %q: calls under way were cut: %w", p.options.Name, ctx.Err())
		p.cutOff()
		<-p.drained
	}
	p.stopping.Do(p.finish)
	return err
}

// cutOff ends the calls under way.
func (p *Pool) cutOff() {
	p.cut()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	for c := range p.conns {
		c.abort()
	}
	for w := p.queue.first; w != nil; w = p.queue.first {
		p.queue.remove(w)
		w.ready <- grant{err: ErrClosed}
	}
}

// finish ends everything else, when no call is under way.
func (p *Pool) finish() {
	p.cut()
	if p.stop != nil {
		p.stop()
	}
	p.keeping.Wait()
	p.mu.Lock()
	p.ended = true
	p.mu.Unlock()
	p.closeIdle(func(*conn, time.Time) bool { return true })
	p.balancer.Close()
	p.metrics.unregister()
}
