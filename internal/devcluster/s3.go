package devcluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
)

// S3Config says how to run an S3 server inside this process.
type S3Config struct {
	// Addr is the "127.0.0.1:port" to listen on. Empty: a free port.
	Addr string
	// Buckets are created before the server answers.
	Buckets []string
	// Logger hears of starts and, at debug level, of what the server's
	// libraries have to say. nil: nobody does.
	Logger *slog.Logger
}

// S3 is an S3 server inside this process, with its objects in memory. It
// accepts any credentials, and none; VersityGW checks them. Its methods must
// not be called concurrently, but for Endpoint, CreateBucket and SetFault.
type S3 struct {
	addr    string
	logger  *slog.Logger
	backend *s3mem.Backend
	objects http.Handler
	fault   atomic.Pointer[func(*http.Request) *Fault]

	server   *http.Server
	serving  chan struct{}  // closed when server has stopped accepting
	stopping chan struct{}  // closed by Stop, for faults that hold a request
	requests sync.WaitGroup // those that are being handled
}

// StartS3 starts a server. The caller must call Stop.
func StartS3(ctx context.Context, cfg S3Config) (*S3, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Addr == "" {
		port, err := FreePort()
		if err != nil {
			return nil, fmt.Errorf("starting S3: %w", err)
		}
		cfg.Addr = hostPort(port)
	}
	backend := s3mem.New()
	s := &S3{
		addr:    cfg.Addr,
		logger:  cfg.Logger,
		backend: backend,
		objects: gofakes3.New(backend, gofakes3.WithLogger(fakeLogger{cfg.Logger})).Server(),
	}
	for _, bucket := range cfg.Buckets {
		if err := s.CreateBucket(bucket); err != nil {
			return nil, fmt.Errorf("starting S3: %w", err)
		}
	}
	if err := s.start(ctx); err != nil {
		return nil, fmt.Errorf("starting S3: %w", err)
	}
	return s, nil
}

func (s *S3) start(ctx context.Context) error {
	var listen net.ListenConfig
	listener, err := listen.Listen(ctx, "tcp", s.addr)
	if err != nil {
		return err
	}
	s.addr = listener.Addr().String()
	s.serving, s.stopping = make(chan struct{}), make(chan struct{})
	s.server = &http.Server{
		Handler:           http.HandlerFunc(s.serve),
		ErrorLog:          slog.NewLogLogger(s.logger.Handler(), slog.LevelDebug),
		ReadHeaderTimeout: time.Minute,
	}
	go func(server *http.Server, serving chan<- struct{}) {
		defer close(serving)
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			s.logger.Error("the S3 server stopped", "addr", s.addr, "error", err)
		}
	}(s.server, s.serving)
	s.logger.Info("S3 is running", "endpoint", s.Endpoint())
	return nil
}

// Endpoint returns "http://127.0.0.1:port". It stays the same over restarts.
func (s *S3) Endpoint() string { return "http://" + s.addr }

// CreateBucket creates a bucket, also while the server is stopped.
func (s *S3) CreateBucket(name string) error {
	if err := gofakes3.ValidateBucketName(name); err != nil {
		return fmt.Errorf("creating bucket %q: %w", name, err)
	}
	if err := s.backend.CreateBucket(name); err != nil {
		return fmt.Errorf("creating bucket %q: %w", name, err)
	}
	return nil
}

// Stop ends the server and its connections, and returns when no request is
// being handled any more. The objects stay, for Restart. Stopping a stopped
// server does nothing.
func (s *S3) Stop() error {
	if s.server == nil {
		return nil
	}
	close(s.stopping)
	err := s.server.Close()
	<-s.serving
	s.requests.Wait()
	s.server = nil
	if err != nil {
		return fmt.Errorf("stopping S3: %w", err)
	}
	return nil
}

// Restart starts the server again, on the same port and with the same objects,
// after stopping it if it is running.
func (s *S3) Restart(ctx context.Context) error {
	if err := s.Stop(); err != nil {
		return err
	}
	if err := s.start(ctx); err != nil {
		return fmt.Errorf("restarting S3: %w", err)
	}
	return nil
}

// serve handles a request, with the fault that is set for it, if any.
func (s *S3) serve(w http.ResponseWriter, r *http.Request) {
	s.requests.Add(1)
	defer s.requests.Done()
	if choose := s.fault.Load(); choose != nil {
		if fault := (*choose)(r); fault != nil {
			fault.serve(w, r, s.objects, s.stopping)
			return
		}
	}
	s.objects.ServeHTTP(w, r)
}

// fakeLogger hands gofakes3's log lines to slog. It prints one for each step
// of each request.
type fakeLogger struct{ logger *slog.Logger }

// Print implements gofakes3.Logger.
func (l fakeLogger) Print(level gofakes3.LogLevel, v ...any) {
	if l.logger.Enabled(context.Background(), slog.LevelDebug) {
		l.logger.Debug(fmt.Sprint(v...), "from", "gofakes3", "level", string(level))
	}
}
