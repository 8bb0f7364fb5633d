package thriftpool

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/kingpinfs/kingpin/serverset"
)

const (
	// How many connections are opened at once that no call waits for.
	maxOpening = 16
	// How long to wait after one of them could not be opened.
	reopenDelay = time.Second
)

// start begins to follow the hosts.
func (p *Pool) start() {
	ctx, stop := context.WithCancel(p.cutting)
	p.stop = stop
	p.balancer.Open()
	p.keeping.Go(func() { p.keep(ctx) })
}

// rouse has the keeper look at everything again.
func (p *Pool) rouse() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// hostChanged is told of hosts by the balancer. It may be called with mu held.
func (p *Pool) hostChanged(event serverset.Event) {
	if event.Kind == serverset.HostEjected {
		p.metrics.ejected()
	}
	p.rouse()
}

// keep closes idle connections in their time, and opens those that there are to
// be at least. It sleeps until there is something to do.
func (p *Pool) keep(ctx context.Context) {
	timer := time.NewTimer(forever)
	defer timer.Stop()
	for {
		next := p.closeIdle(p.due)
		p.followHosts()
		if p.options.MinConnsPerHost > 0 && !p.replenish(ctx) {
			next = min(next, jittered(reopenDelay))
		}
		timer.Reset(next)
		select {
		case <-ctx.Done():
			return
		case <-p.wake:
		case <-timer.C:
		}
	}
}

// followHosts forgets the hosts that left, and serves those that wait for hosts
// that came.
func (p *Pool) followHosts() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, h := range p.hosts {
		p.forgetHost(h)
	}
	p.dispatch()
}

// due tells whether an idle connection is to be closed, but for how many there
// are to be at least.
func (p *Pool) due(c *conn, now time.Time) bool {
	return left(c.id) || !c.healthy(now)
}

// closeIdle closes the idle connections that are due, and those that were idle for
// too long, and returns when to do it again.
func (p *Pool) closeIdle(due func(*conn, time.Time) bool) time.Duration {
	now, next := time.Now(), forever
	var ending []*conn
	p.mu.Lock()
	remaining := make(map[*host]int)
	for c := p.oldest; c != nil; c = c.newer {
		n, seen := remaining[c.host]
		if !seen {
			n = c.host.total
		}
		idleUntil := c.idleSince.Add(p.options.IdleTimeout)
		spare := n > p.options.MinConnsPerHost
		if due(c, now) || spare && !now.Before(idleUntil) {
			ending = append(ending, c)
			n--
		} else {
			// What isn't spare now may be, when its host has got more.
			next = min(next, c.expires.Sub(now), p.options.IdleTimeout)
			if spare {
				next = min(next, idleUntil.Sub(now))
			}
		}
		remaining[c.host] = n
	}
	for _, c := range ending {
		p.unlist(c)
	}
	p.armed = next < forever
	p.mu.Unlock()
	for _, c := range ending {
		p.discard(c)
	}
	return next
}

// replenish opens connections to hosts that have too few, as far as the limits
// go, and tells whether all could be opened.
func (p *Pool) replenish(ctx context.Context) bool {
	return p.openAll(ctx, p.options.MinConnsPerHost) == nil
}

// Warm opens connections before there are calls for them: MinConnsPerHost, but at
// least one, to each host, as far as MaxConns goes. It waits until the provider
// knows hosts. It returns an error if ctx is done before, or if no host can be
// connected to; one that can is enough.
func (p *Pool) Warm(ctx context.Context) error {
	if !p.enter() {
		return fmt.Errorf("warming the pool %q: %w", p.options.Name, ErrClosed)
	}
	defer p.leave()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(p.cutting, cancel)()
	err := p.balancer.Wait(ctx)
	if err == nil {
		err = p.openAll(ctx, max(1, p.options.MinConnsPerHost))
	}
	if p.cutting.Err() != nil {
		err = ErrClosed
	}
	if err != nil && (ctx.Err() != nil || !p.connected()) {
		return fmt.Errorf("warming the pool %q: %w", p.options.Name, err)
	}
	return nil
}

// connected tells whether there is a connection, which isn't just being opened.
func (p *Pool) connected() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.conns) > 0
}

// openAll sees to it that each host has so many connections, as far as the limits
// go, and gives up those that can't be opened. The error joins those of the hosts.
func (p *Pool) openAll(ctx context.Context, each int) error {
	// What another one is opening may not come to be.
	select {
	case p.filling <- struct{}{}:
		defer func() { <-p.filling }()
	case <-ctx.Done():
		return ctx.Err()
	}
	var (
		opening sync.WaitGroup
		places  = make(chan struct{}, maxOpening)
		mu      sync.Mutex // guards failed
		failed  []error
		late    error // why not all were tried
	)
	for _, id := range p.balancer.Hosts() {
		// One that fails makes room, but is not to be tried again at once.
		for range each {
			if late = ctx.Err(); late != nil {
				break
			}
			g, ok := p.reserve(id, each)
			if !ok {
				break
			}
			places <- struct{}{}
			opening.Go(func() {
				defer func() { <-places }()
				if err := p.openIdle(ctx, g); err != nil {
					mu.Lock()
					defer mu.Unlock()
					failed = append(failed, err)
				}
			})
		}
		if late != nil {
			break
		}
	}
	opening.Wait()
	return errors.Join(append(failed, late)...)
}

// reserve returns the right to open a connection to a host that has fewer than so
// many, if the limits allow it and the host isn't ejected.
func (p *Pool) reserve(id *serverset.Host, each int) (grant, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended || p.total >= p.options.MaxConns {
		return grant{}, false
	}
	if h := p.hosts[id.Endpoint()]; h != nil && h.total >= min(each, p.options.MaxConnsPerHost) {
		return grant{}, false
	}
	lease, ok := p.balancer.Take(id)
	if !ok {
		return grant{}, false
	}
	h := p.host(id)
	h.total++
	p.total++
	return grant{lease: lease, host: h}, true
}

// openIdle opens a connection that no call waits for yet.
func (p *Pool) openIdle(ctx context.Context, g grant) error {
	// DialTimeout alone bounds it: it is no attempt of a call.
	c, f := p.open(ctx, g, time.Now().Add(forever))
	g.lease.Done(outcome(f))
	if f != nil {
		return fmt.Errorf("host %q: %w", f.host, f.err)
	}
	p.release(c, time.Now())
	return nil
}
