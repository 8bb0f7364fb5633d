package serverset

import (
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// view is what a Balancer picks from: immutable, and replaced when hosts come,
// go, are ejected or admitted again.
type view struct {
	err   error   // why there is nothing to pick; else nil
	hosts []*Host // all, sorted by endpoint

	near   []*Host // those that are good and preferred; at least one if there are hosts
	good   []*Host // all that aren't ejected
	choose func() *Host

	ejected []trialDue // those whose trial is next first
	room    bool       // another host may be ejected
}

// trialDue is an ejected host, and when its trial may begin.
type trialDue struct {
	host *Host
	due  time.Time
}

// pick returns a host that isn't ejected or excluded; nil if there is none.
func (v *view) pick(exclude []string) *Host {
	if len(exclude) == 0 {
		return v.choose()
	}
	// Let the selector choose, who knows which hosts are busy.
	const tries = 3
	for range tries {
		if host := v.choose(); !slices.Contains(exclude, host.endpoint) {
			return host
		}
	}
	if host := anyBut(exclude, v.near); host != nil {
		return host
	}
	return anyBut(exclude, v.good)
}

// anyBut returns any of some hosts that isn't excluded; nil if there is none.
func anyBut(exclude []string, hosts []*Host) *Host {
	var chosen *Host
	seen := 0
	for _, host := range hosts {
		if slices.Contains(exclude, host.endpoint) {
			continue
		}
		seen++
		if rand.IntN(seen) == 0 {
			chosen = host
		}
	}
	return chosen
}

// anyDue tells whether the time of an ejected host is over. It doesn't ask for
// the time if none is ejected.
func (v *view) anyDue(now func() time.Time) bool {
	return len(v.ejected) > 0 && !now().Before(v.ejected[0].due)
}

// refresh posts a view of the hosts as they are. mu must be held.
func (b *Balancer) refresh() {
	last := b.views.load()
	v := &view{hosts: make([]*Host, 0, len(b.hosts))}
	for _, host := range b.hosts {
		v.hosts = append(v.hosts, host)
	}
	slices.SortFunc(v.hosts, func(a, b *Host) int { return strings.Compare(a.endpoint, b.endpoint) })
	for _, host := range v.hosts {
		if host.ejection.ejected {
			v.ejected = append(v.ejected, trialDue{host, host.ejection.due})
		} else {
			v.good = append(v.good, host)
		}
	}
	slices.SortStableFunc(v.ejected, func(a, b trialDue) int { return a.due.Compare(b.due) })
	v.room = len(v.ejected) < b.options.Ejection.limit(len(v.hosts))
	v.near = b.options.Zone.prefer(v.hosts, v.good)
	switch {
	case b.closed:
		v.err = ErrClosed
	case len(v.hosts) == 0:
		v.err = ErrNoHosts
	case slices.Equal(v.near, last.near):
		v.choose = last.choose
	default:
		v.choose = b.options.Selector(v.near)
	}
	b.views.post(v)
}
