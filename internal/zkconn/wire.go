package zkconn

import (
	"encoding/binary"
	"net"
	"sync"
	"time"
)

// Opcodes of ZooKeeper's protocol.
const (
	opPing       = 11
	opSetAuth    = 100
	opSetWatches = 101
)

// wire is a connection between the library and a server. The library writes
// one packet a call: its length, its xid and its opcode, four bytes each, and
// the rest. Knowing that, wire mends three faults of the library:
//
//   - It waits over a minute for a server that accepts connections and then
//     says nothing. Until the connect response is read, the deadline is ours.
//   - After a reconnect it asks for the changes since the newest response, to
//     set its watches again. A request that was queued while there was no
//     connection may be answered before it looks, and what changed up to that
//     answer is then never told. So answers are held back until it has looked.
//   - When it can't write the credentials again after a reconnect, it
//     deadlocks. So that error is not returned; the connection is closed, and
//     the library's reader finds out.
type wire struct {
	net.Conn

	mu        sync.Mutex // guards the rest
	greeted   bool       // the connect request has been written
	head      [4]byte    // the length of the connect response
	got       int        // how many bytes have been read, while !shaken
	shaken    bool       // the connect response has been read
	watching  bool       // the library has watches to set again and hasn't done so
	heldUntil chan struct{}
}

// newWire wraps a fresh connection. watching says that the library has watches
// to set again on it.
func newWire(conn net.Conn, handshake time.Duration, watching bool) (*wire, error) {
	if err := conn.SetReadDeadline(time.Now().Add(handshake)); err != nil {
		return nil, err
	}
	return &wire{Conn: conn, watching: watching}, nil
}

// Read reads, and holds back what it has read while answers are to wait.
func (w *wire) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	w.mu.Lock()
	shook := w.follow(p[:n])
	held := w.heldUntil
	w.mu.Unlock()
	if shook && err == nil {
		err = w.Conn.SetReadDeadline(time.Time{})
	}
	if held != nil {
		<-held
	}
	return n, err
}

// follow watches the connect response go by and returns true at its end. mu
// must be held.
func (w *wire) follow(p []byte) bool {
	if w.shaken {
		return false
	}
	if w.got < len(w.head) {
		copy(w.head[w.got:], p)
	}
	w.got += len(p)
	w.shaken = w.got >= len(w.head) && w.got >= len(w.head)+int(binary.BigEndian.Uint32(w.head[:]))
	return w.shaken
}

// SetReadDeadline sets it, but for the time of the handshake, when it is ours.
func (w *wire) SetReadDeadline(t time.Time) error {
	w.mu.Lock()
	shaken := w.shaken
	w.mu.Unlock()
	if !shaken {
		return nil
	}
	return w.Conn.SetReadDeadline(t)
}

// Write writes one packet.
func (w *wire) Write(p []byte) (int, error) {
	op := w.opcode(p)
	if op != 0 && op != opSetAuth && op != opSetWatches && op != opPing {
		w.hold()
	}
	n, err := w.Conn.Write(p)
	switch {
	case op == opSetAuth && err != nil:
		_ = w.Close() // the reader reports it
		return len(p), nil
	case op == opSetWatches, op == opPing:
		// The library makes all its packets of watches before it writes the
		// first. It had none if it comes to its first ping without.
		w.release()
	}
	return n, err
}

// opcode returns the opcode of a packet, 0 for the connect request.
func (w *wire) opcode(p []byte) uint32 {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.greeted || len(p) < 12 {
		w.greeted = true
		return 0
	}
	return binary.BigEndian.Uint32(p[8:])
}

// hold makes answers wait, before the first request that could have one goes
// out.
func (w *wire) hold() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.watching && w.heldUntil == nil {
		w.heldUntil = make(chan struct{})
	}
}

func (w *wire) release() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.watching = false
	if w.heldUntil != nil {
		close(w.heldUntil)
		w.heldUntil = nil
	}
}

// Close closes the connection and lets go of a reader that is held back.
func (w *wire) Close() error {
	w.release()
	return w.Conn.Close()
}
