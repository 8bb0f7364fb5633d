package serverset

import (
	"sync/atomic"
	"time"
)

// Host is one host that a Balancer knows, from when its provider first lists the
// endpoint until it no longer does. If the endpoint comes back, that is another
// Host. It is safe for concurrent use.
type Host struct {
	endpoint string
	zone     string
	owner    *Balancer
	gone     chan struct{}

	ejection ejection    // guarded by the owner's mu
	trying   atomic.Bool // a trial call is under way; set with the owner's mu held

	_ [64]byte // what each call changes has a cache line of its own

	outstanding atomic.Int64
	failures    atomic.Int32
	// term counts how often the host was ejected, admitted again or removed. A
	// report on a call that began in an earlier term is no news.
	term atomic.Uint32

	_ [48]byte
}

// ejection says whether and until when a host is ejected, and how long it was.
type ejection struct {
	ejected bool
	due     time.Time     // when a trial may begin
	length  time.Duration // of the last ejection, without jitter; 0: none, or long ago
	back    time.Time     // when it was admitted again
}

// Endpoint is where the host is, as host:port.
func (h *Host) Endpoint() string { return h.endpoint }

// Zone is what BalancerOptions.ZoneOf says of the endpoint.
func (h *Host) Zone() string { return h.zone }

// Outstanding is how many leases of the host aren't done yet.
func (h *Host) Outstanding() int { return int(h.outstanding.Load()) }

// Failures is how many calls have failed since one was answered, or since the
// host was admitted again.
func (h *Host) Failures() int { return int(h.failures.Load()) }

// Gone is closed when the provider no longer lists the host, or the Balancer is
// closed.
func (h *Host) Gone() <-chan struct{} { return h.gone }
