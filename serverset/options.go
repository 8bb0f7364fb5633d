package serverset

import (
	"slices"
	"time"
)

// EjectionOptions say when a Balancer ejects hosts. Those left zero have the
// defaults.
//
// A host is ejected when several calls in a row have failed. After a time it is
// given one call on trial, and no other until that one is done. If it is
// answered the host is admitted again, else it stays ejected for twice the time,
// and so on up to a bound. A host that has then been good for as long as that
// bound begins anew with the shortest time.
//
// Not all can be ejected. A share of them may be, rounded down, but one at
// least; and a single host never is. So with the default share of 0.2 there can
// be ejected:
//
//	of 1 host: none. A host that may fail is better than none.
//	of 2, 3 or 4: one, so that one dead host doesn't fail every other call. It is
//	    more than the share, and the others have to do its work: 2 times, 1.5
//	    times and 1.33 times as much as before.
//	of 5 to 9: one. Of 10: two. Of 100: twenty.
//
// When hosts leave so that more are ejected than may be, those whose trial is
// next are admitted again without one.
type EjectionOptions struct {
	// Failures is how many calls in a row must fail. 0 means 3; less than 0 that
	// hosts are never ejected.
	Failures int
	// MaxShare is the share of all hosts that may be ejected at a time, from 0 to
	// 1. 0 means 0.2; less than 0 that hosts are never ejected.
	MaxShare float64
	// Time is how long the first ejection lasts, up to 20% more or less at random.
	// 0 means 5 s.
	Time time.Duration
	// MaxTime is the bound for those that follow. 0 means 2 minutes; less than
	// Time counts as Time.
	MaxTime time.Duration
}

// ZoneOptions say which hosts are near. A serverset says nothing of zones; a
// program may know them by addresses or names.
//
// Calls go to hosts of the caller's own zone as long as enough of them are good.
// Otherwise they go to the hosts of all zones, so that what is left of the own
// zone doesn't get the calls of the whole.
type ZoneOptions struct {
	// Own is the caller's zone; "" means that all hosts are equally near.
	Own string
	// Of returns the zone of an endpoint, "" if that isn't known. It is called once
	// for each Host, must not block, and must not call the Balancer.
	Of func(endpoint string) string
	// MinHosts is how many hosts in the own zone must be good. 0 means 2.
	MinHosts int
	// MinShare is the share of the hosts in the own zone that must be good, from 0
	// to 1. 0 means 0.5; less than 0 that MinHosts alone counts.
	MinShare float64
}

// never is EjectionOptions.MaxShare if no host is to be ejected.
const never = -1

func (o EjectionOptions) withDefaults() EjectionOptions {
	if o.Failures < 0 || o.MaxShare < 0 {
		o.MaxShare = never
	}
	if o.Failures == 0 {
		o.Failures = 3
	}
	if o.MaxShare == 0 {
		o.MaxShare = 0.2
	}
	if o.Time <= 0 {
		o.Time = 5 * time.Second
	}
	if o.MaxTime <= 0 {
		o.MaxTime = 2 * time.Minute
	}
	o.MaxTime = max(o.MaxTime, o.Time)
	return o
}

// limit returns how many of so many hosts may be ejected.
func (o EjectionOptions) limit(hosts int) int {
	if o.MaxShare == never || hosts < 2 {
		return 0
	}
	// Binary fractions must not lower it: 0.29 × 100 is 29, not 28.999999999999996.
	share := int(o.MaxShare*float64(hosts) + 1e-9)
	return min(max(share, 1), hosts-1)
}

func (o ZoneOptions) withDefaults() ZoneOptions {
	if o.MinHosts <= 0 {
		o.MinHosts = 2
	}
	if o.MinShare == 0 {
		o.MinShare = 0.5
	}
	return o
}

// prefer returns those of the good ones among some hosts that calls go to.
func (o ZoneOptions) prefer(hosts, good []*Host) []*Host {
	if o.Own == "" {
		return good
	}
	own, near := o.nearby(hosts), o.nearby(good)
	if len(near) < o.MinHosts || float64(len(near)) < o.MinShare*float64(len(own)) {
		return good
	}
	return near
}

// nearby returns the hosts in the own zone.
func (o ZoneOptions) nearby(hosts []*Host) []*Host {
	return slices.DeleteFunc(slices.Clone(hosts), func(h *Host) bool { return h.zone != o.Own })
}
