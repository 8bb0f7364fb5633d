package register

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/kingpinfs/kingpin/internal/zkconn"
	"github.com/kingpinfs/kingpin/metaconfig"
	"github.com/kingpinfs/kingpin/serverset"
	"github.com/kingpinfs/kingpin/store"
)

// What a Config says where it says nothing.
const (
	DefaultInterval       = time.Second
	DefaultTimeout        = 500 * time.Millisecond
	DefaultRise           = 2
	DefaultFall           = 3
	DefaultSessionTimeout = 10 * time.Second
)

// Config says what to register, where, and when. Service, Environment and Port,
// and ZooKeeper or ZooKeeperHostsFile, are needed.
type Config struct {
	// Service and Environment name the serverset. They hold letters, digits,
	// "-" and "_". A serverset that doesn't exist is created.
	Service, Environment string
	// Host is the name or address under which others reach the service; "": the
	// address from which this machine reaches ZooKeeper when it first does. That
	// is never a loopback address, unless all of ZooKeeper is on this machine.
	Host string
	// Port is where the service listens, 1 to 65535.
	Port int

	// Checks must all pass for the service to work. Their names, by which metrics
	// tell them apart, must differ. None: TCP("").
	Checks []Check
	// Interval is the time from one round of checks to the next, if the first
	// doesn't take longer. 0: 1 s.
	Interval time.Duration
	// Timeout is what a check may take before it counts as failed. 0: 500 ms.
	Timeout time.Duration
	// Rise is how many rounds in a row must pass until the service is
	// registered. 0: 2.
	Rise int
	// Fall is how many rounds in a row must fail until the service isn't
	// registered any more. 0: 3.
	Fall int

	// ZooKeeper is a connect string, as ZooKeeper's own tools know it:
	// "host:port,host:port/chroot".
	ZooKeeper string
	// ZooKeeperHostsFile is a file that names the servers instead, one
	// host:port a line, as the fleet's machines have it.
	ZooKeeperHostsFile string
	// ZooKeeperAuth is "user:password" for the digest scheme; "" for none.
	ZooKeeperAuth string
	// ZooKeeperTLS makes the connections TLS ones; nil: plain TCP.
	ZooKeeperTLS *tls.Config
	// SessionTimeout is how long the registration stays if this process is
	// killed, or can't reach ZooKeeper. ZooKeeper has the last word. 0: 10 s.
	SessionTimeout time.Duration

	// Changed, unless nil, is told each status with another State, Registered,
	// Health or Error than the one before. It is called by one goroutine at a time,
	// which waits for it.
	Changed func(Status)
	// Logger hears of what changes; nil: nobody does.
	Logger *slog.Logger
}

// setDefaults fills in what was left out.
func (c *Config) setDefaults() {
	if c.Interval == 0 {
		c.Interval = DefaultInterval
	}
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	if c.Rise == 0 {
		c.Rise = DefaultRise
	}
	if c.Fall == 0 {
		c.Fall = DefaultFall
	}
	if c.SessionTimeout == 0 {
		c.SessionTimeout = DefaultSessionTimeout
	}
	if len(c.Checks) == 0 {
		c.Checks = []Check{TCP("")}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Changed == nil {
		c.Changed = func(Status) {}
	}
}

// check refuses, with an Invalid error, what can't work however long one waits.
// It returns the serverset's znode.
func (c *Config) check() (path string, err error) {
	sub, err := metaconfig.ServersetSubscription(c.Service, c.Environment)
	if err != nil {
		return "", err
	}
	invalid := func(subject string, cause error) error {
		return &store.Error{Op: "configuring a registration:", Subject: subject, Kind: store.Invalid, Err: cause}
	}
	if c.Port < 1 || c.Port > 65535 {
		return "", invalid("port", fmt.Errorf("%d is no number from 1 to 65535", c.Port))
	}
	if c.Host != "" {
		if err := serverset.CheckEndpoint(joinEndpoint(c.Host, c.Port)); err != nil {
			return "", invalid("host", err)
		}
	}
	for _, d := range []struct {
		name  string
		value time.Duration
	}{{"interval", c.Interval}, {"timeout", c.Timeout}, {"session timeout", c.SessionTimeout}} {
		if d.value <= 0 {
			return "", invalid(d.name, fmt.Errorf("%v is no time above 0", d.value))
		}
	}
	if c.Rise < 1 || c.Fall < 1 {
		return "", invalid("rise and fall", errors.New("each must be at least 1"))
	}
	names := make(map[string]bool, len(c.Checks))
	for _, check := range c.Checks {
		name := check.String()
		if names[name] {
			return "", invalid("checks", fmt.Errorf("%q comes twice: leave one out, or name it differently", name))
		}
		names[name] = true
	}
	return sub.ZKPath, nil
}

// Validate refuses, with an Invalid error, what Run would refuse.
func (c *Config) Validate() error {
	complete := *c
	complete.setDefaults()
	if _, err := complete.check(); err != nil {
		return err
	}
	_, err := complete.zookeeper(nil)
	return err
}

// zookeeper returns how to reach the ensemble.
func (c *Config) zookeeper(observer zkconn.Observer) (zkconn.Config, error) {
	config := zkconn.Config{
		Auth: c.ZooKeeperAuth, TLS: c.ZooKeeperTLS, SessionTimeout: c.SessionTimeout, Logger: c.Logger, Observer: observer,
	}
	var err error
	config.Servers, config.Chroot, err = zkconn.FindServers(c.ZooKeeper, c.ZooKeeperHostsFile)
	return config, err
}

// joinEndpoint returns host:port, an IPv6 address in brackets.
func joinEndpoint(host string, port int) string {
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	return net.JoinHostPort(host, strconv.Itoa(port))
}
