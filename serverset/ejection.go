package serverset

import (
	"math/rand/v2"
	"slices"
	"time"
)

// update takes the list of a provider.
func (b *Balancer) update(endpoints []string) {
	b.mu.Lock()
	defer b.flush()
	defer b.mu.Unlock()
	listed := make(map[string]bool, len(endpoints))
	for _, endpoint := range endpoints {
		listed[endpoint] = true
		if b.hosts[endpoint] == nil {
			b.join(endpoint)
		}
	}
	var left []string
	for endpoint := range b.hosts {
		if !listed[endpoint] {
			left = append(left, endpoint)
		}
	}
	slices.Sort(left)
	for _, endpoint := range left {
		b.leave(endpoint)
	}
	b.readmitExcess()
	b.refresh()
}

// join adds a host. mu must be held.
func (b *Balancer) join(endpoint string) {
	host := &Host{endpoint: endpoint, owner: b, gone: make(chan struct{})}
	if b.options.Zone.Of != nil {
		host.zone = b.options.Zone.Of(endpoint)
	}
	b.hosts[endpoint] = host
	b.tell(Event{Kind: HostJoined, Host: host})
}

// leave removes a host. mu must be held.
func (b *Balancer) leave(endpoint string) {
	host := b.hosts[endpoint]
	delete(b.hosts, endpoint)
	host.term.Add(1)
	host.ejection = ejection{}
	close(host.gone)
	b.tell(Event{Kind: HostLeft, Host: host})
}

// readmitExcess admits hosts again until no more are ejected than may be. mu
// must be held.
func (b *Balancer) readmitExcess() {
	var ejected []*Host
	for _, host := range b.hosts {
		if host.ejection.ejected {
			ejected = append(ejected, host)
		}
	}
	excess := len(ejected) - b.options.Ejection.limit(len(b.hosts))
	if excess <= 0 {
		return
	}
	slices.SortFunc(ejected, func(a, b *Host) int { return a.ejection.due.Compare(b.ejection.due) })
	for _, host := range ejected[:excess] {
		b.readmit(host, "more hosts are ejected than may be")
	}
}

// done is Lease.Done.
func (b *Balancer) done(l Lease, outcome Outcome) {
	l.host.outstanding.Add(-1)
	switch {
	case l.trial:
		b.doneTrial(l, outcome)
	case outcome == Abandoned || l.host.term.Load() != l.term:
	case outcome == Answered:
		// Most hosts are good, and what isn't written to stays in every cache.
		if l.host.failures.Load() != 0 {
			l.host.failures.Store(0)
		}
	default:
		failures := l.host.failures.Add(1)
		if int(failures) >= b.options.Ejection.Failures && b.views.load().room {
			b.ejectFailing(l)
		}
	}
}

// ejectFailing ejects the host of a lease, unless something has happened to it
// meanwhile, or too many are ejected.
func (b *Balancer) ejectFailing(l Lease) {
	b.mu.Lock()
	defer b.flush()
	defer b.mu.Unlock()
	if l.host.term.Load() != l.term || l.host.ejection.ejected || !b.views.load().room {
		return
	}
	if b.hosts[l.host.endpoint] != l.host {
		return // it was picked in the moment in which it left, and so has the term of after
	}
	b.eject(l.host)
	b.refresh()
}

// eject begins or prolongs the ejection of a host. mu must be held.
func (b *Balancer) eject(host *Host) {
	now, e := b.options.Now(), &host.ejection
	length := b.options.Ejection.next(e, now)
	wait := jittered(length)
	*e = ejection{ejected: true, due: now.Add(wait), length: length}
	host.trying.Store(false)
	host.term.Add(1)
	b.tell(Event{Kind: HostEjected, Host: host, For: wait})
	b.options.Logger.Warn("host ejected", "endpoint", host.endpoint, "for", wait, "failures", host.Failures())
}

// readmit ends the ejection of a host. mu must be held.
func (b *Balancer) readmit(host *Host, reason string) {
	host.ejection = ejection{length: host.ejection.length, back: b.options.Now()}
	host.trying.Store(false)
	host.failures.Store(0)
	host.term.Add(1)
	b.tell(Event{Kind: HostReadmitted, Host: host})
	b.options.Logger.Info("host admitted again", "endpoint", host.endpoint, "reason", reason)
}

// next returns how long the next ejection lasts after another one.
func (o EjectionOptions) next(last *ejection, now time.Time) time.Duration {
	begin := last.length == 0 || !last.ejected && now.Sub(last.back) >= o.MaxTime
	if begin {
		return o.Time
	}
	return min(2*last.length, o.MaxTime)
}

// jittered returns a time up to a fifth shorter or longer.
func jittered(d time.Duration) time.Duration {
	return d - d/5 + rand.N(2*d/5+1)
}
