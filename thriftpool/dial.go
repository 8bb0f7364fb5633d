package thriftpool

import (
	"context"
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"time"

	"github.com/apache/thrift/lib/go/thrift"

	"github.com/kingpinfs/kingpin/serverset"
)

// unixPrefix begins the endpoints that are paths of sockets.
const unixPrefix = "unix:"

// dial opens a connection to a host.
func (p *Pool) dial(ctx context.Context, h *host, id *serverset.Host) (*conn, error) {
	begun := time.Now()
	ctx, cancel := context.WithTimeout(ctx, p.options.DialTimeout)
	defer cancel()
	stop := context.AfterFunc(p.cutting, cancel)
	defer stop()
	netConn, raw, err := p.connect(ctx, h.endpoint)
	p.options.Hooks.dialled(h.endpoint, time.Since(begun), err)
	h.metrics.dialled(dialOutcome(err))
	if err != nil {
		return nil, thrift.NewTTransportExceptionFromError(fmt.Errorf("connecting to it: %w", err))
	}
	c := newConn(netConn, raw, &p.options)
	c.host, c.id = h, id
	c.expires = time.Now().Add(jittered(p.options.MaxAge))
	return c, nil
}

// connect returns a connection, and what is beneath TLS.
func (p *Pool) connect(ctx context.Context, endpoint string) (conn, raw net.Conn, err error) {
	network, address := "tcp", endpoint
	if path, ok := strings.CutPrefix(endpoint, unixPrefix); ok {
		network, address = "unix", path
	}
	raw, err = p.options.Dial(ctx, network, address)
	if err != nil {
		return nil, nil, err
	}
	if p.options.TLS == nil {
		return raw, raw, nil
	}
	secured := tls.Client(&impatient{Conn: raw}, p.tlsConfig(address))
	if err := secured.HandshakeContext(ctx); err != nil {
		_ = raw.Close() // the handshake's error is the one that matters
		return nil, nil, fmt.Errorf("TLS handshake: %w", err)
	}
	return secured, raw, nil
}

// tlsConfig returns the configuration for a host: the certificate is to name it,
// unless the options say another name.
func (p *Pool) tlsConfig(address string) *tls.Config {
	config := p.options.TLS
	if config.ServerName != "" || config.InsecureSkipVerify {
		return config
	}
	config = config.Clone()
	if name, _, err := net.SplitHostPort(address); err == nil {
		config.ServerName = name
	}
	return config
}

// jittered returns a duration up to a tenth shorter or longer, so that what
// began together doesn't end together.
func jittered(d time.Duration) time.Duration {
	return d - d/10 + rand.N(d/5+1)
}

func dialOutcome(err error) faultKind {
	switch {
	case err == nil:
		return 0
	case isTimeout(err):
		return timedOut
	default:
		return undialled
	}
}
