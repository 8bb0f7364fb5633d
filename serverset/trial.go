package serverset

import "slices"

// lease begins a call to a host.
func (h *Host) lease(trial bool) Lease {
	l := Lease{host: h, term: h.term.Load(), trial: trial}
	h.outstanding.Add(1)
	return l
}

// pickTrial returns the lease of an ejected host that isn't excluded and on
// trial already: one whose time is over, or any.
func (b *Balancer) pickTrial(exclude []string, mustBeDue bool) (Lease, bool) {
	v := b.views.load()
	if len(v.ejected) == 0 {
		return Lease{}, false
	}
	now := b.options.Now()
	for _, ejected := range v.ejected {
		if mustBeDue && now.Before(ejected.due) {
			break // and those that follow
		}
		host := ejected.host
		if host.trying.Load() || slices.Contains(exclude, host.endpoint) {
			continue
		}
		if lease, ok := b.try(host); ok {
			return lease, true
		}
	}
	return Lease{}, false
}

// try begins the trial of a host, if it is still ejected and nobody else has.
func (b *Balancer) try(host *Host) (Lease, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !host.ejection.ejected || host.trying.Load() {
		return Lease{}, false
	}
	host.trying.Store(true)
	return host.lease(true), true
}

// doneTrial ends a trial, unless something else has ended it.
func (b *Balancer) doneTrial(l Lease, outcome Outcome) {
	b.mu.Lock()
	defer b.flush()
	defer b.mu.Unlock()
	if l.host.term.Load() != l.term {
		return
	}
	switch {
	case outcome == Answered:
		b.readmit(l.host, "its trial was a success")
	case outcome == Failed && !b.options.Now().Before(l.host.ejection.due):
		b.eject(l.host)
	default:
		// A trial before its time, as the last resort, says nothing new if it fails.
		l.host.trying.Store(false)
		return
	}
	b.refresh()
}
