package s3blob

import (
	"context"
	"net"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
)

const (
	// dialTimeout bounds an attempt to connect, and the TLS handshake after it.
	dialTimeout = 5 * time.Second
	// keepAlive is how often the kernel looks whether an unused connection's
	// other end is still there.
	keepAlive = 15 * time.Second
)

// transport returns the connections to the server: those that the SDK's
// configuration asks for (certificates, proxy), within our limits.
func transport(sdk aws.Config, cfg Config) *http.Transport {
	client, ok := sdk.HTTPClient.(*awshttp.BuildableClient)
	if !ok {
		client = awshttp.NewBuildableClient()
	}
	tr := client.GetTransport()
	// S3 speaks HTTP/1.1: one request a connection, and no request waits for
	// the loss of another's packet.
	tr.ForceAttemptHTTP2 = false
	tr.Protocols = new(http.Protocols)
	tr.Protocols.SetHTTP1(true)
	// Content is stored and returned as it is.
	tr.DisableCompression = true
	tr.MaxConnsPerHost = cfg.MaxConns
	tr.MaxIdleConns = cfg.MaxConns
	tr.MaxIdleConnsPerHost = cfg.MaxConns
	// Unused connections are closed before their deadline closes them, so that
	// no request meets one at its end.
	tr.IdleConnTimeout = cfg.IdleTimeout * 3 / 4
	tr.TLSHandshakeTimeout = dialTimeout
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: keepAlive}
	tr.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dialer.DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &idleConn{Conn: conn, limit: cfg.IdleTimeout}, nil
	}
	return tr
}

// idleConn ends a connection on which no byte moves for the limit, whichever
// side has stalled.
type idleConn struct {
	net.Conn

	limit time.Duration
}

// Read waits for the first byte for at most the limit since the connection
// was last read from or written to.
func (c *idleConn) Read(p []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(c.limit)); err != nil {
		return 0, err
	}
	return c.Conn.Read(p)
}

// Write gives the other end the limit to take what is written, and to answer:
// a Read that is waiting already waits on.
func (c *idleConn) Write(p []byte) (int, error) {
	if err := c.SetDeadline(time.Now().Add(c.limit)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}
