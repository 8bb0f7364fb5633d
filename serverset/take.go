package serverset

// Take returns a lease of a certain host, for callers that have something there
// already, such as a connection that is idle. It fails if the host has left or is
// ejected, or the Balancer is closed. It never blocks, and takes no lock.
func (b *Balancer) Take(host *Host) (Lease, bool) {
	v := b.views.load()
	if v.err != nil || host.left() {
		return Lease{}, false
	}
	for _, ejected := range v.ejected {
		if ejected.host == host {
			return Lease{}, false
		}
	}
	return host.lease(false), true
}

// left tells whether the host has left.
func (h *Host) left() bool {
	select {
	case <-h.gone:
		return true
	default:
		return false
	}
}
