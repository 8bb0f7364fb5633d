package serverset

// Outcome is what a call says of the host that it was made to.
type Outcome int

const (
	// Abandoned says nothing: the call was not made, or the caller lost interest
	// in it. It is the zero value.
	Abandoned Outcome = iota
	// Answered says that the host did its work. It may have answered with an
	// error of the application.
	Answered
	// Failed says that the host couldn't be connected to, broke the connection,
	// answered nonsense, or not in time.
	Failed
)

// Lease is one call's use of a host, from Pick until Done. The zero value is a
// lease of nothing, whose Done does nothing.
type Lease struct {
	host  *Host
	term  uint32
	trial bool
}

// Host is the host to call; nil for the zero value.
func (l Lease) Host() *Host { return l.host }

// Endpoint is where to call, as host:port; "" for the zero value.
func (l Lease) Endpoint() string {
	if l.host == nil {
		return ""
	}
	return l.host.endpoint
}

// Trial tells that the host is ejected, and that it depends on this call
// whether it comes back. The next trial waits for the lease to be done.
func (l Lease) Trial() bool { return l.trial }

// Done reports how the call went and gives the lease back. It must be called
// exactly once for each lease, and may be called after the host has left, and
// after the Balancer was closed.
//
// A report on a call that began before the host was ejected, or was admitted
// again, counts for nothing but the number of calls outstanding.
func (l Lease) Done(outcome Outcome) {
	if l.host != nil {
		l.host.owner.done(l, outcome)
	}
}
