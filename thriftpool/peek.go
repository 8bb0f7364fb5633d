package thriftpool

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// peeker looks into an idle connection, without waiting.
type peeker struct {
	fd      syscall.RawConn
	look    func(fd uintptr) // fills found and err
	buffer  [1]byte
	found   int
	err     unix.Errno
	secured *tls.Conn // nil without TLS
}

// newPeeker returns nil if the connection has no descriptor to look into.
func newPeeker(conn, raw net.Conn) *peeker {
	if patient, ok := raw.(*impatient); ok {
		raw = patient.Conn
	}
	sc, ok := raw.(syscall.Conn)
	if !ok {
		return nil
	}
	fd, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	p := &peeker{fd: fd}
	p.look = func(fd uintptr) {
		p.found, p.err = receiveNow(fd, p.buffer[:], unix.MSG_PEEK)
	}
	p.secured, _ = conn.(*tls.Conn)
	return p
}

// quiet tells whether the connection is open and nothing waits to be read.
func (p *peeker) quiet() bool {
	if p == nil {
		return true
	}
	if err := p.fd.Control(p.look); err != nil {
		return false
	}
	if p.err != 0 {
		return p.err == unix.EAGAIN
	}
	return p.found > 0 && p.secured != nil && p.quietWithin()
}

// receiveNow receives what is there without waiting. Since it doesn't wait, the
// scheduler isn't told of the call, which would cost as much as the call itself.
func receiveNow(fd uintptr, p []byte, flags uintptr) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), flags|unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

// quietWithin looks whether what waits to be read is TLS's own, such as session
// tickets, and takes that.
func (p *peeker) quietWithin() bool {
	raw, ok := p.secured.NetConn().(*impatient)
	if !ok {
		return false
	}
	raw.now = true
	defer func() { raw.now = false }()
	n, err := p.secured.Read(p.buffer[:])
	return n == 0 && errors.Is(err, errNotNow)
}

// impatient is a connection beneath TLS that can be read from without waiting.
type impatient struct {
	net.Conn
	now bool // don't wait
}

// notNow is temporary to TLS, which can go on reading later.
type notNow struct{ error }

func (notNow) Timeout() bool   { return true }
func (notNow) Temporary() bool { return true }

var errNotNow = notNow{os.ErrDeadlineExceeded}

func (c *impatient) Read(p []byte) (n int, err error) {
	sc, ok := c.Conn.(syscall.Conn)
	if !c.now || !ok {
		return c.Conn.Read(p)
	}
	fd, err := sc.SyscallConn()
	if err != nil {
		return 0, err
	}
	var errno unix.Errno
	err = fd.Control(func(fd uintptr) {
		n, errno = receiveNow(fd, p, 0)
	})
	switch {
	case err != nil:
		return 0, err
	case errno == unix.EAGAIN:
		return 0, errNotNow
	case errno != 0:
		return 0, errno
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}
