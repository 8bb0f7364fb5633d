package zkconn

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"

	"github.com/go-zookeeper/zk"

	"github.com/kingpinfs/kingpin/store"
)

// maxInFlight bounds the calls that are inside the library. Calls whose
// context ended stay there until the connection answers or breaks; the bound
// keeps them from piling up.
const maxInFlight = 256

// Conn is a client of one ZooKeeper ensemble. It implements store.Znodes. Its
// methods are safe for concurrent use, and those that take a context return as
// soon as it is done. A call made while there is no connection waits for one.
// A read whose connection broke is repeated once; a write is not, because it
// may have happened.
type Conn struct {
	cfg     Config
	log     *slog.Logger
	watches watches
	slots   chan struct{} // holds one value per call inside the library

	ctx    context.Context // done when Close was called
	cancel context.CancelFunc
	ran    chan struct{}  // closed when run has returned
	tasks  sync.WaitGroup // calls inside the library, and locks being released

	// order is held while the session's state changes and the observer is told,
	// so that it hears of changes in the order in which they happen. It is
	// taken before the other mutexes.
	order sync.Mutex

	mu      sync.Mutex // guards the rest
	opened  bool
	closed  bool
	link    *link         // the library connection
	ready   *link         // link, while it has a session; else nil
	changed chan struct{} // closed, and replaced, when ready changes or the Conn closes
	session int64         // the session that ready has, or had last; 0 if it expired
	lastErr error         // why ready is nil
}

var _ store.Znodes = (*Conn)(nil)

// New returns a client, which does nothing until Open is called.
func New(cfg Config) *Conn {
	cfg.setDefaults()
	c := &Conn{
		cfg:     cfg,
		log:     cfg.Logger,
		slots:   make(chan struct{}, maxInFlight),
		ran:     make(chan struct{}),
		changed: make(chan struct{}),
		lastErr: errNotOpen,
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c
}

// Open checks the configuration and starts connecting; it doesn't wait for a
// server. Its errors are Invalid. After it succeeded, Close must be called.
func (c *Conn) Open() error {
	if err := c.cfg.validate(); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.opened || c.closed {
		return &store.Error{Op: "opening the ZooKeeper client", Subject: c.target(), Kind: store.Invalid,
			Err: errors.New("it was opened or closed before")}
	}
	c.opened = true
	c.lastErr = nil
	go c.run()
	return nil
}

// Close ends the session, which removes its ephemeral znodes and locks, fails
// all calls, and waits until everything that was started has ended: a second
// or so, if no server answers. Further calls of Close do nothing.
func (c *Conn) Close() {
	c.mu.Lock()
	c.closed = true
	running := c.opened
	c.broadcast()
	c.mu.Unlock()
	c.cancel()
	if running {
		<-c.ran
	}
	c.tasks.Wait()
}

// run keeps a library connection, and replaces it when its watches are lost.
func (c *Conn) run() {
	defer close(c.ran)
	for c.ctx.Err() == nil {
		l := c.openLink()
		select {
		case <-c.ctx.Done():
			c.lost(l, errClosed)
			l.close()
		case <-l.broken:
			c.lost(l, errWatchesLost)
			l.close()
			c.expired()
		}
	}
}

// connected records that l has a session. order must be held.
func (c *Conn) connected(l *link) {
	session := l.zk.SessionID()
	c.mu.Lock()
	fresh := session != c.session
	c.session, c.ready, c.lastErr = session, l, nil
	c.broadcast()
	c.mu.Unlock()
	state := SessionState{Event: Connected, New: fresh, Session: SessionName(session)}
	c.log.Info("connected to ZooKeeper", "server", l.dialer.current(), "session", state.Session, "new", fresh)
	c.cfg.Observer.SessionChanged(state)
}

// lost is disconnected, for who doesn't hold order.
func (c *Conn) lost(l *link, reason error) {
	c.order.Lock()
	defer c.order.Unlock()
	c.disconnected(l, reason)
}

// disconnected records that l has no connection any more, if it had one. order
// must be held.
func (c *Conn) disconnected(l *link, reason error) {
	c.mu.Lock()
	was := c.ready == l
	if was {
		c.ready = nil
		c.broadcast()
	}
	// That the server hung up is no news after it refused us.
	if reason != nil && !errors.Is(c.lastErr, zk.ErrAuthFailed) {
		c.lastErr = reason
	}
	err := c.lastErr
	c.mu.Unlock()
	if !was {
		return
	}
	level := slog.LevelWarn
	if c.ctx.Err() != nil {
		level = slog.LevelDebug
	}
	c.log.Log(c.ctx, level, "disconnected from ZooKeeper", "server", l.dialer.current(), "error", err)
	c.cfg.Observer.SessionChanged(SessionState{Event: Disconnected})
}

// expired records that the session is gone, with everything in it.
func (c *Conn) expired() {
	c.order.Lock()
	defer c.order.Unlock()
	c.watches.clear()
	c.mu.Lock()
	session := c.session
	c.session = 0
	c.mu.Unlock()
	if session == 0 {
		return
	}
	c.log.Warn("the ZooKeeper session is lost", "session", SessionName(session))
	c.cfg.Observer.SessionChanged(SessionState{Event: Expired})
}

// currentSession returns the session's id, 0 if there is none.
func (c *Conn) currentSession() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.session
}

// failed records why there is no connection.
func (c *Conn) failed(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ready == nil {
		c.lastErr = err
	}
}

// broadcast wakes whoever waits for a change. mu must be held.
func (c *Conn) broadcast() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// awaitLink waits for a connection with a session. Its errors say why there is
// none.
func (c *Conn) awaitLink(ctx context.Context) (*link, error) {
	for {
		c.mu.Lock()
		link, changed, closed, err := c.ready, c.changed, c.closed, c.lastErr
		c.mu.Unlock()
		switch {
		case ctx.Err() != nil:
			return nil, c.unconnected(ctx, err)
		case closed:
			return nil, errClosed
		case link != nil:
			return link, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

// unconnected explains that ctx ended while there was, for the given reason,
// no connection.
func (c *Conn) unconnected(ctx context.Context, reason error) error {
	if reason == nil {
		return contextCause(ctx)
	}
	return fmt.Errorf("no connection to any of %s: %w (%w)", strings.Join(c.cfg.Servers, ", "), reason, contextCause(ctx))
}

// WaitConnected waits until there is a session, or ctx is done. The error says
// which servers were tried and what went wrong last. It is Unavailable, or
// Denied if the servers refuse our credentials.
func (c *Conn) WaitConnected(ctx context.Context) error {
	_, err := c.awaitLink(ctx)
	return storeError("connecting to ZooKeeper", c.target(), err)
}

// Status returns how the connection stands.
func (c *Conn) Status() Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := Status{Connected: c.ready != nil, Session: SessionName(c.session), Watches: c.watches.count()}
	if c.link != nil {
		s.Server = c.link.dialer.current()
	}
	if s.Connected {
		s.LocalAddr = c.link.dialer.local()
	}
	if !s.Connected && c.lastErr != nil {
		s.LastError = c.lastErr.Error()
	}
	return s
}

// target names the ensemble, for errors.
func (c *Conn) target() string { return strings.Join(c.cfg.Servers, ",") + c.cfg.Chroot }

// SessionName returns a session's id, such as a znode's EphemeralOwner, as
// Status and ZooKeeper's own tools write it: "0x…"; "" for 0, which is none.
func SessionName(id int64) string {
	if id == 0 {
		return ""
	}
	return fmt.Sprintf("0x%x", uint64(id))
}
