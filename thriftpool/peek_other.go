//go:build !linux

package thriftpool

import "net"

// peeker looks into an idle connection: elsewhere than on Linux it can't, and
// takes it for quiet.
type peeker struct{}

func newPeeker(net.Conn, net.Conn) *peeker { return nil }

func (*peeker) quiet() bool { return true }

// impatient is a connection beneath TLS.
type impatient struct{ net.Conn }
