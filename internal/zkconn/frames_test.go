package zkconn_test

import (
	"encoding/binary"
	"io"
	"net"
	"sync"
	"testing"
)

// frameProxy passes ZooKeeper's packets on, one by one, through functions of
// the test's: for faults that only somebody who knows the protocol can make.
type frameProxy struct {
	listener net.Listener
	target   string
	tasks    sync.WaitGroup
	// toServer and toClient say whether a packet, without its length, is to
	// be passed on. The first packet of a connection always is. They are
	// called from several goroutines.
	toServer func(packet []byte) bool
	toClient func(packet []byte) bool

	mu    sync.Mutex // guards conns
	conns []net.Conn
}

func startFrameProxy(t testing.TB, target string, toServer, toClient func([]byte) bool) *frameProxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &frameProxy{listener: listener, target: target, toServer: toServer, toClient: toClient}
	p.tasks.Go(p.accept)
	t.Cleanup(func() {
		_ = listener.Close()
		p.breakAll()
		p.tasks.Wait()
	})
	return p
}

func (p *frameProxy) addr() string { return p.listener.Addr().String() }

func (p *frameProxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.target)
		if err != nil {
			_ = client.Close()
			continue
		}
		p.mu.Lock()
		p.conns = append(p.conns, client, server)
		p.mu.Unlock()
		p.tasks.Go(func() { pass(server, client, p.toServer) })
		p.tasks.Go(func() { pass(client, server, p.toClient) })
	}
}

// breakAll breaks all connections; new ones are accepted.
func (p *frameProxy) breakAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, conn := range p.conns {
		_ = conn.Close()
	}
	p.conns = nil
}

func pass(dst, src net.Conn, wanted func([]byte) bool) {
	defer func() { _ = dst.Close() }()
	defer func() { _ = src.Close() }()
	for first := true; ; first = false {
		var head [4]byte
		if _, err := io.ReadFull(src, head[:]); err != nil {
			return
		}
		packet := make([]byte, 4+binary.BigEndian.Uint32(head[:]))
		copy(packet, head[:])
		if _, err := io.ReadFull(src, packet[4:]); err != nil {
			return
		}
		if !first && !wanted(packet[4:]) {
			continue
		}
		if _, err := dst.Write(packet); err != nil {
			return
		}
	}
}

// all passes everything.
func all([]byte) bool { return true }

// The first four bytes of a packet are the request's number, and the next, on
// the way to the server, its kind.
const (
	xidEvent     = -1
	opCreate     = 1
	opDelete     = 2
	opGetData    = 4
	opSetWatches = 101
)

func xid(packet []byte) int32    { return int32(binary.BigEndian.Uint32(packet)) }
func opcode(packet []byte) int32 { return int32(binary.BigEndian.Uint32(packet[4:])) }
