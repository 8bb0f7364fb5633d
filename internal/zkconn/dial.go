package zkconn

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"time"
)

const (
	// The most that is waited at random before connecting again, so that the
	// boxes of a fleet don't come all at once to the servers that are left:
	// after a connection was lost, and after no server could be reached (on
	// top of the library's second). Short sessions, which must not expire
	// meanwhile, wait for a tenth and a fifth of their timeout at most.
	maxReconnectJitter = time.Second
	maxRoundJitter     = 2 * time.Second
)

// dialer picks servers and connects to them. It is the HostProvider and the
// Dialer of one library connection, which calls it from one goroutine.
//
// It goes in rounds: the servers in random order, the one that was lost last;
// the names are resolved as their turn comes.
type dialer struct {
	ctx      context.Context // done when the connection is to be given up
	cfg      *Config
	log      *slog.Logger
	watching func() bool // whether the library has watches to set again
	failed   func(error) // hears why a server can't be reached

	round     []string // the servers not yet tried in this round
	reached   bool     // a session was established in this round
	started   bool     // there was a round before
	delay     time.Duration
	lookup    func(ctx context.Context, host string) ([]string, error) // the resolver
	sleep     func(ctx context.Context, d time.Duration)
	reported  map[string]string // server → the failure logged since it was last reached
	lastTried string            // the server that Next returned

	mu     sync.Mutex // guards the rest
	conn   *wire      // the connection made last
	server string     // the server it leads to, and its address if that is another
}

func newDialer(ctx context.Context, cfg *Config, watching func() bool, failed func(error)) *dialer {
	return &dialer{
		ctx: ctx, cfg: cfg, log: cfg.Logger, watching: watching, failed: failed,
		lookup: net.DefaultResolver.LookupHost, sleep: sleep, reported: make(map[string]string),
	}
}

// Init implements zk.HostProvider. The servers are known already.
func (d *dialer) Init([]string) error { return nil }

// Len implements zk.HostProvider.
func (d *dialer) Len() int { return len(d.cfg.Servers) }

// Next implements zk.HostProvider: it returns the server to try. When
// retryStart is true the library waits for a second first, and fails the
// requests that it has queued; it is true, too, to make it notice Close.
func (d *dialer) Next() (server string, retryStart bool) {
	if d.ctx.Err() != nil {
		return d.cfg.Servers[0], true
	}
	d.delay = 0
	if len(d.round) == 0 || d.reached {
		retryStart = d.started && !d.reached
		switch {
		case retryStart:
			d.delay = jitter(min(maxRoundJitter, d.cfg.SessionTimeout/5))
		case d.reached:
			d.delay = jitter(min(maxReconnectJitter, d.cfg.SessionTimeout/10))
		}
		d.startRound()
	}
	d.lastTried, d.round = d.round[0], d.round[1:]
	return d.lastTried, retryStart
}

func (d *dialer) startRound() {
	d.round = slices.Clone(d.cfg.Servers)
	rand.Shuffle(len(d.round), func(i, j int) { d.round[i], d.round[j] = d.round[j], d.round[i] })
	if i := slices.Index(d.round, d.lastTried); d.reached && i >= 0 {
		d.round = append(slices.Delete(d.round, i, i+1), d.lastTried)
	}
	d.started, d.reached = true, false
}

// Connected implements zk.HostProvider: there is a session.
func (d *dialer) Connected() {
	d.reached = true
	delete(d.reported, d.lastTried)
}

// dial is the library's Dialer: it connects to the server that Next returned.
func (d *dialer) dial(_, server string, _ time.Duration) (net.Conn, error) {
	d.closeConn() // the library leaves the connection of an expired session open
	d.sleep(d.ctx, d.delay)
	conn, address, err := d.connect(server)
	if err != nil {
		err = fmt.Errorf("connecting to %s: %w", server, err)
		d.report(server, err)
		return nil, err
	}
	// What a server says at all it says within the time of a connect, or, if
	// it has to ask the others about the session, of a ping.
	w, err := newWire(conn, max(d.cfg.ConnectTimeout, d.cfg.SessionTimeout/3), d.watching())
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	d.mu.Lock()
	d.conn, d.server = w, server
	if address != server {
		d.server += " (" + address + ")"
	}
	d.mu.Unlock()
	if d.ctx.Err() != nil { // abandon came too early to see it
		d.closeConn()
	}
	return w, nil
}

// connect tries the addresses of a server in random order.
func (d *dialer) connect(server string) (conn net.Conn, address string, err error) {
	host, port, err := net.SplitHostPort(server)
	if err != nil {
		return nil, "", err
	}
	addresses := []string{host}
	if net.ParseIP(host) == nil {
		ctx, cancel := context.WithTimeout(d.ctx, d.cfg.ConnectTimeout)
		addresses, err = d.lookup(ctx, host)
		cancel()
		if err != nil {
			return nil, "", err
		}
	}
	rand.Shuffle(len(addresses), func(i, j int) { addresses[i], addresses[j] = addresses[j], addresses[i] })
	var errs []error
	for _, a := range addresses {
		address := net.JoinHostPort(a, port)
		conn, err := d.connectTo(address, host)
		if err == nil {
			return conn, address, nil
		}
		errs = append(errs, err)
	}
	return nil, "", errors.Join(errs...)
}

// connectTo connects to one address; host is the name for TLS.
func (d *dialer) connectTo(address, host string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(d.ctx, d.cfg.ConnectTimeout)
	defer cancel()
	var plain net.Dialer
	conn, err := plain.DialContext(ctx, "tcp", address)
	if err != nil || d.cfg.TLS == nil {
		return conn, err
	}
	settings := d.cfg.TLS.Clone()
	if settings.ServerName == "" {
		settings.ServerName = host
	}
	secure := tls.Client(conn, settings)
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("TLS handshake with %s: %w", address, err), conn.Close())
	}
	return secure, nil
}

// report logs a failure once, until the server is reached or fails otherwise.
func (d *dialer) report(server string, err error) {
	if d.ctx.Err() != nil {
		return
	}
	d.failed(err)
	level := slog.LevelDebug
	if d.reported[server] != err.Error() {
		d.reported[server] = err.Error()
		level = slog.LevelWarn
	}
	d.log.Log(d.ctx, level, "a ZooKeeper server can't be reached", "server", server, "error", err)
}

// closeConn closes the connection made last. It may be called from anywhere.
func (d *dialer) closeConn() {
	d.mu.Lock()
	conn := d.conn
	d.mu.Unlock()
	if conn != nil {
		_ = conn.Close()
	}
}

// current returns the server that we are, or were last, connected to. It may
// be called from anywhere.
func (d *dialer) current() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.server
}

// local returns our own end of the connection made last, "" if there was none.
// It may be called from anywhere.
func (d *dialer) local() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.conn == nil {
		return ""
	}
	return d.conn.LocalAddr().String()
}

// jitter returns a random time below limit.
func jitter(limit time.Duration) time.Duration {
	if limit <= 0 {
		return 0
	}
	return rand.N(limit)
}

// sleep waits for d, or until ctx is done.
func sleep(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
