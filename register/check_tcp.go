package register

import (
	"context"
	"errors"
	"net"
	"strings"

	"github.com/kingpinfs/kingpin/serverset"
)

// TCP makes a check that connects to addr, and hangs up. An addr without a host,
// ":PORT", is on the registered endpoint's host; "" is that endpoint itself.
func TCP(addr string) Check { return tcpCheck{addr} }

type tcpCheck struct{ addr string }

// parseTCP parses what follows "tcp:".
func parseTCP(text string) (Check, error) {
	addr := text
	if !strings.Contains(text, ":") {
		addr = ":" + text
	}
	probe := addr
	if strings.HasPrefix(addr, ":") {
		probe = "host" + addr
	}
	if serverset.CheckEndpoint(probe) != nil {
		return nil, errors.New("want tcp, tcp:PORT or tcp:HOST:PORT")
	}
	return TCP(addr), nil
}

func (c tcpCheck) String() string {
	if c.addr == "" {
		return "tcp"
	}
	return "tcp:" + strings.TrimPrefix(c.addr, ":")
}

func (c tcpCheck) Check(ctx context.Context, endpoint string) error {
	addr := c.addr
	if addr == "" {
		addr = endpoint
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return err
	}
	if host == "" {
		if host, _, err = net.SplitHostPort(endpoint); err != nil {
			return err
		}
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort(host, port))
	if err != nil {
		return err
	}
	return conn.Close()
}
