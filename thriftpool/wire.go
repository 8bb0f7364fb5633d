package thriftpool

import (
	"errors"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// wire sends to a socket in the way of a client that waits for the answer: it
// looks whether the connection is quiet at the last moment before; and then it
// waits until there is something to read, rather than try to read, which so soon
// finds nothing. The look costs no more than that try would have.
type wire struct {
	fd   syscall.RawConn
	step func(fd uintptr) bool
	look [1]byte

	// Of what is being sent:
	out  []byte
	wait bool // for the answer
	sent int
	done bool // all was sent; what remains is to wait
	err  error
}

// newWire returns nil unless the connection is a socket and nothing else: what
// others put around one may do more than the socket does.
func newWire(conn net.Conn) *wire {
	var sc syscall.Conn
	switch c := conn.(type) {
	case *net.TCPConn:
		sc = c
	case *net.UnixConn:
		sc = c
	default:
		return nil
	}
	fd, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	w := &wire{fd: fd}
	w.step = w.advance
	return w
}

// send sends p, as far as that goes without waiting, and returns how much of it
// was sent. If all of it was, and if it is to wait, it returns when there is
// something to read.
func (w *wire) send(p []byte, wait bool) (int, error) {
	w.out, w.wait = p, wait
	w.sent, w.done, w.err = 0, false, nil
	// Read forgets what was to be read before, which is before the look, so that
	// what comes from then on is never missed.
	err := w.fd.Read(w.step)
	w.out = nil
	if w.err != nil {
		err = w.err
	}
	return w.sent, err
}

// advance goes on as far as it can, and tells whether that was all.
func (w *wire) advance(fd uintptr) bool {
	if w.done {
		return true
	}
	if _, err := receiveNow(fd, w.look[:], unix.MSG_PEEK); err != unix.EAGAIN {
		w.err = errUnquiet
		return true
	}
	n, err := unix.Write(int(fd), w.out)
	switch {
	case err == nil:
		w.sent = n
		w.done = n == len(w.out)
		return !w.done || !w.wait
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
		return true // and leaves it to Write
	default:
		w.err = os.NewSyscallError("write", err)
		return true
	}
}
