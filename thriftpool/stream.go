package thriftpool

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"

	"github.com/apache/thrift/lib/go/thrift"
)

const (
	frameHeader = 4 // bytes of a frame's size
	inBuffer    = 4 << 10
	// The most that a connection keeps allocated for the next message, and that
	// an unframed message gathers before it begins to be sent.
	outBuffer = 64 << 10
	// What claims to be a larger frame is none, but text, an unframed message or a
	// TLS record.
	maxPlausible = 1 << 28
)

// errBroken is what protocols hear when the connection failed; stream.failed has
// the reason. It is opaque because the library's protocols repeat a read that
// timed out until the context ends, which here would be a busy loop.
var errBroken = errors.New("the connection failed")

// errUnquiet is why a call wasn't sent.
var errUnquiet = errors.New("the server has closed the connection, or sent something unasked")

// stream is the transport beneath every protocol: it carries one message at a
// time over a connection. Against the library's transports it knows three things
// that a pool must know: how many bytes of a message the kernel took, what
// exactly failed, and whether the stream stands between two messages.
//
// Nothing is sent before Flush, but for an unframed message that outgrows
// outBuffer. A message then takes one write, frame and all.
type stream struct {
	conn       net.Conn
	wire       *wire // conn, if that can be sent to in a better way
	transport  Transport
	maxFrame   int
	maxMessage int

	out  []byte // written since the last Flush, after room for the frame's size
	in   []byte // in[r:w] was received and not yet read
	r, w int
	left int // what may be read before a frame or the allowance ends
	// What the frames that are still to come of this message may hold.
	allowance int

	// Of the message that is being exchanged:
	answered bool  // there will be an answer
	sent     int   // bytes that the kernel took
	received int   // bytes that came
	oversize bool  // the answer is larger than allowed
	failed   error // why the connection can't be used any more
}

var (
	_ thrift.TTransport     = (*stream)(nil)
	_ thrift.TRichTransport = (*stream)(nil)
)

// begin makes the stream ready for the next message.
func (s *stream) begin(answered bool) {
	s.answered, s.sent, s.received, s.oversize = answered, 0, 0, false
	s.allowance, s.left = s.maxMessage, 0
	if s.transport == Buffered {
		s.left = s.maxMessage
	}
	s.resetOut()
}

func (s *stream) resetOut() {
	if cap(s.out) > outBuffer {
		s.out = nil
	}
	s.out = s.out[:0]
	if s.transport == Framed {
		s.out = append(s.out, 0, 0, 0, 0)
	}
}

// atRest tells whether the stream stands between two messages: nothing of the
// last one, and nothing unasked-for, is left to be read.
func (s *stream) atRest() bool {
	return s.failed == nil && s.r == s.w && (s.transport == Buffered || s.left == 0)
}

// Write implements thrift.TTransport.
func (s *stream) Write(p []byte) (int, error) {
	if err := s.makeRoom(len(p)); err != nil {
		return 0, err
	}
	s.out = append(s.out, p...)
	return len(p), nil
}

// WriteString implements thrift.TRichTransport.
func (s *stream) WriteString(p string) (int, error) {
	if err := s.makeRoom(len(p)); err != nil {
		return 0, err
	}
	s.out = append(s.out, p...)
	return len(p), nil
}

// WriteByte implements thrift.TRichTransport.
func (s *stream) WriteByte(c byte) error {
	if err := s.makeRoom(1); err != nil {
		return err
	}
	s.out = append(s.out, c)
	return nil
}

// makeRoom refuses n more bytes where no frame can hold them, and sends what an
// unframed message has gathered when that becomes much.
func (s *stream) makeRoom(n int) error {
	switch {
	case s.transport == Framed && len(s.out)-frameHeader+n > s.maxFrame:
		return fmt.Errorf("the call takes more than the %d bytes that a frame may have: raise MaxFrameSize", s.maxFrame)
	case s.transport == Buffered && len(s.out) > 0 && len(s.out)+n > outBuffer:
		return s.send(false)
	}
	return nil
}

// Flush implements thrift.TTransport: it sends what was written. The context
// plays no part; whoever gives up closes the connection.
func (s *stream) Flush(context.Context) error {
	if s.transport == Framed {
		if len(s.out) == frameHeader {
			return nil
		}
		binary.BigEndian.PutUint32(s.out, uint32(len(s.out)-frameHeader))
	}
	if len(s.out) == 0 {
		return nil
	}
	return s.send(s.answered)
}

// send sends what was written. If it is to wait it may wait for the answer.
func (s *stream) send(wait bool) error {
	defer s.resetOut()
	out := s.out
	if s.wire != nil && s.sent == 0 {
		n, err := s.wire.send(out, wait)
		s.sent = n
		if err != nil {
			return s.fail(err)
		}
		out = out[n:]
	}
	if len(out) == 0 {
		return nil
	}
	n, err := s.conn.Write(out)
	s.sent += n
	if err != nil {
		return s.fail(err)
	}
	return nil
}

func (s *stream) fail(err error) error {
	if s.failed == nil {
		s.failed = err
	}
	return errBroken
}

// Read implements thrift.TTransport. It never reads beyond the frame.
func (s *stream) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if s.left == 0 {
		if err := s.nextFrame(); err != nil {
			return 0, err
		}
	}
	p = p[:min(len(p), s.left)]
	var n int
	if s.r == s.w && len(p) >= inBuffer {
		var err error
		if n, err = s.receive(p); err != nil {
			return 0, err
		}
	} else {
		if err := s.fill(1); err != nil {
			return 0, err
		}
		n = copy(p, s.in[s.r:s.w])
		s.r += n
	}
	s.left -= n
	return n, nil
}

// ReadByte implements thrift.TRichTransport.
func (s *stream) ReadByte() (byte, error) {
	if s.left == 0 {
		if err := s.nextFrame(); err != nil {
			return 0, err
		}
	}
	if err := s.fill(1); err != nil {
		return 0, err
	}
	c := s.in[s.r]
	s.r++
	s.left--
	return c, nil
}

// nextFrame begins the next frame that isn't empty. The header transport reads
// its frames' sizes itself, so there they are only looked at.
func (s *stream) nextFrame() error {
	for s.left == 0 {
		if s.transport == Buffered {
			return s.tooLarge("the answer", s.maxMessage, "MaxMessageSize")
		}
		if err := s.fill(frameHeader); err != nil {
			return err
		}
		size := int64(binary.BigEndian.Uint32(s.in[s.r:]))
		if size > max(int64(s.maxFrame), maxPlausible) {
			return fmt.Errorf("the answer begins with %q, which is no frame: the server doesn't speak this transport", s.in[s.r:s.r+frameHeader])
		}
		if size > int64(s.maxFrame) {
			return s.tooLarge("a frame of the answer", s.maxFrame, "MaxFrameSize")
		}
		// Empty frames count as well, or they could go on for ever.
		if s.allowance -= frameHeader + int(size); s.allowance < 0 {
			return s.tooLarge("the answer", s.maxMessage, "MaxMessageSize")
		}
		s.left = int(size)
		if s.transport == Header {
			s.left += frameHeader
		} else {
			s.r += frameHeader
		}
	}
	return nil
}

func (s *stream) tooLarge(what string, limit int, option string) error {
	s.oversize = true
	return fmt.Errorf("%s has more than %d bytes: raise %s, or ask for less", what, limit, option)
}

// fill sees to it that n bytes, which fit the buffer, wait to be read.
func (s *stream) fill(n int) error {
	if s.w-s.r >= n {
		return nil
	}
	if s.in == nil {
		s.in = make([]byte, inBuffer)
	}
	s.w = copy(s.in, s.in[s.r:s.w])
	s.r = 0
	for s.w < n {
		got, err := s.receive(s.in[s.w:])
		if err != nil {
			return err
		}
		s.w += got
	}
	return nil
}

func (s *stream) receive(p []byte) (int, error) {
	n, err := s.conn.Read(p)
	s.received += n
	// An error that came with bytes comes again without.
	if n == 0 && err != nil {
		return 0, s.fail(err)
	}
	return n, nil
}

// RemainingBytes implements thrift.TTransport: an upper bound of what this
// message can still hold, by which the protocols refuse containers that claim
// more elements.
func (s *stream) RemainingBytes() uint64 { return uint64(s.left) }

// Open implements thrift.TTransport. The connection is open already.
func (s *stream) Open() error { return nil }

// IsOpen implements thrift.TTransport.
func (s *stream) IsOpen() bool { return s.failed == nil }

// Close implements thrift.TTransport.
func (s *stream) Close() error { return s.conn.Close() }
