package thriftpool

// faultKind is what kept a server from answering.
type faultKind int

const (
	unserved    faultKind = iota + 1 // no connection was had: no host, no time, pool closed
	undialled                        // the host couldn't be connected to
	stale                            // an idle connection was dead: no host was asked
	unencodable                      // the arguments couldn't be written
	broken                           // the connection failed
	timedOut                         // there was no answer in time
	garbled                          // the answer can't be understood
	oversize                         // the answer is larger than allowed
	cancelled                        // the caller doesn't want the answer any more
	cut                              // Close didn't wait any longer
	excepted                         // no fault: it answered with an exception
	kinds
)

// fault is why one host didn't answer.
type fault struct {
	kind     faultKind
	err      error
	host     string
	sent     bool // the kernel took a byte of it
	received bool // the server sent a byte
	hasty    bool // the host didn't have much of the call's time
}

// blames tells whether the fault speaks against the host.
func (f *fault) blames() bool {
	switch f.kind {
	case undialled, timedOut:
		return !f.hasty
	case broken, garbled:
		return true
	default:
		return false
	}
}

// repeatable tells whether asking another host may help, and executes nothing
// twice.
func (f *fault) repeatable(idempotent bool) bool {
	switch f.kind {
	case undialled:
		return true
	case broken, timedOut, garbled:
		return !f.sent || idempotent
	default:
		return false
	}
}

// outcomeOf returns the outcome of an attempt, for metrics: 0 if it was answered
// as it should be.
func outcomeOf(a answer, f *fault) faultKind {
	switch {
	case f != nil:
		return f.kind
	case a.exception != nil:
		return excepted
	default:
		return 0
	}
}

// String names the outcome in metrics.
func (k faultKind) String() string {
	switch k {
	case unserved:
		return "unserved"
	case undialled:
		return "dial"
	case stale:
		return "stale"
	case unencodable:
		return "encode"
	case broken:
		return "broken"
	case timedOut:
		return "timeout"
	case garbled:
		return "garbled"
	case oversize:
		return "oversize"
	case cancelled:
		return "cancelled"
	case cut:
		return "closed"
	case excepted:
		return "exception"
	default:
		return "ok"
	}
}
