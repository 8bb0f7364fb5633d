package devcluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// proxyChunk is how much a proxy passes on at a time.
const proxyChunk = 64 << 10

// Proxy passes TCP connections on to a server, and makes the network fail on
// the way. Its methods are safe for concurrent use.
type Proxy struct {
	target string
	port   int
	tasks  sync.WaitGroup // the accept loop and the copiers

	mu       sync.Mutex // guards the rest
	listener net.Listener
	conns    map[net.Conn]struct{} // both ends of every connection
	delay    time.Duration
	flowing  chan struct{} // closed while bytes may pass; open during a stall
	closed   bool
}

// StartProxy listens on a free port of 127.0.0.1 and passes connections on to
// target, "host:port". The caller must call Close.
func StartProxy(target string) (*Proxy, error) {
	port, err := FreePort()
	if err != nil {
		return nil, err
	}
	p := &Proxy{target: target, port: port, conns: make(map[net.Conn]struct{}), flowing: make(chan struct{})}
	close(p.flowing)
	if err := p.Restore(); err != nil {
		return nil, err
	}
	return p, nil
}

// Addr returns "127.0.0.1:port". It stays the same for the proxy's life.
func (p *Proxy) Addr() string { return hostPort(p.port) }

// Cut breaks all connections and refuses new ones, as if the server were down.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener != nil {
		_ = p.listener.Close()
		p.listener = nil
	}
	p.breakAll()
}

// Break breaks all connections, and goes on accepting new ones.
func (p *Proxy) Break() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.breakAll()
}

// breakAll closes all connections. mu must be held.
func (p *Proxy) breakAll() {
	for conn := range p.conns {
		_ = conn.Close()
	}
}

// Stall lets nothing pass any more: connections stay, new ones are accepted,
// and bytes wait, as if the network swallowed every packet.
func (p *Proxy) Stall() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.flowing:
		p.flowing = make(chan struct{})
	default:
	}
}

// Restore ends a Cut and a Stall. What was held back goes on its way.
func (p *Proxy) Restore() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return errors.New("restoring a proxy: it is closed")
	}
	if p.listener == nil {
		listener, err := listenOn(p.port)
		if err != nil {
			return fmt.Errorf("starting a proxy for %s: %w", p.target, err)
		}
		p.listener = listener
		p.tasks.Go(func() { p.accept(listener) })
	}
	p.flow()
	return nil
}

// flow ends a stall. mu must be held.
func (p *Proxy) flow() {
	select {
	case <-p.flowing:
	default:
		close(p.flowing)
	}
}

// SetDelay makes everything arrive later by d, in both directions. At most
// 64 KiB pass in that time, so a delay also limits the bandwidth.
func (p *Proxy) SetDelay(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = d
}

// Close breaks all connections and waits for everything to end.
func (p *Proxy) Close() {
	p.Cut()
	p.mu.Lock()
	p.closed = true
	p.flow()
	p.mu.Unlock()
	p.tasks.Wait()
}

// accept serves connections until its listener is closed.
func (p *Proxy) accept(listener net.Listener) {
	for {
		client, err := listener.Accept()
		if err != nil {
			return
		}
		p.tasks.Go(func() { p.serve(listener, client) })
	}
}

// serve connects to the target and copies both ways until either side ends.
func (p *Proxy) serve(listener net.Listener, client net.Conn) {
	defer func() { _ = client.Close() }()
	dialer := net.Dialer{Timeout: 5 * time.Second}
	server, err := dialer.DialContext(context.Background(), "tcp", p.target)
	if err != nil {
		return
	}
	defer func() { _ = server.Close() }()
	if !p.track(listener, client, server) {
		return
	}
	defer p.untrack(client, server)
	var copiers sync.WaitGroup
	for _, way := range [][2]net.Conn{{client, server}, {server, client}} {
		copiers.Go(func() {
			p.pass(way[1], way[0])
			_ = client.Close()
			_ = server.Close()
		})
	}
	copiers.Wait()
}

// track makes connections breakable. It returns false if the proxy was cut
// since they were accepted.
func (p *Proxy) track(listener net.Listener, conns ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener != listener {
		return false
	}
	for _, conn := range conns {
		p.conns[conn] = struct{}{}
	}
	return true
}

func (p *Proxy) untrack(conns ...net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, conn := range conns {
		delete(p.conns, conn)
	}
}

// pass copies from src to dst, late if there is a delay, and not while stalled.
func (p *Proxy) pass(dst io.Writer, src io.Reader) {
	buf := make([]byte, proxyChunk)
	for {
		n, err := src.Read(buf)
		if n > 0 {
			p.wait()
			if _, err := dst.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// wait waits for as long as bytes must not pass.
func (p *Proxy) wait() {
	p.mu.Lock()
	delay, flowing := p.delay, p.flowing
	p.mu.Unlock()
	if delay > 0 {
		time.Sleep(delay)
	}
	<-flowing
}
