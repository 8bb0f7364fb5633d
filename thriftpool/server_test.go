package thriftpool_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"iter"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/thrift/lib/go/thrift"

	"github.com/kingpinfs/kingpin/thriftpool"
	"github.com/kingpinfs/kingpin/thriftpool/internal/probe"
)

// handler is the service that servers have: it counts ids. Several servers may
// share one.
type handler struct {
	mu     sync.Mutex // guards counts
	counts map[string]int64

	calls   atomic.Int64
	waiting chan struct{} // if it isn't nil: gets one when a call waits
	proceed chan struct{} // if it isn't nil: a call that waits goes on when it can receive
}

func newHandler() *handler { return &handler{counts: make(map[string]int64)} }

func (h *handler) Echo(_ context.Context, text string) (string, error) {
	h.calls.Add(1)
	return text, nil
}

func (h *handler) Count(_ context.Context, id string) (int64, error) {
	h.calls.Add(1)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.counts[id]++
	return h.counts[id], nil
}

func (h *handler) Note(ctx context.Context, id string) error {
	_, err := h.Count(ctx, id)
	return err
}

func (h *handler) counted(id string) int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.counts[id]
}

func (h *handler) Refuse(_ context.Context, reason string) error {
	h.calls.Add(1)
	return &probe.Refused{Reason: reason}
}

func (h *handler) Crash(context.Context) error {
	h.calls.Add(1)
	return errors.New("it crashed")
}

// Wait waits for proceed, or until the server ends; for so many milliseconds if
// there is no proceed.
func (h *handler) Wait(ctx context.Context, milliseconds int64) (int64, error) {
	h.calls.Add(1)
	if h.waiting != nil {
		h.waiting <- struct{}{}
	}
	if h.proceed == nil {
		select {
		case <-time.After(time.Duration(milliseconds) * time.Millisecond):
		case <-ctx.Done():
		}
		return milliseconds, nil
	}
	select {
	case <-h.proceed:
	case <-ctx.Done():
	}
	return milliseconds, nil
}

func (h *handler) Blob(_ context.Context, size int32) ([]byte, error) {
	h.calls.Add(1)
	return make([]byte, size), nil
}

func (h *handler) Mirror(_ context.Context, tree *probe.Tree) (*probe.Tree, error) {
	h.calls.Add(1)
	return tree, nil
}

// serverOptions say what a server speaks.
type serverOptions struct {
	transport thriftpool.Transport
	protocol  thriftpool.Protocol
	tls       *tls.Config
	service   string // if it isn't "", the name among several
	network   string // "" means tcp
	address   string // of a unix socket
}

// server is a Thrift server made of the library's transports and the generated
// processor, which can be killed as a process can.
type server struct {
	options  serverOptions
	listener net.Listener
	process  thrift.TProcessor
	ctx      context.Context
	cancel   context.CancelFunc
	running  sync.WaitGroup

	accepted atomic.Int64 // connections, ever

	mu    sync.Mutex // guards the rest
	conns map[net.Conn]struct{}
	most  int // the most connections at a time
	dead  bool
}

// serve starts a server, which ends with the test.
func serve(t testing.TB, h probe.Probe, options serverOptions) *server {
	t.Helper()
	if options.network == "unix" {
		options.address = filepath.Join(t.TempDir(), "socket")
	}
	s, err := startServer(h, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.kill)
	return s
}

// startServer starts a server, which is to be killed.
func startServer(h probe.Probe, options serverOptions) (*server, error) {
	if options.network == "" {
		options.network, options.address = "tcp", "127.0.0.1:0"
	}
	listener, err := net.Listen(options.network, options.address)
	if err != nil {
		return nil, err
	}
	s := &server{options: options, listener: listener, conns: make(map[net.Conn]struct{})}
	s.process = probe.NewProbeProcessor(h)
	if options.service != "" {
		several := thrift.NewTMultiplexedProcessor()
		several.RegisterProcessor(options.service, s.process)
		s.process = several
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.running.Go(s.accept)
	return s, nil
}

// endpoint is where the server is.
func (s *server) endpoint() string {
	if s.options.network == "unix" {
		return "unix:" + s.listener.Addr().String()
	}
	return s.listener.Addr().String()
}

// kill ends the server: everything is closed at once.
func (s *server) kill() {
	s.mu.Lock()
	s.dead = true
	s.mu.Unlock()
	s.cancel()
	_ = s.listener.Close()
	s.drop()
	s.running.Wait()
}

// drop closes all connections.
func (s *server) drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		_ = c.Close()
	}
}

// open returns how many connections are open.
func (s *server) open() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

func (s *server) accept() {
	for {
		c, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.accepted.Add(1)
		s.mu.Lock()
		if s.dead {
			_ = c.Close()
		}
		s.conns[c] = struct{}{}
		s.most = max(s.most, len(s.conns))
		s.mu.Unlock()
		s.running.Go(func() {
			defer func() {
				_ = c.Close()
				s.mu.Lock()
				defer s.mu.Unlock()
				delete(s.conns, c)
			}()
			s.serve(c)
		})
	}
}

// serve answers what comes over a connection.
func (s *server) serve(c net.Conn) {
	if s.options.tls != nil {
		c = tls.Server(c, s.options.tls)
	}
	in := s.options.stack(thrift.NewTSocketFromConnConf(c, &thrift.TConfiguration{}))
	for {
		if _, err := s.process.Process(s.ctx, in, in); err != nil && !answered(err) {
			return
		}
	}
}

// answered tells whether the client got the error, so that the connection goes on.
func answered(err error) bool {
	var exception thrift.TApplicationException
	return errors.As(err, &exception) || !errors.As(err, new(thrift.TTransportException)) &&
		!errors.As(err, new(thrift.TProtocolException)) && !errors.Is(err, io.EOF)
}

// stack returns the protocol over a transport.
func (o *serverOptions) stack(base thrift.TTransport) thrift.TProtocol {
	id := thrift.THeaderProtocolBinary
	if o.protocol == thriftpool.Compact {
		id = thrift.THeaderProtocolCompact
	}
	config := &thrift.TConfiguration{THeaderProtocolID: &id}
	switch o.transport {
	case thriftpool.Header:
		return thrift.NewTHeaderProtocolConf(base, config)
	case thriftpool.Framed:
		base = thrift.NewTFramedTransportConf(base, config)
	default:
		base = thrift.NewTBufferedTransport(base, 4096)
	}
	if o.protocol == thriftpool.Compact {
		return thrift.NewTCompactProtocolConf(base, config)
	}
	return thrift.NewTBinaryProtocolConf(base, config)
}

// hosts is a provider of endpoints of any kind.
type hosts struct {
	mu      sync.Mutex // guards list and changed
	list    []string
	changed chan struct{} // closed with the next change
}

func hostsOf(endpoints ...string) *hosts {
	return &hosts{list: endpoints, changed: make(chan struct{})}
}

func (h *hosts) set(endpoints ...string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.list = endpoints
	close(h.changed)
	h.changed = make(chan struct{})
}

func (h *hosts) Endpoints() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.list
}

func (h *hosts) Watch(ctx context.Context) iter.Seq[[]string] {
	return func(yield func([]string) bool) {
		for {
			h.mu.Lock()
			list, changed := h.list, h.changed
			h.mu.Unlock()
			if !yield(list) {
				return
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	}
}

// name makes the names of tests' cases.
func name(t thriftpool.Transport, p thriftpool.Protocol) string {
	return strings.Join([]string{
		[]string{"framed", "buffered", "header"}[t],
		[]string{"binary", "compact"}[p],
	}, "/")
}
