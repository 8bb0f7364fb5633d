package zkconn_test

import (
	"context"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kingpinfs/kingpin/internal/devcluster"
	"github.com/kingpinfs/kingpin/internal/devcluster/devtest"
	"github.com/kingpinfs/kingpin/internal/zkconn"
	"github.com/kingpinfs/kingpin/store"
)

func TestMain(m *testing.M) { devtest.Main(m) }

// config returns a configuration for "host:port/chroot" that logs to the test.
func config(t testing.TB, addr string) zkconn.Config {
	t.Helper()
	servers, chroot, err := zkconn.ParseServers(addr)
	if err != nil {
		t.Fatal(err)
	}
	return zkconn.Config{Servers: servers, Chroot: chroot, Logger: storingLogger(t.Output())}
}

// open opens a client that is closed when the test ends.
func open(t testing.TB, cfg zkconn.Config) *zkconn.Conn {
	t.Helper()
	c := zkconn.New(cfg)
	if err := c.Open(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// openShared opens a client of the shared server, in a chroot of its own.
func openShared(t testing.TB) *zkconn.Conn {
	t.Helper()
	return open(t, config(t, devtest.SharedZooKeeper(t)))
}

func proxied(t testing.TB, target string) *devcluster.Proxy {
	t.Helper()
	p, err := devcluster.StartProxy(target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func restore(t testing.TB, p *devcluster.Proxy) {
	t.Helper()
	if err := p.Restore(); err != nil {
		t.Fatal(err)
	}
}

// storingLogger logs everything into a buffer.
func storingLogger(w io.Writer) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// within returns a context for what must happen, however slow the machine.
func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantKind(t testing.TB, err error, kind store.Kind) {
	t.Helper()
	if store.KindOf(err) != kind {
		t.Fatalf("got %v, want an error of kind %q", err, kind)
	}
}

func wantData(t testing.TB, c *zkconn.Conn, path, want string) store.Stat {
	t.Helper()
	data, stat, err := c.Get(within(t), path)
	must(t, err)
	if string(data) != want {
		t.Fatalf("%s holds %q, want %q", path, data, want)
	}
	return stat
}

// recorder is an Observer that remembers what it heard.
type recorder struct {
	mu       sync.Mutex // guards the rest
	changed  map[string]int
	sessions []zkconn.SessionState
	news     chan struct{} // closed, and replaced, when something is heard
}

func newRecorder() *recorder {
	return &recorder{changed: make(map[string]int), news: make(chan struct{})}
}

func (r *recorder) ZnodeChanged(path string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.changed[path]++
	close(r.news)
	r.news = make(chan struct{})
}

func (r *recorder) SessionChanged(s zkconn.SessionState) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sessions = append(r.sessions, s)
	close(r.news)
	r.news = make(chan struct{})
}

// await waits until what was heard satisfies a condition.
func (r *recorder) await(t testing.TB, what string, satisfied func() bool) {
	t.Helper()
	ctx := within(t)
	for {
		r.mu.Lock()
		ok, news := satisfied(), r.news
		r.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-news:
		case <-ctx.Done():
			r.mu.Lock()
			defer r.mu.Unlock()
			t.Fatalf("never heard: %s; sessions: %v; changes: %v", what, r.sessions, r.changed)
		}
	}
}

// awaitChange waits until a path was reported n times in all.
func (r *recorder) awaitChange(t testing.TB, path string, n int) {
	t.Helper()
	r.await(t, "a change of "+path, func() bool { return r.changed[path] >= n })
}

// changes returns how often a path was reported.
func (r *recorder) changes(path string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.changed[path]
}

// reported returns the paths that were reported, sorted.
func (r *recorder) reported() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Sorted(maps.Keys(r.changed))
}

// awaitSessions waits until exactly these events were heard: "new" and "same"
// are Connected.
func (r *recorder) awaitSessions(t testing.TB, want string) {
	t.Helper()
	r.await(t, want, func() bool { return strings.HasPrefix(r.sessionText(), want) })
	r.mu.Lock()
	defer r.mu.Unlock()
	if got := r.sessionText(); got != want {
		t.Fatalf("heard %q, want %q", got, want)
	}
}

// sessionText renders the session events heard. mu must be held.
func (r *recorder) sessionText() string {
	words := make([]string, len(r.sessions))
	for i, s := range r.sessions {
		switch {
		case s.Event != zkconn.Connected:
			words[i] = s.Event.String()
		case s.New:
			words[i] = "new"
		default:
			words[i] = "same"
		}
	}
	return strings.Join(words, " ")
}
