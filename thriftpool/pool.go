package thriftpool

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/apache/thrift/lib/go/thrift"

	"github.com/kingpinfs/kingpin/serverset"
)

// Pool is a thrift.TClient that makes each call over a connection of its own, to
// one of the hosts of a service. It is safe for concurrent use.
type Pool struct {
	options    Options
	log        *slog.Logger
	balancer   *serverset.Balancer
	budget     *budget
	idempotent map[string]bool
	client     thrift.TClient // call, with the middleware around it
	hedging    *hedging       // nil if no call is hedged
	metrics    *metrics       // nil if there are none

	// calls counts those under way; its highest bit says that no more begin.
	calls    atomic.Int64
	drained  chan struct{} // closed when none is under way, and none will be
	draining sync.Once     // closes it
	cutting  context.Context
	cut      context.CancelFunc // ends what is still under way

	starting sync.Once          // calls start, or nothing if the pool is closed first
	stop     context.CancelFunc // stops the keeper; nil if it was never started
	stopping sync.Once          // calls finish
	keeping  sync.WaitGroup     // the keeper
	wake     chan struct{}      // wakes it; has room for one
	filling  chan struct{}      // has room for one, who opens what there is to be at least

	mu    sync.Mutex         // guards the rest, and the lists that conns are in
	hosts map[string]*host   // by endpoint
	conns map[*conn]struct{} // all that are open
	total int                // conns, and those that are being opened
	idle  int                // how many of conns are idle
	// The ends of the list of idle connections.
	oldest, newest *conn
	queue          queue
	armed          bool // the keeper will look at the idle ones without being roused
	ended          bool // no connection is given out any more
}

var _ thrift.TClient = (*Pool)(nil)

// host is a host that the pool has, or had, connections to. Pool.mu guards it.
type host struct {
	id       *serverset.Host // another one when the endpoint has left and come back
	endpoint string
	metrics  *hostMetrics // nil if there are none
	total    int          // connections, and those that are being opened
	idle     *conn        // the one used last; the others follow it
}

// New returns a pool of connections to the hosts of a provider, which must be
// open, and must be closed after the pool. Nothing is started until the first
// call, or Warm. Close must be called all the same.
func New(provider serverset.Provider, options Options) (*Pool, error) {
	options, err := options.withDefaults()
	if err != nil {
		return nil, err
	}
	p := &Pool{
		options:    options,
		log:        options.Logger.With("pool", options.Name),
		budget:     newBudget(options.RetryRatio, options.RetryBurst),
		idempotent: make(map[string]bool, len(options.Idempotent)),
		drained:    make(chan struct{}),
		wake:       make(chan struct{}, 1),
		filling:    make(chan struct{}, 1),
		hosts:      make(map[string]*host),
		conns:      make(map[*conn]struct{}),
	}
	for _, method := range options.Idempotent {
		p.idempotent[method] = true
	}
	p.cutting, p.cut = context.WithCancel(context.Background())
	p.balancer = serverset.NewBalancer(provider, serverset.BalancerOptions{
		Selector: options.Selector, Ejection: options.Ejection, Zone: options.Zone,
		Logger:  p.log,
		OnEvent: p.hostChanged,
	})
	p.hedging = newHedging(&options)
	if p.metrics, err = newMetrics(p); err != nil {
		return nil, err
	}
	p.client = thrift.WrapClient(thrift.WrappedTClient{Wrapped: p.call}, options.Middleware...)
	return p, nil
}

// grant is what a call gets: a connection, or the right to open one.
type grant struct {
	lease serverset.Lease
	host  *host
	conn  *conn // nil: open one
	evict *conn // to be closed before
	err   error // instead of all that
}

// acquire returns a connection to a host that isn't excluded, or the right to
// open one. If it is patient it waits its turn until ctx is done or the deadline is
// over.
func (p *Pool) acquire(ctx context.Context, exclude []string, deadline time.Time, patient bool) (grant, error) {
	p.mu.Lock()
	if p.ended {
		p.mu.Unlock()
		return grant{}, ErrClosed
	}
	// Those who wait for some hosts only don't get what they could have had.
	if p.queue.anywhere == 0 {
		if g, ok := p.take(exclude); ok {
			p.mu.Unlock()
			return g, g.err
		}
	}
	if !patient {
		p.mu.Unlock()
		return grant{}, errBusy
	}
	w := p.queue.push(exclude)
	p.mu.Unlock()
	return p.await(ctx, w, deadline)
}

// take returns what a call may have now, if anything. mu must be held.
func (p *Pool) take(exclude []string) (g grant, ok bool) {
	if p.exhausted() {
		return grant{}, false
	}
	// The balancer doesn't know which hosts have no connection left; asking it
	// again a few times finds others.
	const tries = 3
	unwanted := exclude[:len(exclude):len(exclude)]
	for range tries {
		lease, err := p.balancer.Pick(unwanted...)
		if len(unwanted) > len(exclude) && (err != nil || lease.Trial()) {
			// The others are there, but busy: better wait for one of them than try,
			// call by call, one that fails.
			lease.Done(serverset.Abandoned)
			break
		}
		if err != nil {
			return grant{err: err}, true
		}
		if g, ok := p.takeFrom(p.host(lease.Host()), lease, exclude); ok {
			return g, true
		}
		lease.Done(serverset.Abandoned)
		unwanted = append(unwanted, lease.Endpoint())
	}
	return p.takeIdle(exclude, p.options.MaxConns)
}

// exhausted tells whether there is nothing to take, whatever the host. mu must be
// held.
func (p *Pool) exhausted() bool { return p.idle == 0 && p.total >= p.options.MaxConns }

// takeFrom returns what can be had of a host now, or something as good. mu must
// be held.
func (p *Pool) takeFrom(h *host, lease serverset.Lease, exclude []string) (g grant, ok bool) {
	g = grant{lease: lease, host: h}
	switch {
	case h.idle != nil:
		g.conn = h.idle
		p.unlist(g.conn)
		return g, true
	case h.total >= p.options.MaxConnsPerHost:
		return grant{}, false
	case p.total < p.options.MaxConns:
		p.total++
	case p.idle == 0:
		return grant{}, false
	default:
		// All connections are open and some are idle, though not to this host. One
		// of those is used; or, if this host has fewer than its part, makes way.
		if other, ok := p.takeIdle(exclude, h.total+1); ok {
			lease.Done(serverset.Abandoned)
			return other, true
		}
		g.evict = p.oldest
		p.unlist(g.evict)
		p.forget(g.evict)
	}
	h.total++
	return g, true
}

// takeIdle returns an idle connection to any host that may be asked, and has no
// more than so many. mu must be held.
func (p *Pool) takeIdle(exclude []string, most int) (g grant, ok bool) {
	const tries = 8
	c := p.newest
	for range tries {
		if c == nil {
			return grant{}, false
		}
		if c.host.total <= most && !contains(exclude, c.host.endpoint) {
			if lease, ok := p.balancer.Take(c.id); ok {
				p.unlist(c)
				return grant{lease: lease, host: c.host, conn: c}, true
			}
		}
		c = c.older
	}
	return grant{}, false
}

// host returns the record of a host. mu must be held.
func (p *Pool) host(id *serverset.Host) *host {
	endpoint := id.Endpoint()
	h := p.hosts[endpoint]
	if h == nil {
		h = &host{endpoint: endpoint, metrics: p.metrics.host(endpoint)}
		p.hosts[endpoint] = h
	}
	h.id = id
	return h
}

// opened adds a connection for which there was a right.
func (p *Pool) opened(c *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns[c] = struct{}{}
	if p.cutting.Err() != nil {
		c.abort()
	}
}

// forfeit gives the right to open a connection back.
func (p *Pool) forfeit(h *host) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.total--
	p.vacate(h)
	p.dispatch()
}

// release takes a connection back that can be used again.
func (p *Pool) release(c *conn, now time.Time) {
	c.reused = true
	p.mu.Lock()
	if p.ended || left(c.id) {
		p.mu.Unlock()
		p.discard(c)
		return
	}
	defer p.mu.Unlock()
	if p.hand(c) {
		return
	}
	p.list(c, now)
	p.dispatch()
}

// hand gives a connection to the call that has waited longest, unless its host
// has more than its part of them, or the call doesn't want that host. mu must be
// held.
func (p *Pool) hand(c *conn) bool {
	w := p.queue.first
	if w == nil || !w.anywhere() || c.host.total > p.share() {
		return false
	}
	lease, ok := p.balancer.Take(c.id)
	if !ok {
		return false
	}
	p.queue.remove(w)
	w.ready <- grant{lease: lease, host: c.host, conn: c}
	return true
}

// share is how many of the connections a host has if all have equally many. mu
// must be held.
func (p *Pool) share() int {
	hosts := max(len(p.balancer.Hosts()), 1)
	return (p.total + hosts - 1) / hosts
}

// discard closes a connection that was in use.
func (p *Pool) discard(c *conn) {
	c.close() // first: there are never more than allowed
	p.mu.Lock()
	defer p.mu.Unlock()
	p.forget(c)
	p.total--
	p.dispatch()
	if c.host.total < p.options.MinConnsPerHost {
		p.rouse() // to open another
	}
}

// forget takes a connection off the books of its host; its place in the total is
// the caller's. mu must be held.
func (p *Pool) forget(c *conn) {
	delete(p.conns, c)
	p.vacate(c.host)
}

// vacate takes one connection off a host's number. mu must be held.
func (p *Pool) vacate(h *host) {
	h.total--
	p.forgetHost(h)
}

// forgetHost drops the record of a host that left, after its last connection. mu
// must be held.
func (p *Pool) forgetHost(h *host) {
	if h.total == 0 && left(h.id) {
		delete(p.hosts, h.endpoint)
		p.metrics.hostLeft(h.metrics)
	}
}

// dispatch serves those who wait, the first ones first, as far as it goes. It is
// called whenever there may be something to give. mu must be held.
func (p *Pool) dispatch() {
	// Those who have excluded hosts may not be served when others can be. So many
	// of them are tried in vain.
	const lookahead = 16
	passed := 0
	for w := p.queue.first; w != nil && !p.exhausted() && (passed < lookahead || p.queue.anywhere > 0); {
		this := w
		w = w.next
		if passed == lookahead && !this.anywhere() {
			continue
		}
		switch g, ok := p.take(this.exclude); {
		case ok:
			p.queue.remove(this)
			this.ready <- g
		case this.anywhere():
			return
		default:
			passed++
		}
	}
}

// left tells whether a host isn't listed by the provider any more.
func left(h *serverset.Host) bool {
	select {
	case <-h.Gone():
		return true
	default:
		return false
	}
}
