package main

import (
	"context"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	kpfs "github.com/kingpinfs/kingpin/fs"
)

// fakeHolding is a holding without FUSE. It tells what is done with it.
type fakeHolding struct {
	events chan<- string

	mu        sync.Mutex // guards the rest
	connected bool
	shown     bool
	gone      chan struct{}
	connects  []error // what Connect returns, one after the other; then nil
	showErr   error
	probeErr  error
	wakeErr   error
	asleep    chan struct{} // if not nil, Wake waits for its end
}

func (f *fakeHolding) Connect(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.connects) > 0 {
		err := f.connects[0]
		f.connects = f.connects[1:]
		if err != nil {
			return err
		}
	}
	f.connected, f.gone = true, make(chan struct{})
	f.events <- "connect"
	return nil
}

func (f *fakeHolding) Show() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.showErr != nil {
		return f.showErr
	}
	f.shown = true
	f.events <- "show"
	return nil
}

func (f *fakeHolding) end(event string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.connected {
		f.events <- event
	}
	f.connected, f.shown = false, false
	return nil
}

func (f *fakeHolding) Settle() error                 { return nil }
func (f *fakeHolding) Abort() error                  { return f.end("abort") }
func (f *fakeHolding) Abandon() error                { return f.end("abandon") }
func (f *fakeHolding) Unmount(context.Context) error { return f.end("unmount") }
func (f *fakeHolding) Refresh() error                { return nil }
func (f *fakeHolding) Wake(w kpfs.Wakeup) error {
	f.events <- "wake " + w.From + " " + w.To
	f.mu.Lock()
	err, asleep := f.wakeErr, f.asleep
	f.mu.Unlock()
	if asleep != nil {
		<-asleep
	}
	return err
}

func (f *fakeHolding) Connected() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.connected
}

func (f *fakeHolding) Shown() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.shown
}

func (f *fakeHolding) Gone() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.gone
}

func (f *fakeHolding) Probe(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.probeErr
}

func (*fakeHolding) Descriptors() ([]kpfs.Descriptor, error) {
	return nil, nil
}

// set changes a knob.
func (f *fakeHolding) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// stagePatience is how long a test waits for what should come soon.
const stagePatience = 30 * time.Second

// stage is a supervisor whose workers play what a test wants.
type stage struct {
	*supervisor
	t       *testing.T
	holding *fakeHolding
	events  chan string // what happens, in order
	seen    []string
	cancel  context.CancelCauseFunc
	ended   chan error
}

// newStage returns a supervisor that holds one directory, by a session unless
// mode is plain. It is patient where a test isn't about its patience.
func newStage(t *testing.T, mode kpfs.Mode, plays ...string) *stage {
	t.Helper()
	events := make(chan string, 1000)
	st := &stage{t: t, events: events, holding: &fakeHolding{events: events}, ended: make(chan error, 1)}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	tcp, ok := listener.(*net.TCPListener)
	if !ok {
		t.Fatalf("a %T", listener)
	}
	socket, err := tcp.File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = socket.Close() })
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	patient := pace{
		serve: 20 * time.Second, attempt: 20 * time.Second, beat: time.Hour, answer: 20 * time.Second,
		stopped: time.Millisecond, copied: 20 * time.Second, stop: 20 * time.Second, proven: time.Hour,
		backoff: [2]time.Duration{time.Millisecond, time.Millisecond}, strikes: 3,
	}
	st.supervisor = &supervisor{
		volumes: []*held{{
			name: configVolume, dir: "/config", holding: st.holding, log: log, wanted: mode != kpfs.Plain,
			retries: backoff{least: time.Millisecond, most: time.Millisecond},
		}},
		program:  &program{args: []string{"kingpin", workerCommand}, env: append(os.Environ(), playVariable+"="+strings.Join(plays, ";"))},
		listener: socket, stderr: t.Output(), log: log, pace: patient, required: mode == kpfs.FUSE,
		hello:     hello{Log: logOptions{Level: "debug", Format: "text"}, Holder: holderFacts{PID: os.Getpid()}},
		ready:     func(line string) { events <- "ready " + strings.TrimPrefix(line, "pid ") },
		reloading: func() func() { return func() {} },
		standIn: func(why string, _ holderFacts) func() {
			events <- "stand in: " + why
			return func() { events <- "stand down" }
		},
	}
	if mode != kpfs.Plain {
		if err := st.holding.Connect(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return st
}

// start runs the supervisor until stop, or the test's end.
func (st *stage) start() {
	st.t.Helper()
	ctx, cancel := context.WithCancelCause(context.Background())
	st.cancel = cancel
	st.stop = func() { cancel(nil) }
	go func() { st.ended <- st.run(ctx) }()
	st.t.Cleanup(func() {
		cancel(nil)
		select {
		case err := <-st.ended:
			st.ended <- err
		case <-time.After(stagePatience):
			st.t.Error("the supervisor doesn't end")
		}
	})
}

// await waits for an event that begins so, and returns the rest of it.
func (st *stage) await(prefix string) string {
	st.t.Helper()
	timeout := time.After(stagePatience)
	for {
		select {
		case event := <-st.events:
			st.seen = append(st.seen, event)
			if rest, ok := strings.CutPrefix(event, prefix); ok {
				return rest
			}
		case <-timeout:
			st.t.Fatalf("waited in vain for %q, after %q", prefix, st.seen)
		}
	}
}

// awaitEnd waits until run returns.
func (st *stage) awaitEnd() error {
	st.t.Helper()
	select {
	case err := <-st.ended:
		st.ended <- err
		for len(st.events) > 0 {
			st.seen = append(st.seen, <-st.events)
		}
		return err
	case <-time.After(stagePatience):
		st.t.Fatalf("the supervisor doesn't end, after %q", st.seen)
		return nil
	}
}

// mustHaveSeen fails the test unless these events have come in this order, with
// others between them, and no forbidden ones.
func (st *stage) mustHaveSeen(wanted ...string) {
	st.t.Helper()
	rest := st.seen
	for _, event := range wanted {
		i := slices.Index(rest, event)
		if i < 0 {
			st.t.Fatalf("%q hasn't happened in order: %q", event, st.seen)
		}
		rest = rest[i+1:]
	}
}

func (st *stage) mustNotHaveSeen(event string) {
	st.t.Helper()
	if slices.Contains(st.seen, event) {
		st.t.Errorf("%q has happened: %q", event, st.seen)
	}
}
