package serverset

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"
)

var (
	// ErrNoHosts says that the provider lists nothing, and so there is nobody to
	// call. Wait waits until there is.
	ErrNoHosts = errors.New("the serverset has no hosts")
	// ErrAllExcluded says that there are hosts, and that the caller wants none of
	// them, or that the others are ejected and being tried.
	ErrAllExcluded = errors.New("no other host of the serverset is left")
	// ErrClosed says that the Balancer was closed, or not opened.
	ErrClosed = errors.New("the balancer is closed")
)

// BalancerOptions may be left zero.
type BalancerOptions struct {
	// Selector chooses among the hosts that are good. nil means
	// LeastOutstanding(). It must not be shared with another Balancer.
	Selector Selector
	// Ejection says when hosts are ejected.
	Ejection EjectionOptions
	// Zone says which hosts are preferred.
	Zone ZoneOptions
	// OnEvent is told of hosts that come, go, are ejected and admitted again: in
	// order, one event at a time, after the change, with no lock held. It is called
	// by whoever causes an event, a caller of Done among others, so it should be
	// quick, and it must not call Open or Close.
	OnEvent func(Event)
	// Logger is told of ejections; nil means slog's default.
	Logger *slog.Logger
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Balancer says for each call of a client which host to make it to. It knows the
// hosts by a Provider, and ejects those that fail again and again, for a while,
// see EjectionOptions. It is safe for concurrent use. Pick and Done take no lock
// unless a host is ejected, or on trial.
type Balancer struct {
	provider Provider
	options  BalancerOptions

	views *board[*view] // posted to with mu held

	mu       sync.Mutex       // guards what follows, and each Host's ejection
	hosts    map[string]*Host // by endpoint
	opened   bool
	closed   bool
	pending  []Event // which OnEvent is still to be told of
	emitting bool    // somebody is telling it

	stop    context.CancelFunc
	running sync.WaitGroup
}

// NewBalancer returns a Balancer over the hosts of a provider, which must be
// open when the Balancer is opened, and closed after it. Before Open there is
// nothing to pick.
func NewBalancer(provider Provider, options BalancerOptions) *Balancer {
	if options.Selector == nil {
		options.Selector = LeastOutstanding()
	}
	if options.OnEvent == nil {
		options.OnEvent = func(Event) {}
	}
	if options.Logger == nil {
		options.Logger = slog.Default()
	}
	if options.Now == nil {
		options.Now = time.Now
	}
	options.Ejection = options.Ejection.withDefaults()
	options.Zone = options.Zone.withDefaults()
	return &Balancer{
		provider: provider,
		options:  options,
		views:    newBoard(&view{err: ErrClosed}),
		hosts:    make(map[string]*Host),
	}
}

// Open takes the hosts that the provider has now, and follows what becomes of
// them until Close. It may be called once.
func (b *Balancer) Open() {
	ctx, stop := context.WithCancel(context.Background())
	b.mu.Lock()
	if b.opened || b.closed {
		b.mu.Unlock()
		stop()
		panic("serverset: a Balancer is opened twice, or after it was closed")
	}
	b.opened, b.stop = true, stop
	b.mu.Unlock()
	b.update(b.provider.Endpoints())
	b.running.Go(func() {
		for endpoints := range b.provider.Watch(ctx) {
			b.update(endpoints)
		}
	})
}

// Close ends the following and waits until it has. Then Pick fails, and each
// host is gone. It may be called again, which does nothing.
func (b *Balancer) Close() {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return
	}
	b.closed = true
	if b.stop != nil {
		b.stop()
	}
	b.mu.Unlock()
	b.running.Wait()
	b.update(nil)
	b.views.close()
}

// Pick returns a lease of the host to make the next call to, which isn't one of
// the excluded endpoints: those that have already failed, for example, if the
// call is made again. It never blocks.
//
// An ejected host is picked only if its time is over, or if all others are
// excluded, and only for one call at a time.
//
// The errors are ErrNoHosts, ErrAllExcluded and ErrClosed.
func (b *Balancer) Pick(exclude ...string) (Lease, error) {
	v := b.views.load()
	if v.err != nil {
		return Lease{}, v.err
	}
	if v.anyDue(b.options.Now) {
		if lease, ok := b.pickTrial(exclude, true); ok {
			return lease, nil
		}
	}
	if host := v.pick(exclude); host != nil {
		return host.lease(false), nil
	}
	if lease, ok := b.pickTrial(exclude, false); ok {
		return lease, nil
	}
	return Lease{}, ErrAllExcluded
}

// Wait returns when there is a host, at once if there already is. The error is
// ctx's cause, or ErrClosed.
func (b *Balancer) Wait(ctx context.Context) error {
	for v := range b.views.watch(ctx) {
		if len(v.hosts) > 0 {
			return nil
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return ErrClosed
}

// Hosts returns all hosts, sorted by endpoint, ejected or not: a snapshot that
// is shared and must not be modified, found without a lock.
func (b *Balancer) Hosts() []*Host { return b.views.load().hosts }

// HostStatus is what a Balancer thinks of a host.
type HostStatus struct {
	Host    *Host
	Ejected bool
	// Until is when a trial may begin, if the host is ejected.
	Until time.Time
	// Trying says that a trial call is under way.
	Trying bool
}

// Status describes all hosts, sorted by endpoint.
func (b *Balancer) Status() []HostStatus {
	b.mu.Lock()
	defer b.mu.Unlock()
	hosts := b.views.load().hosts
	status := make([]HostStatus, 0, len(hosts))
	for _, h := range hosts {
		e := &h.ejection
		s := HostStatus{Host: h, Ejected: e.ejected, Trying: h.trying.Load()}
		if e.ejected {
			s.Until = e.due
		}
		status = append(status, s)
	}
	return status
}
