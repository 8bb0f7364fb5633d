package fs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

const (
	// maxTransfer is how much content one READ asks for at most, in bytes, and
	// one WRITE may bring.
	maxTransfer = 1 << 20
	// bufferSize has room for the largest request or reply.
	bufferSize = maxTransfer + 4096
	// requestHeader is the size of struct fuse_in_header.
	requestHeader = 40
)

// handlers answer requests.
type handlers interface {
	fuse.RawFileSystem
	// unsent is told of a reply that the kernel didn't take.
	unsent(op uint32, reply []byte)
	// mayWait reports whether the answer to a request may have to wait for
	// something.
	mayWait(request []byte) bool
	// refuse makes the reply to a request that may have to wait, if too many do
	// already. It uses out, and returns at once.
	refuse(request, out []byte) (reply []byte)
}

// connection answers the requests of a session: on a descriptor of its own of
// /dev/fuse, by threads of its own.
type connection struct {
	dev         int // blocking
	initRequest []byte
	handlers    handlers
	server      *fuse.ProtocolServer
	log         *slog.Logger
	// nested says that another mount lies within.
	nested bool

	later answers // to requests that may wait

	requests [opCount]atomic.Uint64 // answered, by operation
	stopping atomic.Bool
	readers  sync.WaitGroup
	threads  []atomic.Int64 // the readers' thread ids; 0 until one runs
}

// newConnection returns the connection of a session whose descriptor is dev.
// Nothing is answered before start.
func newConnection(dev int, initRequest []byte, h handlers, log *slog.Logger) *connection {
	c := &connection{dev: dev, initRequest: initRequest, handlers: h, log: log}
	c.server = fuse.NewProtocolServer(h, &fuse.MountOptions{
		Name:                     mountType,
		MaxWrite:                 maxTransfer,
		ExplicitDataCacheControl: true, // content never changes under an inode
		ExtraCapabilities:        fuse.CAP_HAS_RESEND,
		DisabledCapabilities:     fuse.CAP_PASSTHROUGH,
		Logger:                   slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		PanicHandler: func(v any) fuse.Status {
			log.Error("a FUSE request's handler panicked", "panic", v, "stack", string(debug.Stack()))
			return fuse.EIO
		},
	})
	return c
}

// takeOver goes on where another process stopped, or begins: the kernel's INIT
// has been answered, so it is handled once more and the answer dropped. Then the
// kernel is to give out again what the other one has read and not answered.
func (c *connection) takeOver() error {
	if _, status := c.server.HandleRequest([][]byte{c.initRequest}, [][]byte{make([]byte, bufferSize)}); !status.Ok() {
		return fmt.Errorf("handling the kernel's INIT: %v", status)
	}
	// A predecessor that was stopped has left it so; see stop.
	if err := unix.SetNonblock(c.dev, false); err != nil {
		return fmt.Errorf("preparing to answer FUSE requests: %w", err)
	}
	if err := c.notify(notification(fuse.NOTIFY_RESEND, nil)); err != nil {
		return fmt.Errorf("asking for the requests that nobody has answered: %w", err)
	}
	return c.start()
}

// start begins to answer requests.
func (c *connection) start() error {
	// A handler doesn't wait, so more threads than processors answer no more.
	all := make([]*buffers, min(max(runtime.GOMAXPROCS(0), 2), 4))
	for i := range all {
		b, err := newBuffers()
		if err != nil {
			for _, b := range all[:i] {
				b.free()
			}
			return err
		}
		all[i] = b
	}
	c.threads = make([]atomic.Int64, len(all))
	for i, b := range all {
		c.readers.Go(func() {
			defer b.free()
			// A thread of its own, so that stop can wake it.
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			c.threads[i].Store(int64(unix.Gettid()))
			c.serve(b)
		})
	}
	return nil
}

// wait returns when no request will be answered any more: after stop, or when
// the mount is gone.
func (c *connection) wait() { c.readers.Wait() }

// stop ends the answering of requests and waits for it. The mount stays, and
// whoever holds the descriptor can go on.
//
// A reader sleeps in read(2) until there is a request. A signal wakes it, but
// Go has the kernel restart the call; which then, as the descriptor doesn't
// block any more, returns.
func (c *connection) stop() {
	c.stopping.Store(true)
	if err := unix.SetNonblock(c.dev, true); err != nil {
		c.log.Error("stopping to answer FUSE requests", "error", err)
	}
	for i := range c.threads {
		if tid := c.threads[i].Load(); tid != 0 {
			// It fails for a thread that has ended already.
			_ = unix.Tgkill(unix.Getpid(), int(tid), unix.SIGURG)
		}
	}
	c.wait()
	c.later.drain(context.Background())
	c.later.free()
}

// serve answers requests until the connection ends.
func (c *connection) serve(b *buffers) {
	for !c.stopping.Load() {
		n, err := unix.Read(c.dev, b.in)
		switch {
		case err == nil:
			if n >= requestHeader && c.handlers.mayWait(b.in[:n]) {
				c.answerLater(b.in[:n], b.out)
				continue
			}
			if err := c.answer(b.in[:n], b.out); err != nil {
				c.log.Error("answering a FUSE request", "error", err)
			}
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN):
		case errors.Is(err, unix.ENOENT): // its sender was killed before it was read
		case errors.Is(err, unix.ENODEV):
			return
		default:
			c.log.Error("reading FUSE requests", "error", err)
			return
		}
	}
}

// answer handles one request. Errors mean a request or a reply that the other
// side doesn't understand.
func (c *connection) answer(request, out []byte) error {
	if len(request) < requestHeader {
		return fmt.Errorf("request of %d bytes", len(request))
	}
	op := operationOf(request)
	n, status := c.server.HandleRequest([][]byte{request}, [][]byte{out})
	c.requests[min(op, opCount-1)].Add(1)
	if !status.Ok() {
		return fmt.Errorf("%s: %v", opName(int(op)), status)
	}
	if n == 0 {
		return nil
	}
	return c.reply(op, out[:n])
}

// reply gives the kernel a reply.
func (c *connection) reply(op uint32, out []byte) error {
	_, err := unix.Write(c.dev, out)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENOTCONN):
		c.handlers.unsent(op, out)
		return nil
	}
	return fmt.Errorf("%s: writing the reply: %w", opName(int(op)), err)
}

// counts returns how many requests have been answered, by operation.
func (c *connection) counts() map[string]uint64 {
	m := map[string]uint64{}
	for op := range c.requests {
		if n := c.requests[op].Load(); n > 0 {
			m[opName(op)] = n
		}
	}
	return m
}

// buffers are one reader's memory for requests and replies, used again and
// again. It is resident from the start: if the daemon were killed in a write(2)
// of a reply that still had to be faulted in, whoever waits for it would get
// EIO, and no successor could answer instead.
type buffers struct{ mem, in, out []byte }

func newBuffers() (*buffers, error) {
	m, err := unix.Mmap(-1, 0, 2*bufferSize, unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_ANON|unix.MAP_PRIVATE|unix.MAP_POPULATE)
	if err != nil {
		return nil, fmt.Errorf("mapping buffers for FUSE requests: %w", err)
	}
	return &buffers{mem: m, in: m[:bufferSize], out: m[bufferSize:]}, nil
}

func (b *buffers) free() {
	// Unmapping what Mmap returned can't fail.
	_ = unix.Munmap(b.mem)
}
