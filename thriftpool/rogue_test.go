package thriftpool_test

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// rogue is a server that does with each connection what it is told to.
type rogue struct {
	endpoint string
	accepted atomic.Int64
	running  sync.WaitGroup
	listener net.Listener

	mu    sync.Mutex // guards conns and dead
	conns map[net.Conn]struct{}
	dead  bool
}

// misbehave starts a server that does something with each connection, which is
// closed afterwards. It ends with the test.
func misbehave(t *testing.T, do func(net.Conn)) *rogue {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	r := &rogue{endpoint: listener.Addr().String(), listener: listener, conns: make(map[net.Conn]struct{})}
	r.running.Go(func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			r.accepted.Add(1)
			r.mu.Lock()
			if r.dead {
				_ = c.Close()
			}
			r.conns[c] = struct{}{}
			r.mu.Unlock()
			r.running.Go(func() {
				defer func() {
					_ = c.Close()
					r.mu.Lock()
					defer r.mu.Unlock()
					delete(r.conns, c)
				}()
				do(c)
			})
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		r.mu.Lock()
		r.dead = true
		for c := range r.conns {
			_ = c.Close()
		}
		r.mu.Unlock()
		r.running.Wait()
	})
	return r
}

// open returns how many connections are open.
func (r *rogue) open() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.conns)
}

// request reads a framed call.
func request(c net.Conn) ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return nil, err
	}
	frame := make([]byte, binary.BigEndian.Uint32(size[:]))
	_, err := io.ReadFull(c, frame)
	return frame, err
}

// silence reads until the client goes.
func silence(c net.Conn) { _, _ = io.Copy(io.Discard, c) }

// answering reads a call, writes something, and waits for the client to go.
func answering(answer []byte) func(net.Conn) {
	return func(c net.Conn) {
		if _, err := request(c); err == nil {
			_, _ = c.Write(answer)
			silence(c)
		}
	}
}

// framed puts a size before bytes.
func framed(size int, payload ...byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(size)), payload...)
}

// reset closes a connection so that the client hears of it by a RST.
func reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close()
}

// refusing returns an endpoint where nobody listens.
func refusing(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	endpoint := listener.Addr().String()
	if err := listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		t.Fatal(err)
	}
	return endpoint
}

// halfClose says that nothing more comes from this side.
func halfClose(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.CloseWrite()
	}
}
