package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	kpsync "github.com/kingpinfs/kingpin/sync"
)

// Engine is what the endpoints need of the sync engine. *kpsync.Engine
// implements it.
type Engine interface {
	// Snapshot returns how every file stands.
	Snapshot() kpsync.Snapshot
	// Ready is closed when the first load is over.
	Ready() <-chan struct{}
	// Stats returns the engine's counters, live.
	Stats() *kpsync.Stats
	// Reread reads a znode again and reports whether it is subscribed to.
	Reread(path string) bool
	// Resync reads everything again, spread over a time.
	Resync(spread time.Duration)
	// AcceptServerset lets a held serverset out, by the name of its file.
	AcceptServerset(name string) error
}

// Config is what a Server is made of. All fields but Logger are required.
type Config struct {
	Engine Engine
	// Describe returns what the engine doesn't know: everything of a Status
	// but the files, metaconfigs and dependencies.
	Describe func() Status
	// Kill stops the daemon cleanly, some time after it returns.
	Kill   func()
	Logger *slog.Logger
}

// Server answers the monitor's endpoints on a mux of its own. Whoever can reach
// it may stop the daemon: it belongs on a loopback address.
type Server struct {
	cfg  Config
	http *http.Server
}

// New returns a server that answers nothing yet.
func New(cfg Config) *Server {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{cfg: cfg}
	s.http = &http.Server{
		Handler:           s.Handler(),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      time.Minute,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelDebug),
	}
	return s
}

// Listen takes an address, "host:port", for a Server to answer on; port 0 takes
// a free one. The error names the address, and how to choose another.
func Listen(ctx context.Context, addr string) (*net.TCPListener, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listening for admin requests on %q (another address can be given with --admin-addr or -p): %w", addr, err)
	}
	tcp, ok := listener.(*net.TCPListener)
	if !ok {
		return nil, errors.Join(fmt.Errorf("listening for admin requests on %q: it gives a %T", addr, listener), listener.Close())
	}
	return tcp, nil
}

// Run answers requests until ctx is done, and then those in progress. It closes
// the listener; requests that come later wait for whoever else listens on the
// same socket.
func (s *Server) Run(ctx context.Context, listener net.Listener) error {
	failed := make(chan error, 1)
	go func() { failed <- s.http.Serve(listener) }()
	select {
	case err := <-failed:
		return fmt.Errorf("answering admin requests: %w", err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if err := s.http.Shutdown(grace); err != nil {
		_ = s.http.Close()
	}
	if err := <-failed; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Handler returns what answers the requests.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /admin/ping", s.ping)
	mux.HandleFunc("GET /admin/healthcheck", s.healthcheck)
	mux.HandleFunc("GET /admin/watched_metaconfigs", s.watchedMetaconfigs)
	mux.HandleFunc("GET /admin/watched_dependencies", s.watchedDependencies)
	mux.HandleFunc("GET /admin/rejected_serversets", s.rejectedServersets)
	mux.HandleFunc("GET /admin/rejected_serversets/healthcheck", s.rejectedHealthcheck)
	mux.HandleFunc("GET /admin/details", s.details)
	mux.HandleFunc("GET /admin/status", s.status)
	mux.HandleFunc("GET /config", s.configs)
	mux.HandleFunc("GET /config/{path...}", s.configs)
	mux.HandleFunc("GET /serverset", s.serversets)
	mux.HandleFunc("GET /serverset/{path...}", s.serversets)
	mux.HandleFunc("POST /admin/watch/{path...}", s.watch)
	mux.HandleFunc("POST /admin/resync", s.resync)
	mux.HandleFunc("POST /admin/serverset/{name}/accept", s.acceptServerset)
	mux.HandleFunc("POST /admin/kill", s.kill)
	mux.Handle("GET /metrics", s.metrics())
	// A page in somebody's browser must not be able to stop the daemon.
	return collapseSlashes(http.NewCrossOriginProtection().Handler(mux))
}

func (s *Server) metrics() http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(newCollector(s.cfg.Engine, s.cfg.Describe))
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{ErrorLog: slog.NewLogLogger(s.cfg.Logger.Handler(), slog.LevelWarn)})
}

// collapseSlashes makes "/config//config/x" mean "/config/config/x": clients
// append the ZooKeeper path, which begins with a slash, and follow no
// redirects.
func collapseSlashes(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for strings.Contains(r.URL.Path, "//") {
			r.URL.Path = strings.ReplaceAll(r.URL.Path, "//", "/")
			r.URL.RawPath = ""
		}
		next.ServeHTTP(w, r)
	})
}

func (s *Server) answer(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	if err := json.NewEncoder(w).Encode(body); err != nil {
		s.cfg.Logger.Debug("an admin client went away", "error", err)
	}
}
