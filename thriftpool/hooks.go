package thriftpool

import (
	"context"
	"time"
)

// Hooks are told what a pool does. Those that are nil aren't. They are called by
// the goroutines of the callers, so they should be quick; and they may be called
// by several at once.
type Hooks struct {
	// Dialled is told of each attempt to connect to a host.
	Dialled func(host string, took time.Duration, err error)
	// Attempted is told of each host that was asked, with the context of the call.
	Attempted func(ctx context.Context, attempt Attempt)
}

// Attempt is what came of asking one host.
type Attempt struct {
	Method string
	Host   string
	Number int  // of the host in this call, from 1
	Hedge  bool // a second host was asked before the first had answered
	Took   time.Duration
	// Err is nil if the host answered, be it with an exception.
	Err error
}

func (h *Hooks) dialled(host string, took time.Duration, err error) {
	if h.Dialled != nil {
		h.Dialled(host, took, err)
	}
}
