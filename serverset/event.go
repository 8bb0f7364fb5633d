package serverset

import "time"

// EventKind is what has happened to a host.
type EventKind int

// What can happen to a host.
const (
	HostJoined     EventKind = iota + 1 // the provider lists it
	HostLeft                            // the provider doesn't list it any more
	HostEjected                         // it has failed too often, or its trial has failed
	HostReadmitted                      // its trial was a success, or too many were ejected
)

// Event is something that has happened to a host.
type Event struct {
	Kind EventKind
	Host *Host
	// For is how long a host is ejected until a trial may begin. It is 0 for other
	// events.
	For time.Duration
}

// tell has flush tell of an event. mu must be held.
func (b *Balancer) tell(event Event) { b.pending = append(b.pending, event) }

// flush tells OnEvent what it is still to be told, unless another goroutine is
// telling it, which then tells of the rest. mu must not be held.
func (b *Balancer) flush() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.emitting {
		return
	}
	b.emitting = true
	for len(b.pending) > 0 {
		events := b.pending
		b.pending = nil
		b.mu.Unlock()
		for _, event := range events {
			b.options.OnEvent(event)
		}
		b.mu.Lock()
	}
	b.emitting = false
}
