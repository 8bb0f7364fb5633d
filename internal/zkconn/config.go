package zkconn

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/kingpinfs/kingpin/store"
)

const (
	defaultSessionTimeout = 10 * time.Second
	defaultConnectTimeout = 3 * time.Second
)

// Config says which ensemble to talk to, and how.
type Config struct {
	// Servers are the ensemble's members as host:port, names or addresses.
	// Names are resolved again at each connect. At least one is needed.
	Servers []string
	// Chroot is put before every path: "" or, for example, "/fleet".
	Chroot string
	// SessionTimeout is how long the servers keep the session, its ephemeral
	// znodes and its locks without hearing from us. The servers have the last
	// word. 0: 10 s.
	SessionTimeout time.Duration
	// ConnectTimeout bounds an attempt to connect to one address, TLS
	// included. 0: 3 s.
	ConnectTimeout time.Duration
	// Auth is "user:password" for ZooKeeper's digest scheme; empty: none. It
	// is never logged. Znodes that we create are open to everybody all the
	// same, as those that Python's tools create are.
	Auth string
	// TLS makes connections TLS ones; nil: plain TCP. The server name that a
	// certificate must match is the host as it stands in Servers.
	TLS *tls.Config
	// Logger hears of connections made and lost. nil: nobody does.
	Logger *slog.Logger
	// Observer may be nil.
	Observer Observer
}

// Observer hears hints. Its methods are called one at a time, from goroutines
// of the client's; they must not block, and must not call the client's methods
// that take a context.
type Observer interface {
	// ZnodeChanged says that the data or the children of a znode may have
	// changed since the last watched read. The path is without the chroot.
	ZnodeChanged(path string)
	// SessionChanged says that the session was established, interrupted or
	// lost.
	SessionChanged(state SessionState)
}

// SessionEvent is what happened to the session.
type SessionEvent uint8

// The session's events. Each Connected but the first comes after a
// Disconnected; Expired comes between the two.
const (
	// Connected: requests are answered.
	Connected SessionEvent = iota + 1
	// Disconnected: there is no connection; the session may live on.
	Disconnected
	// Expired: the session is gone, with its ephemeral znodes, its locks and
	// all watches. No ZnodeChanged comes for those.
	Expired
)

// String returns "connected", "disconnected" or "expired".
func (e SessionEvent) String() string {
	switch e {
	case Connected:
		return "connected"
	case Disconnected:
		return "disconnected"
	case Expired:
		return "expired"
	default:
		return "unknown"
	}
}

// SessionState is what SessionChanged tells.
type SessionState struct {
	Event SessionEvent
	// New says, of Connected, that this is not the session of before: what
	// was watched isn't any more, and is to be read again. It is true of the
	// first Connected.
	New bool
	// Session is the session's id, such as "0x100000a1b2c0003", of Connected.
	Session string
}

// Status is how a Conn stands.
type Status struct {
	Connected bool
	Session   string // the session's id in hexadecimal, "0x…"; "" if there is none
	Server    string // the server that we are, or were last, connected to
	LocalAddr string // our own end of the connection, as host:port; "" if there is none
	LastError string // why we aren't connected, in one line; "" if we are
	Watches   int    // how many watches are armed
}

// validate fills in the defaults and checks the rest.
func (c *Config) validate() error {
	invalid := func(subject, message string) error {
		return &store.Error{Op: "configuring ZooKeeper", Subject: subject, Kind: store.Invalid, Err: errors.New(message)}
	}
	if len(c.Servers) == 0 {
		return invalid("servers", "no server is given; at least one host:port is needed")
	}
	c.Servers = slices.Clone(c.Servers)
	for i, server := range c.Servers {
		s, err := parseServer(server)
		if err != nil {
			return invalid(server, err.Error())
		}
		c.Servers[i] = s
	}
	chroot, err := parseChroot(c.Chroot)
	if err != nil {
		return invalid(c.Chroot, err.Error())
	}
	c.Chroot = chroot
	if c.Auth != "" && !strings.Contains(c.Auth, ":") {
		return invalid("digest credentials", "they must have the form user:password")
	}
	return nil
}

// setDefaults fills in what was left out.
func (c *Config) setDefaults() {
	if c.SessionTimeout <= 0 {
		c.SessionTimeout = defaultSessionTimeout
	}
	if c.ConnectTimeout <= 0 {
		c.ConnectTimeout = defaultConnectTimeout
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Observer == nil {
		c.Observer = noObserver{}
	}
}

// noObserver is the Observer of who doesn't want one.
type noObserver struct{}

func (noObserver) ZnodeChanged(string)         {}
func (noObserver) SessionChanged(SessionState) {}
