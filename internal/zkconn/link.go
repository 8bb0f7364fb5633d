package zkconn

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/go-zookeeper/zk"
)

// closeSettle is how long the library's Close may take to queue its request.
const closeSettle = 5 * time.Millisecond

// link is one connection of the library: it reconnects by itself, and gets a
// new session by itself when the old one expires.
type link struct {
	conn   *Conn
	zk     *zk.Conn
	events <-chan zk.Event // closed when the library's goroutines have ended
	dialer *dialer
	cancel context.CancelFunc // gives up dialing
	made   chan struct{}      // closed when zk is set
	broken chan struct{}      // closed when watches were lost
	breaks sync.Once
	tasks  sync.WaitGroup // authenticate

	mu      sync.Mutex // guards the rest
	session bool       // there is a session
	authed  bool       // the library has our credentials
	closing bool
}

// openLink starts connecting.
func (c *Conn) openLink() *link {
	ctx, cancel := context.WithCancel(c.ctx)
	l := &link{
		conn: c, cancel: cancel, made: make(chan struct{}), broken: make(chan struct{}),
		authed: c.cfg.Auth == "",
	}
	l.dialer = newDialer(ctx, &c.cfg, c.watches.any, c.failed)
	conn, events, err := zk.Connect(c.cfg.Servers, c.cfg.SessionTimeout,
		zk.WithHostProvider(l.dialer), zk.WithDialer(l.dialer.dial),
		zk.WithEventCallback(l.event), zk.WithLogger(l))
	if err != nil {
		// It fails for an empty list of servers alone, which validate refused.
		panic(fmt.Sprintf("zkconn: %v", err))
	}
	l.zk, l.events = conn, events
	close(l.made)
	c.mu.Lock()
	c.link = l
	c.mu.Unlock()
	if !l.authed {
		l.tasks.Go(l.authenticate)
	}
	return l
}

// authenticate hands our credentials to the library, which repeats them at
// each reconnect once a server has accepted them. There is no session for us
// before that.
func (l *link) authenticate() {
	for {
		err := l.zk.AddAuth("digest", []byte(l.conn.cfg.Auth))
		switch {
		case err == nil:
			l.update(func() { l.authed = true })
			return
		case l.isClosing():
			return
		case errors.Is(err, zk.ErrAuthFailed):
			l.conn.failed(err) // the server ends the connection; the next may do better
		}
	}
}

// update changes the state by change, and tells the Conn if there is a session
// for us now, or none any more.
func (l *link) update(change func()) {
	l.conn.order.Lock()
	defer l.conn.order.Unlock()
	l.mu.Lock()
	before := l.session && l.authed
	change()
	after := l.session && l.authed
	closing := l.closing
	l.mu.Unlock()
	switch {
	case closing:
	case after && !before:
		l.conn.connected(l)
	case before && !after:
		l.conn.disconnected(l, nil)
	}
}

func (l *link) isClosing() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closing
}

// event is called by the library's goroutine, in the order of things, and
// before whatever the server says next is looked at.
func (l *link) event(e zk.Event) {
	<-l.made
	switch e.Type {
	case zk.EventSession:
		l.sessionEvent(e.State)
	case zk.EventNodeCreated, zk.EventNodeDeleted, zk.EventNodeDataChanged, zk.EventNodeChildrenChanged:
		if !l.isClosing() {
			l.conn.watches.fired(e.Type, e.Path)
			l.conn.cfg.Observer.ZnodeChanged(l.conn.bare(e.Path))
		}
	case zk.EventNotWatching:
		// One comes for each watch when the session expires: sessionEvent has
		// dealt with all of them.
	}
}

func (l *link) sessionEvent(state zk.State) {
	switch state {
	case zk.StateHasSession:
		l.update(func() { l.session = true })
	case zk.StateDisconnected:
		l.update(func() { l.session = false })
		if l.isClosing() {
			// The library now fails what is queued, and ends. Its Close, which
			// runs at the same time, would wait a second for a request that it
			// queued too late for that.
			time.Sleep(closeSettle)
		}
	case zk.StateExpired:
		if !l.isClosing() {
			l.conn.expired()
		}
	}
}

// The library's log lines that we act on, by how their formats begin.
const (
	logWatchesFailed = "Failed to set previous watches"
	logAuthFailed    = "authentication failed"
	logReadFailed    = "recv loop terminated"
)

// Printf implements zk.Logger. Some of what the library finds out it tells its
// log alone.
func (l *link) Printf(format string, args ...any) {
	line := strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", " ")
	l.conn.log.Log(context.Background(), slog.LevelDebug, "go-zookeeper: "+line)
	if l.isClosing() {
		return
	}
	switch {
	case strings.HasPrefix(format, logWatchesFailed):
		l.breaks.Do(func() { close(l.broken) })
	case strings.HasPrefix(format, logAuthFailed):
		l.conn.failed(fmt.Errorf("%s accepted the connection, but gave no session (it may have no quorum, "+
			"or speak TLS where we don't): %s", l.dialer.current(), argText(args)))
	case strings.HasPrefix(format, logReadFailed):
		l.conn.lost(l, fmt.Errorf("lost the connection to %s: %s", l.dialer.current(), argText(args)))
	}
}

func argText(args []any) string { return strings.TrimSpace(fmt.Sprintln(args...)) }

// close ends the session, if a server answers, and the library's goroutines.
func (l *link) close() {
	l.mu.Lock()
	l.closing = true
	connected := l.session
	l.mu.Unlock()

	ended := make(chan struct{})
	go func() {
		defer close(ended)
		l.zk.Close() // waits for an answer, for a second at most
	}()
	if connected {
		<-ended
	}
	l.cancel()
	l.dialer.closeConn()
	for open := true; open; {
		_, open = <-l.events
	}
	<-ended
	l.tasks.Wait()
}
