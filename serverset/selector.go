package serverset

import (
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
)

// Selector prepares for choosing between some hosts, and returns what chooses.
// It is called by one goroutine at a time, whenever there are other hosts to
// choose from, which are at least one, sorted by endpoint, and never modified.
// choose must return one of them, and be safe for concurrent use, cheap, and
// without a lock. It may be called for a while after the next call of Selector.
//
// A Selector serves one Balancer.
type Selector func(hosts []*Host) (choose func() *Host)

// Random chooses any host, each as likely as the others.
func Random() Selector {
	return func(hosts []*Host) func() *Host {
		return func() *Host { return hosts[rand.IntN(len(hosts))] }
	}
}

// LeastOutstanding chooses the one of two random hosts that has fewer calls
// outstanding: nearly as good as the best of all, and many who choose at once
// don't all choose the same.
//
// A host that fails at once never has calls outstanding, and so would get the
// most. Therefore one that has failed more often than the other since its last
// answer is compared with it only now and then: half as often for each failure,
// down to one time in sixteen, which is enough to notice that it is well again.
func LeastOutstanding() Selector {
	return func(hosts []*Host) func() *Host {
		if len(hosts) == 1 {
			return func() *Host { return hosts[0] }
		}
		return func() *Host {
			i := rand.IntN(len(hosts))
			j := rand.IntN(len(hosts) - 1)
			if j >= i {
				j++
			}
			return better(hosts[i], hosts[j])
		}
	}
}

// better returns the one of two hosts to give a call to.
func better(a, b *Host) *Host {
	const maxHalvings = 4
	more := a.failures.Load() - b.failures.Load()
	if more < 0 {
		a, b, more = b, a, -more
	}
	mask := uint32(1)<<min(more, maxHalvings) - 1
	if more > 0 && rand.Uint32()&mask != 0 {
		return b
	}
	if b.outstanding.Load() < a.outstanding.Load() {
		return b
	}
	return a
}

// RoundRobin chooses one host after the other, in the order of their endpoints.
// It goes on from where it is when hosts come or go, so that each gets its turn
// once in a round whatever happens to the others. The first is a random one, lest
// the clients of a fleet that start together go round together.
func RoundRobin() Selector {
	var last *round
	return func(hosts []*Host) func() *Host {
		r := &round{hosts: hosts}
		first := rand.IntN(len(hosts))
		if last != nil {
			first = successor(hosts, last.lastChosen())
		}
		r.turn.Store(uint64(first))
		last = r
		return r.next
	}
}

// round goes round some hosts.
type round struct {
	hosts []*Host
	turn  atomic.Uint64 // the next, modulo their number
}

func (r *round) next() *Host {
	return r.hosts[(r.turn.Add(1)-1)%uint64(len(r.hosts))]
}

// lastChosen returns the host whose turn is over. The turn of the first is when
// nobody chose since.
func (r *round) lastChosen() string {
	n := uint64(len(r.hosts))
	return r.hosts[(r.turn.Load()+n-1)%n].endpoint
}

// successor returns the first host whose endpoint comes after one, or the first of
// all.
func successor(hosts []*Host, endpoint string) int {
	i, found := slices.BinarySearchFunc(hosts, endpoint, func(h *Host, endpoint string) int {
		return strings.Compare(h.endpoint, endpoint)
	})
	if found {
		i++
	}
	return i % len(hosts)
}
