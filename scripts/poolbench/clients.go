package main

import (
	"context"
	"errors"
	"time"

	"github.com/apache/thrift/lib/go/thrift"
	"github.com/kingpinfs/kingpin/serverset"
	"github.com/kingpinfs/kingpin/thriftpool"
	"github.com/reddit/baseplate.go/thriftbp"
)

// What all of them are given.
const (
	connectTimeout = time.Second
	callTimeout    = 10 * time.Second
)

// The transports: framed with the binary protocol, which most servers speak, and
// header with the compact one, which baseplate's do.
const (
	framed = "framed"
	header = "header"
)

var transportNames = []string{framed, header}

func configuration() *thrift.TConfiguration {
	return &thrift.TConfiguration{
		ConnectTimeout: connectTimeout, SocketTimeout: callTimeout,
		THeaderProtocolID: thrift.THeaderProtocolIDPtrMust(thrift.THeaderProtocolCompact),
	}
}

// protocolOver returns what makes protocols of sockets, with the transport
// between.
func protocolOver(transport string) thrift.TProtocolFactory {
	if transport == header {
		return thrift.NewTHeaderProtocolFactoryConf(configuration())
	}
	return framedBinary{}
}

type framedBinary struct{}

// GetProtocol implements thrift.TProtocolFactory.
func (framedBinary) GetProtocol(socket thrift.TTransport) thrift.TProtocol {
	return thrift.NewTBinaryProtocolConf(thrift.NewTFramedTransportConf(socket, configuration()), configuration())
}

// target is what is called: over which transport, and by how many at once.
type target struct {
	address    string
	transport  string
	goroutines int
}

// clients is what is measured: a client for each goroutine, and as many
// connections, all of which are open.
type clients struct {
	each  []thrift.TClient
	close func() error
}

// The clients, in the order of their turns.
const (
	bare      = "bare"
	pool      = "pool"
	baseplate = "baseplate"
)

var clientNames = []string{bare, pool, baseplate}

var openers = map[string]func(context.Context, target) (*clients, error){
	bare: openBare, pool: openPool, baseplate: openBaseplate,
}

// openBare gives each goroutine a connection of its own, with timeouts.
func openBare(_ context.Context, t target) (*clients, error) {
	var sockets []*thrift.TSocket
	c := &clients{close: func() error {
		var errs []error
		for _, socket := range sockets {
			errs = append(errs, socket.Close())
		}
		return errors.Join(errs...)
	}}
	for range t.goroutines {
		socket := thrift.NewTSocketConf(t.address, configuration())
		if err := socket.Open(); err != nil {
			return nil, errors.Join(err, c.close())
		}
		sockets = append(sockets, socket)
		protocol := protocolOver(t.transport).GetProtocol(socket)
		c.each = append(c.each, thrift.NewTStandardClient(protocol, protocol))
	}
	return c, nil
}

// openPool has all share a thriftpool.Pool.
func openPool(ctx context.Context, t target) (*clients, error) {
	hosts, err := serverset.NewStatic(t.address)
	if err != nil {
		return nil, err
	}
	o := thriftpool.Options{
		MaxConns: t.goroutines, MaxConnsPerHost: t.goroutines, MinConnsPerHost: t.goroutines,
		DialTimeout: connectTimeout, Timeout: callTimeout,
	}
	if t.transport == header {
		o.Transport, o.Protocol = thriftpool.Header, thriftpool.Compact
	}
	p, err := thriftpool.New(hosts, o)
	if err != nil {
		return nil, err
	}
	c := shared(p, t, func() error { return p.Close(ctx) })
	if err := p.Warm(ctx); err != nil {
		return nil, errors.Join(err, c.close())
	}
	return c, nil
}

// openBaseplate has all share baseplate's pool, without middleware.
func openBaseplate(_ context.Context, t target) (*clients, error) {
	p, err := thriftbp.NewCustomClientPool(thriftbp.ClientPoolConfig{
		ServiceSlug:        "ledger",
		InitialConnections: t.goroutines, MaxConnections: t.goroutines,
		ConnectTimeout: connectTimeout, SocketTimeout: callTimeout,
	}, thriftbp.SingleAddressGenerator(t.address), protocolOver(t.transport))
	if err != nil {
		return nil, err
	}
	return shared(p.TClient(), t, p.Close), nil
}

func shared(client thrift.TClient, t target, stop func() error) *clients {
	c := &clients{close: stop}
	for range t.goroutines {
		c.each = append(c.each, client)
	}
	return c
}
