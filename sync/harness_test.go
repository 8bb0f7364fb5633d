package sync

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// box is a box with its engine, and the fleet that it is part of.
type box struct {
	t      *testing.T
	zk     *fakeZooKeeper
	s3     *fakeContents
	sink   *fakeSink
	logs   *logRecorder
	cfg    Config
	engine *Engine
	// remembers says that no version may be older than those before a restart.
	remembers bool

	stop context.CancelFunc
	done chan error
}

// inBubble runs a test of a box whose time is fake. Nothing runs yet.
func inBubble(t *testing.T, test func(b *box)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := newBox(t)
		test(b)
		b.end()
	})
}

func newBox(t *testing.T) *box {
	t.Helper()
	b := &box{t: t, zk: newFakeZooKeeper(), s3: newFakeContents(), logs: &logRecorder{}}
	b.sink = newFakeSink(t, map[key][]byte{})
	b.zk.connected = true
	b.cfg = Config{
		Dependencies: []string{boxDependency}, ZooKeeper: b.zk, Contents: b.s3,
		StateDir: t.TempDir(), Logger: slog.New(b.logs),
	}
	return b
}

// restore makes a new engine and gives it its past.
func (b *box) restore() {
	b.t.Helper()
	before := b.sink
	b.sink = newFakeSink(b.t, before.disk)
	b.sink.seen = before.seen
	if b.remembers {
		b.sink.remember(before)
	}
	b.cfg.Sink = b.sink
	b.engine = New(b.cfg)
	b.engine.Restore()
	b.zk.mu.Lock()
	b.zk.observer = b.engine
	b.zk.mu.Unlock()
}

// run starts the engine that restore made.
func (b *box) run() {
	ctx, cancel := context.WithCancel(context.Background())
	b.stop, b.done = cancel, make(chan error, 1)
	go func() { b.done <- b.engine.Run(ctx) }()
	if b.zk.connected {
		b.zk.connect(true)
	}
}

func (b *box) start() {
	b.t.Helper()
	b.restore()
	b.run()
}

// end stops the engine if it runs.
func (b *box) end() {
	b.t.Helper()
	if b.stop == nil {
		return
	}
	b.stop()
	if err := <-b.done; err != nil {
		b.t.Errorf("Run: %v", err)
	}
	b.stop = nil
	b.checkBooks()
}

func (b *box) restart() {
	b.t.Helper()
	b.end()
	b.start()
}

// fallBehind gives the box, after a restart or without one, a session with a
// server that knows the changes up to zxid alone.
func (b *box) fallBehind(zxid int64, restart bool) {
	b.t.Helper()
	b.zk.expire()
	if restart {
		b.end()
	}
	b.zk.lagAt(zxid)
	if restart {
		b.zk.connected = true
		b.start()
	} else {
		b.zk.connect(true)
	}
	b.pass(10 * time.Second)
}

// settle waits until nothing more happens without time passing.
func (b *box) settle() { synctest.Wait() }

// pass lets time pass, and everything happen that it brings about.
func (b *box) pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func (b *box) isReady() bool {
	select {
	case <-b.engine.Ready():
		return true
	default:
		return false
	}
}

// checkBooks compares what the engine counts with what it should have counted.
func (b *box) checkBooks() {
	b.t.Helper()
	e := b.engine
	e.mu.Lock()
	defer e.mu.Unlock()
	unsettled, doubts := 0, 0
	paths, listed := map[string]int{}, 0
	for k, it := range e.items {
		if it.wanted && !it.settled {
			unsettled++
		}
		if it.key != k {
			b.t.Errorf("item %v is kept under %v", it.key, k)
		}
		if it.path != "" {
			paths[it.path]++
		}
		if k.isFile() && it.wanted != (len(it.owners) > 0) {
			b.t.Errorf("%v: wanted %v with %d owners", k, it.wanted, len(it.owners))
		}
		if it.fetch != nil || k.isFile() && it.pending != nil {
			b.t.Errorf("%v: something is left of a work that has ended: %+v", k, it)
		}
		if !k.isFile() && it.doubt != 0 {
			doubts++
			if !it.wanted {
				b.t.Errorf("%v is in doubt, wanted %v", k, it.wanted)
			}
		}
	}
	for _, n := range e.doubts {
		doubts -= n
	}
	if doubts != 0 {
		b.t.Errorf("%d more items are in doubt than counted", doubts)
	}
	for stage, h := range e.stages {
		for k := range h.waiting {
			if it := e.items[k]; it == nil || it.err == nil {
				b.t.Errorf("%v waits for %q after it has succeeded, or gone", k, stage)
			}
		}
	}
	for k := range e.blind {
		if it := e.items[k]; it == nil || !it.wanted {
			b.t.Errorf("%v isn't wanted, but counts as one that can't be read", k)
		}
	}
	if len(e.fetches) != 0 {
		b.t.Errorf("%d downloads count as in progress", len(e.fetches))
	}
	if unsettled != e.unsettled {
		b.t.Errorf("%d items are unsettled, counted are %d", unsettled, e.unsettled)
	}
	for path, first := range e.byPath {
		n := 0
		for it := first; it != nil; it = it.twin {
			n++
		}
		if listed++; n != paths[path] {
			b.t.Errorf("znode %q is that of %d items, listed are %d", path, paths[path], n)
		}
	}
	if listed != len(paths) {
		b.t.Errorf("%d znodes are listed, %d are read", listed, len(paths))
	}
}

func (b *box) wantContent(k key, want string) {
	b.t.Helper()
	if got, ok := b.sink.content(k); !ok || got != want {
		b.t.Errorf("%q serves %q (%v), want %q", k.name, got, ok, want)
	}
}

func (b *box) wantNone(k key) {
	b.t.Helper()
	if got, ok := b.sink.content(k); ok {
		b.t.Errorf("%q serves %q, want nothing", k.name, got)
	}
}

// wantState checks the state of a file, and that its error holds a text.
func (b *box) wantState(k key, want State, problem string) {
	b.t.Helper()
	if want != Absent {
		if s := b.sink.status(k); s.State != want || (s.Err == "") != (problem == "") || !strings.Contains(s.Err, problem) {
			b.t.Errorf("the sink has %q as %s with the error %q, want %s with %q", k.name, s.State, s.Err, want, problem)
		}
	}
	if s := b.fileStatus(k); s.State != want || (s.Err == "") != (problem == "") || !strings.Contains(s.Err, problem) {
		b.t.Errorf("the snapshot has %q as %s with the error %q, want %s with %q", k.name, s.State, s.Err, want, problem)
	}
}

func (b *box) fileStatus(k key) FileStatus {
	s := b.engine.Snapshot()
	for _, f := range append(s.Configs, s.Serversets...) {
		if fileKey(f.Type, f.Name) == k {
			return f
		}
	}
	return FileStatus{}
}

func (b *box) wantReady(want bool) {
	b.t.Helper()
	if got := b.isReady(); got != want || b.engine.Snapshot().Ready != want {
		b.t.Errorf("ready: %v, want %v", got, want)
	}
}

// logRecorder keeps what is logged.
type logRecorder struct {
	mu    sync.Mutex // guards lines
	lines []string
}

// Enabled implements slog.Handler.
func (*logRecorder) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelInfo }

// Handle implements slog.Handler.
func (r *logRecorder) Handle(_ context.Context, record slog.Record) error {
	line := record.Level.String() + " " + record.Message
	record.Attrs(func(a slog.Attr) bool {
		line += " " + a.String()
		return true
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, line)
	return nil
}

// WithAttrs implements slog.Handler.
func (r *logRecorder) WithAttrs([]slog.Attr) slog.Handler { return r }

// WithGroup implements slog.Handler.
func (r *logRecorder) WithGroup(string) slog.Handler { return r }

// matching returns the lines that hold all the given texts.
func (r *logRecorder) matching(texts ...string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var found []string
	for _, line := range r.lines {
		if !slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(line, text) }) {
			found = append(found, line)
		}
	}
	return found
}

func (b *box) wantLogged(n int, texts ...string) {
	b.t.Helper()
	if found := b.logs.matching(texts...); len(found) != n {
		b.t.Errorf("%q was logged %d times, want %d:\n%s", texts, len(found), n, strings.Join(found, "\n"))
	}
}
