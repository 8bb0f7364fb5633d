package thriftpool

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/kingpinfs/kingpin/serverset"
)

var (
	// ErrClosed is returned by calls on a pool that was closed, and by those that
	// Close cut.
	ErrClosed = errors.New("the pool is closed")
	// ErrNoHosts is returned by calls while the provider knows no host. Warm waits
	// until it does.
	ErrNoHosts = serverset.ErrNoHosts
)

// Error says why a call failed, unless the server answered it with an exception:
// a thrift.TApplicationException is returned as it came, and exceptions that the
// service declares are in the result, as always.
//
// errors.Is finds ErrClosed, ErrNoHosts, context.Canceled,
// context.DeadlineExceeded (also when the pool's own timeouts ended the call)
// and the errors of the network; errors.As finds thrift.TTransportException and
// thrift.TProtocolException.
type Error struct {
	Method   string
	Host     string // the last one asked; "" if none was
	Attempts int    // how many hosts were asked
	// Sent says that a server may have received the call, and executed it. If
	// it is false, calling again can't execute anything twice.
	Sent bool
	Err  error
}

// Error implements error.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "calling %q", e.Method)
	if e.Host != "" {
		fmt.Fprintf(&b, " on %q", e.Host)
	}
	if e.Attempts > 1 {
		fmt.Fprintf(&b, " (attempt %d)", e.Attempts)
	}
	fmt.Fprintf(&b, ": %v", e.Err)
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Timeout says whether the call failed because its time was over.
func (e *Error) Timeout() bool { return isTimeout(e.Err) }

func isTimeout(err error) bool {
	var timeout interface{ Timeout() bool }
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout()
}
