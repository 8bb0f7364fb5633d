package thriftpool

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/apache/thrift/lib/go/thrift"

	"github.com/kingpinfs/kingpin/serverset"
)

// conn is a connection to a host, with its protocol. One call at a time has it;
// abort alone may be called by others meanwhile.
type conn struct {
	stream
	raw      net.Conn // beneath TLS
	peek     *peeker  // nil if the connection can't be looked into
	protocol thrift.TProtocol
	header   *thrift.THeaderProtocol // protocol, if it is that

	host    *host
	id      *serverset.Host // host.id, when it was opened
	expires time.Time       // when it is too old
	calls   int
	reused  bool // it was idle

	seq int32
	// The messages since the last answer were oneway: from this one on.
	oneways int32

	abort   func() // cuts whatever is under way; may be called again
	aborted atomic.Bool

	// In the lists of the pool, while it is idle. Guarded by Pool.mu.
	idleSince    time.Time
	older, newer *conn // of all hosts
	next         *conn // of the host
}

func newConn(netConn, raw net.Conn, options *Options) *conn {
	c := &conn{raw: raw, stream: stream{
		conn: netConn, wire: newWire(netConn), transport: options.Transport,
		maxFrame: options.MaxFrameSize, maxMessage: options.MaxMessageSize,
	}}
	config := options.configuration()
	switch {
	case options.Transport == Header:
		c.header = thrift.NewTHeaderProtocolConf(&c.stream, config)
		c.protocol = c.header
	case options.Protocol == Compact:
		c.protocol = thrift.NewTCompactProtocolConf(&c.stream, config)
	default:
		c.protocol = thrift.NewTBinaryProtocolConf(&c.stream, config)
	}
	c.peek = newPeeker(netConn, raw)
	c.abort = func() {
		if c.aborted.CompareAndSwap(false, true) {
			// Closing TLS in good order could wait for the peer.
			_ = raw.Close() // whoever uses it hears of it
		}
	}
	return c
}

// close ends a connection that nothing is under way on.
func (c *conn) close() {
	if c.failed == nil && c.aborted.CompareAndSwap(false, true) {
		_ = c.conn.Close() // there is nothing left to lose
		return
	}
	c.abort()
}

// message is what a call sends and where it wants the answer.
type message struct {
	method string // as in the answer
	name   string // as in the call: with the service, if that is one of several
	args   thrift.TStruct
	result thrift.TStruct // nil for a oneway method
}

// answer is what came of a call.
type answer struct {
	meta thrift.ResponseMeta
	// exception is what the server answered instead of a result.
	exception error
}

// exchange makes one call. The fault is nil if the server answered it, be it
// with an exception.
func (c *conn) exchange(ctx context.Context, m *message) (answer, *fault) {
	c.begin(m.result != nil)
	c.calls++
	c.seq++
	if err := c.write(ctx, m); err != nil {
		return answer{}, c.fault(unencodable, fmt.Errorf("writing the call: %w", err))
	}
	if m.result == nil {
		return answer{}, nil
	}
	exception, err := c.read(ctx, m)
	if err != nil {
		return answer{}, c.fault(garbled, fmt.Errorf("reading the answer: %w", err))
	}
	c.oneways = c.seq + 1
	var a answer
	if c.header != nil {
		a.meta.Headers = c.header.GetReadHeaders()
	}
	if exception != nil { // an interface that holds nil wouldn't be nil
		a.exception = exception
	}
	return a, nil
}

// fault says what failed: the connection if it did, else the kind given.
func (c *conn) fault(kind faultKind, err error) *fault {
	var misread thrift.TProtocolException
	switch {
	case c.failed != nil:
		kind, err = broken, thrift.NewTTransportExceptionFromError(c.failed)
		if isTimeout(c.failed) {
			kind = timedOut
		}
	case kind == garbled && (c.oversize || errors.As(err, &misread) && misread.TypeId() == thrift.SIZE_LIMIT):
		kind = oversize
	}
	return &fault{kind: kind, err: err, sent: c.sent > 0, received: c.received > 0}
}

func (c *conn) write(ctx context.Context, m *message) error {
	out := c.protocol
	if c.header != nil {
		c.header.ClearWriteHeaders()
		for _, key := range thrift.GetWriteHeaderList(ctx) {
			if value, ok := thrift.GetHeader(ctx, key); ok {
				c.header.SetWriteHeader(key, value)
			}
		}
	}
	kind := thrift.CALL
	if m.result == nil {
		kind = thrift.ONEWAY
	}
	if err := out.WriteMessageBegin(ctx, m.name, kind, c.seq); err != nil {
		return err
	}
	if err := m.args.Write(ctx, out); err != nil {
		return err
	}
	if err := out.WriteMessageEnd(ctx); err != nil {
		return err
	}
	return out.Flush(ctx)
}

// read reads the answer. An error leaves the stream anywhere.
func (c *conn) read(ctx context.Context, m *message) (exception thrift.TApplicationException, err error) {
	in := c.protocol
	for {
		method, kind, seq, err := in.ReadMessageBegin(ctx)
		if err != nil {
			return nil, err
		}
		// A server may answer even a oneway call, if it doesn't know the method.
		late := kind == thrift.EXCEPTION && seq >= c.oneways && seq < c.seq
		switch {
		case seq != c.seq && !late:
			return nil, fmt.Errorf("it answers message %d, not %d", seq, c.seq)
		case method != m.method && !late:
			return nil, fmt.Errorf("it answers %q", method)
		case kind == thrift.REPLY:
			if err := m.result.Read(ctx, in); err != nil {
				return nil, err
			}
		case kind == thrift.EXCEPTION:
			exception = thrift.NewTApplicationException(thrift.UNKNOWN_APPLICATION_EXCEPTION, "")
			if err := exception.Read(ctx, in); err != nil {
				return nil, err
			}
		default:
			return nil, fmt.Errorf("it is a message of type %d", kind)
		}
		if err := in.ReadMessageEnd(ctx); err != nil {
			return nil, err
		}
		if !late {
			return exception, nil
		}
		exception = nil
	}
}

// usable tells whether another call can be made after one that was answered.
func (c *conn) usable(now time.Time, maxCalls int) bool {
	switch {
	case !c.atRest(), c.aborted.Load(), !now.Before(c.expires), maxCalls > 0 && c.calls >= maxCalls:
		return false
	case c.header != nil && c.header.Transport().RemainingBytes() != thrift.UnknownRemainingBytes:
		return false // something of the last frame is left
	}
	return true
}

// fresh tells whether an idle connection can be used, as far as is known without
// looking into it.
func (c *conn) fresh(now time.Time) bool {
	return c.failed == nil && !c.aborted.Load() && now.Before(c.expires)
}

// healthy tells whether an idle connection is still in order: the server has
// neither closed it nor sent what nobody asked for. It doesn't wait.
func (c *conn) healthy(now time.Time) bool { return c.fresh(now) && c.peek.quiet() }
