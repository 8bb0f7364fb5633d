package thriftpool

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"time"

	"github.com/apache/thrift/lib/go/thrift"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/kingpinfs/kingpin/serverset"
)

// Transport says how messages are told apart on a connection. Client and server
// must agree on it.
type Transport int

// The transports of Thrift that go over sockets.
const (
	// Framed puts the size before each message: TFramedTransport. Non-blocking
	// servers take nothing else.
	Framed Transport = iota
	// Buffered sends messages bare: TBufferedTransport.
	Buffered
	// Header puts size, protocol and headers before each message: THeaderTransport.
	// The headers are those that thrift.SetWriteHeaderList names in a call's
	// context.
	Header
)

// Protocol says how values are written. Client and server must agree on it.
type Protocol int

// The protocols of Thrift that every language speaks.
const (
	Binary  Protocol = iota // TBinaryProtocol
	Compact                 // TCompactProtocol
)

// Never switches off what a duration of Options limits.
const Never time.Duration = -1

// Options may be left zero: each has a default that is safe to run with.
type Options struct {
	Transport Transport
	Protocol  Protocol
	// TLS, if it isn't nil, is how connections are secured. Where it has no
	// ServerName, the host of the endpoint must be in the server's certificate.
	// It must not be changed any more.
	TLS *tls.Config
	// Dial makes the connections, beneath TLS. nil means net.Dialer's. The network
	// is "tcp"; or "unix", for endpoints such as unix:/run/users.sock.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	// MaxConns is how many connections there are at most, those that are being made
	// included. A call that finds none free waits its turn. 0 means 256.
	MaxConns int
	// MaxConnsPerHost is how many of them lead to one host. 0 means 32.
	MaxConnsPerHost int
	// MinConnsPerHost is how many are opened to each host before there is a call for
	// them, and kept open while idle, as far as MaxConns goes. 0 means none.
	MinConnsPerHost int
	// IdleTimeout closes connections that weren't used for so long. It should be
	// shorter than what servers and firewalls in between allow. 0 means a minute.
	IdleTimeout time.Duration
	// MaxAge closes connections at that age, up to 10% earlier or later, so that
	// load balancers and names in DNS get their say again. 0 means half an hour.
	MaxAge time.Duration
	// MaxCalls closes connections after so many calls. 0 means never.
	MaxCalls int

	// DialTimeout is for making a connection, TLS included. 0 means a second.
	DialTimeout time.Duration
	// Timeout is for a call as a whole, with waiting and retries, if the context
	// has no earlier deadline. 0 means 10 seconds.
	Timeout time.Duration
	// AttemptTimeout is for one host to answer, with connecting to it. 0 means as
	// long as the call may take.
	AttemptTimeout time.Duration

	// MaxFrameSize is the most bytes that a frame may have, in both directions. 0
	// means 16384000, as in Thrift's libraries.
	MaxFrameSize int
	// MaxMessageSize is the most bytes that an answer may have. 0 means 64 MiB.
	MaxMessageSize int

	// MaxAttempts is how many hosts are asked at most for one call, without those
	// that refuse the connection because nobody listens there. 0 means 3; 1 that
	// calls are never made again.
	MaxAttempts int
	// Idempotent names the methods that do no harm when they are executed twice.
	// They are made again also when a server may have received them. WithIdempotent
	// says the same of a single call.
	Idempotent []string
	// RetryRatio is how many retries, and hedges, there may be for each call in the
	// long run, so that a service that is down for overload isn't asked even more.
	// 0 means 0.2; less than 0 none.
	RetryRatio float64
	// RetryBurst is how many there may be at once; 0 means 100.
	RetryBurst int
	// HedgeAfter, if it isn't 0, is when an idempotent call that isn't answered yet
	// is made to a second host as well. The first answer counts.
	HedgeAfter time.Duration
	// HedgePercentile, if it isn't 0, hedges calls that take longer than so many
	// percent of the last calls of the method did, such as 95, but not before
	// HedgeAfter.
	HedgePercentile float64

	// Selector chooses among the hosts; nil means serverset.LeastOutstanding().
	Selector serverset.Selector
	// Ejection says when hosts that fail are left alone for a while.
	Ejection serverset.EjectionOptions
	// Zone says which hosts are near.
	Zone serverset.ZoneOptions

	// Middleware is put around each call, the first outermost. A retry doesn't pass
	// it again.
	Middleware []thrift.ClientMiddleware
	// Hooks are told of attempts and connections.
	Hooks Hooks
	// Name tells the pool from others of the program, in metrics and logs. "" means
	// "thrift".
	Name string
	// Metrics is where the pool registers its metrics, until it is closed. nil means
	// nowhere.
	Metrics prometheus.Registerer
	// MaxLabels bounds the hosts, and the methods, that have metrics of their own;
	// the rest share "other". 0 means 100.
	MaxLabels int
	// Logger is told of hosts that are ejected and of connections that fail; nil
	// means slog's default.
	Logger *slog.Logger
}

// withDefaults returns the options to run with. Durations that are switched off
// become so long that it makes no difference.
func (o Options) withDefaults() (Options, error) {
	if err := o.check(); err != nil {
		return o, fmt.Errorf("options of a Thrift pool: %w", err)
	}
	defaults(&o.MaxConns, 256)
	defaults(&o.MaxConnsPerHost, 32)
	defaults(&o.MaxAttempts, 3)
	defaults(&o.RetryBurst, 100)
	defaults(&o.MaxFrameSize, thrift.DEFAULT_MAX_FRAME_SIZE)
	defaults(&o.MaxMessageSize, 64<<20)
	defaults(&o.MaxLabels, 100)
	defaults(&o.RetryRatio, 0.2)
	for _, d := range []struct {
		value *time.Duration
		unset time.Duration
	}{
		{&o.IdleTimeout, time.Minute},
		{&o.MaxAge, 30 * time.Minute},
		{&o.DialTimeout, time.Second},
		{&o.Timeout, 10 * time.Second},
		{&o.AttemptTimeout, Never},
	} {
		defaults(d.value, d.unset)
		if *d.value < 0 {
			*d.value = forever
		}
	}
	o.MaxFrameSize = min(o.MaxFrameSize, o.MaxMessageSize)
	if o.Name == "" {
		o.Name = "thrift"
	}
	if o.Dial == nil {
		o.Dial = new(net.Dialer).DialContext
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return o, nil
}

// forever is a duration that can be added to any time.
const forever = 100 * 365 * 24 * time.Hour

func defaults[T comparable](value *T, unset T) {
	if *value == *new(T) {
		*value = unset
	}
}

func (o *Options) check() error {
	for _, n := range []struct {
		name  string
		value int
	}{
		{"MaxConns", o.MaxConns},
		{"MaxConnsPerHost", o.MaxConnsPerHost},
		{"MinConnsPerHost", o.MinConnsPerHost},
		{"MaxCalls", o.MaxCalls},
		{"MaxFrameSize", o.MaxFrameSize},
		{"MaxMessageSize", o.MaxMessageSize},
		{"MaxAttempts", o.MaxAttempts},
		{"RetryBurst", o.RetryBurst},
		{"MaxLabels", o.MaxLabels},
	} {
		if n.value < 0 || n.value > math.MaxInt32 {
			return fmt.Errorf("%s is %d, want 0 to %d", n.name, n.value, math.MaxInt32)
		}
	}
	switch {
	case o.Transport < Framed || o.Transport > Header:
		return fmt.Errorf("there is no transport %d", o.Transport)
	case o.Protocol < Binary || o.Protocol > Compact:
		return fmt.Errorf("there is no protocol %d", o.Protocol)
	case !(o.RetryRatio <= 1):
		return fmt.Errorf("RetryRatio is %v, want at most 1", o.RetryRatio)
	case !(o.HedgePercentile >= 0 && o.HedgePercentile < 100):
		return fmt.Errorf("HedgePercentile is %v, want 0 to less than 100", o.HedgePercentile)
	case o.HedgeAfter < 0:
		return errors.New("HedgeAfter is negative: leave it 0 not to hedge")
	}
	return nil
}

// configuration is what the library's protocols and transports are given: one
// for all of them, since each overwrites that of those beneath it. Time is kept
// by the pool.
func (o *Options) configuration() *thrift.TConfiguration {
	id := thrift.THeaderProtocolBinary
	if o.Protocol == Compact {
		id = thrift.THeaderProtocolCompact
	}
	return &thrift.TConfiguration{
		MaxFrameSize:   int32(o.MaxFrameSize),
		MaxMessageSize: int32(o.MaxMessageSize),
		// What isn't strict is garbage more often than it is a server from 2008.
		TBinaryStrictRead:  new(true),
		TBinaryStrictWrite: new(true),
		THeaderProtocolID:  &id,
	}
}
