package thriftpool_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/apache/thrift/lib/go/thrift"

	"github.com/kingpinfs/kingpin/thriftpool"
	"github.com/kingpinfs/kingpin/thriftpool/internal/probe"
)

// reply is the framed binary answer to the first call of a connection, to echo
// with a string.
func reply(text string) []byte {
	b := binary.BigEndian.AppendUint32(nil, 0x80010000|uint32(thrift.REPLY))
	b = binary.BigEndian.AppendUint32(b, 4)
	b = append(b, "echo"...)
	b = binary.BigEndian.AppendUint32(b, 1)
	b = append(b, thrift.STRING, 0, 0)
	b = binary.BigEndian.AppendUint32(b, uint32(len(text)))
	b = append(b, text...)
	b = append(b, thrift.STOP)
	return framed(len(b), b...)
}

// TestFaults has a server that answers wrongly, and expects that the call fails
// in time, that its error says why, that the connection is closed, and that the
// same call is answered by another host if it is idempotent.
func TestFaults(t *testing.T) {
	good := reply("hello")
	isTransport := func(err error) bool { return errors.As(err, new(thrift.TTransportException)) }
	tests := []struct {
		name    string
		do      func(net.Conn)
		options thriftpool.Options
		is      func(error) bool
		text    string
		final   bool // another host would do the same
	}{
		{"closes at once", func(c net.Conn) { _ = c.Close() }, thriftpool.Options{}, isTransport, "", false},
		{"resets at once", reset, thriftpool.Options{}, isTransport, "", false},
		{"closes after the call", func(c net.Conn) { _, _ = request(c) }, thriftpool.Options{}, isTransport, "EOF", false},
		{"resets after the call", func(c net.Conn) { _, _ = request(c); reset(c) }, thriftpool.Options{}, isTransport, "reset", false},
		{"half-closes", func(c net.Conn) { halfClose(c); silence(c) }, thriftpool.Options{}, isTransport, "", false},
		{"closes after the size", func(c net.Conn) { _, _ = request(c); _, _ = c.Write(good[:4]) }, thriftpool.Options{}, isTransport, "EOF", false},
		{"closes in the message", func(c net.Conn) { _, _ = request(c); _, _ = c.Write(good[:len(good)-3]) }, thriftpool.Options{}, isTransport, "EOF", false},
		{"never answers", silence, thriftpool.Options{AttemptTimeout: 50 * time.Millisecond}, isTransport, "in time", false},
		{"hangs in the size", answering(good[:2]), thriftpool.Options{AttemptTimeout: 50 * time.Millisecond}, isTransport, "in time", false},
		{"hangs in the message", answering(good[:len(good)-3]), thriftpool.Options{AttemptTimeout: 50 * time.Millisecond}, isTransport, "in time", false},
		{"speaks HTTP", answering([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")), thriftpool.Options{}, nil, "no frame", false},
		{"speaks garbage", answering(framed(16, []byte("0123456789abcdef")...)), thriftpool.Options{}, isProtocol, "version", false},
		{"speaks the other protocol", answering(framed(4, 0x82, 0x41, 1, 0)), thriftpool.Options{}, isProtocol, "version", false},
		{"sends a large frame", answering(framed(1_000_001)), thriftpool.Options{MaxFrameSize: 1_000_000}, nil, "MaxFrameSize", true},
		{"sends a large string", answering(largeString()), thriftpool.Options{MaxMessageSize: 1_000_000}, isProtocol, "size exceeded", true},
		{"sends empty frames", func(c net.Conn) {
			_, _ = request(c)
			for {
				if _, err := c.Write(make([]byte, 4096)); err != nil {
					return
				}
			}
		}, thriftpool.Options{MaxMessageSize: 1_000_000}, nil, "MaxMessageSize", true},
		{"answers another method", answering([]byte(strings.Replace(string(good), "echo", "ohce", 1))), thriftpool.Options{}, nil, `"ohce"`, false},
		{"answers another call", answering([]byte(strings.Replace(string(good), "\x00\x00\x00\x01\x0b", "\x00\x00\x00\x07\x0b", 1))), thriftpool.Options{}, nil, "message 7", false},
		{"calls", answering([]byte(strings.Replace(string(good), "\x80\x01\x00\x02", "\x80\x01\x00\x01", 1))), thriftpool.Options{}, nil, "type 1", false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			bad := misbehave(t, test.do)
			pool := open(t, hostsOf(bad.endpoint), test.options)
			_, err := client(pool).Echo(within(t), "hello")
			e := failure(t, err)
			if e.Method != "echo" || e.Host != bad.endpoint || e.Attempts != 1 {
				t.Errorf("the error is %+v", e)
			}
			if !strings.Contains(err.Error(), test.text) || test.is != nil && !test.is(err) {
				t.Errorf("the call returned %v, want %q", err, test.text)
			}
			if stats := pool.Stats(); stats.Open != 0 {
				t.Errorf("connections are left: %+v", stats)
			}
			eventually(t, "the connection was closed", func() bool { return bad.open() == 0 })

			if test.final {
				return
			}
			good := serve(t, newHandler(), serverOptions{})
			options := test.options
			options.Idempotent = []string{"echo"}
			options.AttemptTimeout *= 20 // the good one has to make it
			both := open(t, hostsOf(bad.endpoint, good.endpoint()), options)
			for range 10 {
				if got, err := client(both).Echo(within(t), "hello"); err != nil || got != "hello" {
					t.Fatalf("with another host the call returned %q, %v", got, err)
				}
			}
		})
	}
}

func isProtocol(err error) bool { return errors.As(err, new(thrift.TProtocolException)) }

// largeString is an answer with a string that claims to be large.
func largeString() []byte {
	answer := reply("hello")
	binary.BigEndian.PutUint32(answer[4+4+4+4+4+3:], 1_000_001)
	return answer
}

// TestNotAgain has two hosts that take a call and don't answer it: it must not be
// made to the second unless that was allowed.
func TestNotAgain(t *testing.T) {
	asked := func(t *testing.T, options thriftpool.Options, ctx context.Context) (int64, *thriftpool.Error) {
		t.Helper()
		hang := func(c net.Conn) { _, _ = request(c) }
		a, b := misbehave(t, hang), misbehave(t, hang)
		pool := open(t, hostsOf(a.endpoint, b.endpoint), options)
		_, err := client(pool).Echo(ctx, "hello")
		return a.accepted.Load() + b.accepted.Load(), failure(t, err)
	}
	if n, err := asked(t, thriftpool.Options{}, within(t)); n != 1 || !err.Sent {
		t.Errorf("%d hosts were asked; %v, Sent=%v", n, err, err.Sent)
	}
	if n, err := asked(t, thriftpool.Options{Idempotent: []string{"ohce"}}, within(t)); n != 1 {
		t.Errorf("%d hosts were asked, though another method is idempotent; %v", n, err)
	}
	if n, err := asked(t, thriftpool.Options{MaxAttempts: 1, Idempotent: []string{"echo"}}, within(t)); n != 1 {
		t.Errorf("%d hosts were asked, though one may be; %v", n, err)
	}
	if n, err := asked(t, thriftpool.Options{RetryRatio: -1, Idempotent: []string{"echo"}}, within(t)); n != 1 {
		t.Errorf("%d hosts were asked, though there is no budget; %v", n, err)
	}
	if n, err := asked(t, thriftpool.Options{Idempotent: []string{"echo"}}, within(t)); n != 2 || err.Attempts != 2 {
		t.Errorf("%d hosts were asked, want each once; %v", n, err)
	}
	if n, err := asked(t, thriftpool.Options{}, thriftpool.WithIdempotent(within(t))); n != 2 || err.Attempts != 2 {
		t.Errorf("%d hosts were asked, want each once; %v", n, err)
	}
}

// TestUndialled has hosts that can't be connected to: any call goes elsewhere.
func TestUndialled(t *testing.T) {
	h := newHandler()
	s := serve(t, h, serverOptions{})
	pool := open(t, hostsOf(refusing(t), s.endpoint()), thriftpool.Options{})
	for i := range 50 {
		if n, err := client(pool).Count(within(t), "x"); err != nil || n != int64(i+1) {
			t.Fatalf("Count returned %d, %v", n, err)
		}
	}
	alone := open(t, hostsOf(refusing(t)), thriftpool.Options{})
	_, err := client(alone).Count(within(t), "x")
	if e := failure(t, err); e.Sent || e.Attempts != 1 || !strings.Contains(err.Error(), "refused") {
		t.Errorf("the error is %v, %+v", err, e)
	}
}

// TestUnencodable has arguments that can't be sent: that isn't the host's fault,
// and nothing is.
func TestUnencodable(t *testing.T) {
	s := serve(t, newHandler(), serverOptions{})
	pool := open(t, hostsOf(s.endpoint()), thriftpool.Options{MaxFrameSize: 1000})
	for range 10 {
		_, err := client(pool).Echo(within(t), strings.Repeat("x", 1001))
		if e := failure(t, err); e.Sent || e.Attempts != 1 || !strings.Contains(err.Error(), "MaxFrameSize") {
			t.Fatalf("the error is %v, %+v", err, e)
		}
	}
	if got, err := client(pool).Echo(within(t), "hello"); err != nil || got != "hello" {
		t.Errorf("Echo returned %q, %v", got, err)
	}
}

// TestPartialResult has a first host that answers in part. What came of that must
// not be left in the result.
func TestPartialResult(t *testing.T) {
	// An exception, complete, in an answer that isn't.
	b := binary.BigEndian.AppendUint32(nil, 0x80010000|uint32(thrift.REPLY))
	b = binary.BigEndian.AppendUint32(b, 6)
	b = append(b, "refuse"...)
	b = binary.BigEndian.AppendUint32(b, 1)
	b = append(b, thrift.STRUCT, 0, 1, thrift.STOP)
	bad := misbehave(t, func(c net.Conn) {
		_, _ = request(c)
		_, _ = c.Write(framed(len(b)+1, b...))
	})
	good := misbehave(t, func(c net.Conn) {
		_, _ = request(c)
		answer := append(b[:len(b)-4:len(b)-4], thrift.STOP)
		_, _ = c.Write(framed(len(answer), answer...))
		silence(c)
	})
	for range 10 {
		pool := open(t, hostsOf(bad.endpoint, good.endpoint), thriftpool.Options{Idempotent: []string{"refuse"}})
		if err := client(pool).Refuse(within(t), "no"); err != nil {
			t.Fatalf("the call returned %v", err)
		}
	}
}

// TestCancel cancels calls while the server does all kinds of nothing.
func TestCancel(t *testing.T) {
	good := reply("hello")
	for name, do := range map[string]func(net.Conn){
		"never answers":        silence,
		"hangs in the size":    answering(good[:2]),
		"hangs in the message": answering(good[:len(good)-3]),
	} {
		t.Run(name, func(t *testing.T) {
			reached := make(chan struct{}, 10)
			bad := misbehave(t, func(c net.Conn) {
				reached <- struct{}{}
				do(c)
			})
			pool := open(t, hostsOf(bad.endpoint), thriftpool.Options{Idempotent: []string{"echo"}, Timeout: thriftpool.Never})
			ctx, cancel := context.WithCancel(within(t))
			go func() {
				<-reached
				cancel()
			}()
			_, err := client(pool).Echo(ctx, "hello")
			if !errors.Is(err, context.Canceled) || failure(t, err).Attempts != 1 {
				t.Errorf("cancelled, the call returned %v", err)
			}
			ctx, cancel = context.WithTimeout(within(t), 50*time.Millisecond)
			defer cancel()
			_, err = client(pool).Echo(ctx, "hello")
			if !errors.Is(err, context.DeadlineExceeded) || !failure(t, err).Timeout() {
				t.Errorf("after the deadline the call returned %v", err)
			}
			if stats := pool.Stats(); stats.Open != 0 {
				t.Errorf("connections are left: %+v", stats)
			}
			eventually(t, "the connections were closed", func() bool { return bad.open() == 0 })
		})
	}
}

// TestDone calls with a context that is done: no connection is touched.
func TestDone(t *testing.T) {
	s := serve(t, newHandler(), serverOptions{})
	pool := open(t, hostsOf(s.endpoint()), thriftpool.Options{})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := client(pool).Echo(ctx, "hello"); !errors.Is(err, context.Canceled) {
		t.Errorf("Echo returned %v", err)
	}
	if err := pool.Warm(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Warm returned %v", err)
	}
	if n := s.accepted.Load(); n != 0 {
		t.Errorf("there were %d connections", n)
	}
}

// TestDeadConnection has servers that close connections while they are idle. No
// call may be lost, idempotent or not.
func TestDeadConnection(t *testing.T) {
	h := newHandler()
	s := serve(t, h, serverOptions{})
	pool := open(t, hostsOf(s.endpoint()), thriftpool.Options{MaxAttempts: 1})
	for i := range 20 {
		if n, err := client(pool).Count(within(t), "x"); err != nil || n != int64(i+1) {
			t.Fatalf("Count returned %d, %v", n, err)
		}
		s.drop()
		eventually(t, "the connection is closed", func() bool { return s.open() == 0 })
	}
	if n := s.accepted.Load(); n != 20 {
		t.Errorf("there were %d connections", n)
	}
}

// TestUnaskedBytes has a server that sends more than an answer. The answer
// counts, and the connection isn't used again.
func TestUnaskedBytes(t *testing.T) {
	for name, answer := range map[string][]byte{
		"a second message": append(reply("hello"), reply("again")...),
		"a byte":           append(reply("hello"), 0),
		"a longer frame":   append(framed(len(reply("hello"))-4+1, reply("hello")[4:]...), 0),
	} {
		t.Run(name, func(t *testing.T) {
			s := misbehave(t, answering(answer))
			pool := open(t, hostsOf(s.endpoint), thriftpool.Options{})
			for range 3 {
				if got, err := client(pool).Echo(within(t), "hello"); err != nil || got != "hello" {
					t.Fatalf("Echo returned %q, %v", got, err)
				}
			}
			if n := s.accepted.Load(); n != 3 {
				t.Errorf("there were %d connections", n)
			}
		})
	}
}

// TestSplitAnswer has a server that sends its answer byte by byte, in several
// frames, and with empty ones between: all of that is allowed.
func TestSplitAnswer(t *testing.T) {
	answer := reply("hello")[4:]
	s := misbehave(t, func(c net.Conn) {
		_, _ = request(c)
		for _, b := range answer {
			_, _ = c.Write(framed(0))
			for _, b := range framed(1, b) {
				if _, err := c.Write([]byte{b}); err != nil {
					return
				}
			}
		}
		silence(c)
	})
	pool := open(t, hostsOf(s.endpoint), thriftpool.Options{})
	if got, err := client(pool).Echo(within(t), "hello"); err != nil || got != "hello" {
		t.Fatalf("Echo returned %q, %v", got, err)
	}
}

// TestLargeCall sends what doesn't fit the buffers, unframed, to a server that
// reads it slowly: what has arrived in part has arrived.
func TestLargeCall(t *testing.T) {
	s := misbehave(t, func(c net.Conn) {
		_, _ = io.ReadFull(c, make([]byte, 1000))
		reset(c)
	})
	pool := open(t, hostsOf(s.endpoint), thriftpool.Options{Transport: thriftpool.Buffered})
	_, err := client(pool).Echo(within(t), strings.Repeat("x", 10_000_000))
	if e := failure(t, err); !e.Sent || e.Attempts != 1 {
		t.Errorf("the error is %v, %+v", err, e)
	}
}

// TestSlowMethod has a server that is slow for one method: the others go on, as
// long as there are connections.
func TestSlowMethod(t *testing.T) {
	h := newHandler()
	h.waiting, h.proceed = make(chan struct{}, 10), make(chan struct{})
	s := serve(t, h, serverOptions{})
	pool := open(t, hostsOf(s.endpoint()), thriftpool.Options{MaxConns: 6})
	slow := make(chan error, 5)
	for range 5 {
		go func() {
			_, err := client(pool).Wait(within(t), 7)
			slow <- err
		}()
		<-h.waiting
	}
	for range 100 {
		_, err := client(pool).Echo(within(t), "hello")
		must(t, err)
	}
	close(h.proceed)
	for range 5 {
		must(t, <-slow)
	}
	if n := s.accepted.Load(); n != 6 {
		t.Errorf("there were %d connections", n)
	}
}

var _ probe.Probe = (*handler)(nil)

// panicking are arguments, or a result, that panic as generated code does with a
// nil pointer.
type panicking struct{ thrift.TStruct }

// TestPanic has generated code panic. Who recovers from that finds the pool in
// order.
func TestPanic(t *testing.T) {
	s := serve(t, newHandler(), serverOptions{})
	pool := open(t, hostsOf(s.endpoint()), thriftpool.Options{MaxConns: 1})
	call := func(args, result thrift.TStruct) (recovered any) {
		defer func() { recovered = recover() }()
		_, err := pool.Call(within(t), "echo", args, result)
		t.Errorf("the call returned %v", err)
		return nil
	}
	for range 3 {
		if call(panicking{}, &probe.ProbeEchoResult{}) == nil || call(&probe.ProbeEchoArgs{}, panicking{}) == nil {
			t.Error("it didn't panic")
		}
		if got, err := client(pool).Echo(within(t), "hello"); err != nil || got != "hello" {
			t.Errorf("Echo returned %q, %v", got, err)
		}
	}
}
