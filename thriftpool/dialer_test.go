package thriftpool_test

import (
	"context"
	"fmt"
	"maps"
	"net"
	"sync"
)

// counting returns a dialer that counts the connections that are open or being
// opened, and what tells how many there were at most: of all, and by host.
func counting() (dial func(ctx context.Context, network, address string) (net.Conn, error), most func() (int, map[string]int)) {
	c := &counter{now: make(map[string]int), most: make(map[string]int)}
	return c.dial, func() (int, map[string]int) {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.mostOfAll, maps.Clone(c.most)
	}
}

type counter struct {
	mu        sync.Mutex // guards the rest
	now, most map[string]int
	all       int
	mostOfAll int
}

func (c *counter) add(address string, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now[address] += n
	c.most[address] = max(c.most[address], c.now[address])
	c.all += n
	c.mostOfAll = max(c.mostOfAll, c.all)
}

func (c *counter) dial(ctx context.Context, network, address string) (net.Conn, error) {
	c.add(address, 1)
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		c.add(address, -1)
		return nil, err
	}
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return nil, fmt.Errorf("a connection to %q is a %T", address, conn)
	}
	return &counted{TCPConn: tcp, closed: func() { c.add(address, -1) }}, nil
}

// counted is a connection that tells when it is closed.
type counted struct {
	*net.TCPConn
	once   sync.Once
	closed func()
}

func (c *counted) Close() error {
	err := c.TCPConn.Close()
	c.once.Do(c.closed)
	return err
}
