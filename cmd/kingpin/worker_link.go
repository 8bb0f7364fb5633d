package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"

	kpfs "github.com/kingpinfs/kingpin/fs"
)

// link is a worker's side of what it and its holder say to each other. Its
// methods are safe for concurrent use.
type link struct {
	control  *control
	log      *slog.Logger
	resyncs  chan struct{} // one slot: everything is to be read again
	shown    chan struct{} // closed when the mounts have been shown
	leaving  chan struct{} // one slot: the mounts are about to be taken away
	orphaned atomic.Bool   // the holder is dead

	mu    sync.Mutex // guards the rest
	wakes map[uint64]chan error
	last  uint64 // the last number of wakes
}

func newLink(control *control, log *slog.Logger) *link {
	return &link{
		control: control, log: log, resyncs: make(chan struct{}, 1), shown: make(chan struct{}),
		leaving: make(chan struct{}, 1), wakes: map[uint64]chan error{},
	}
}

// open hears what the holder says. The context that it returns is done when the
// worker is to end, because the holder says so or is dead. end must be called.
func (l *link) open(ctx context.Context) (_ context.Context, end func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer cancel()
		l.listen(cancel)
	}()
	return ctx, func() {
		_ = l.control.close() // which ends listen
		<-done
	}
}

// listen does what the holder says until nothing more can come.
func (l *link) listen(stop context.CancelFunc) {
	shown := false
	for stopped := false; ; {
		m, err := l.control.receive()
		if err != nil {
			if !stopped && !errors.Is(err, net.ErrClosed) {
				l.orphaned.Store(true)
				l.log.Warn("the monitor is gone: ending", "error", err)
			}
			return
		}
		switch m.Kind {
		case sayShown:
			if !shown {
				shown = true
				close(l.shown)
			}
		case sayWoken:
			l.woken(m)
		case sayPing:
			l.tell(message{Kind: sayPong})
		case sayResync:
			fill(l.resyncs)
		case sayUnmounting:
			fill(l.leaving)
		case sayStop:
			stopped = true
			stop()
		}
	}
}

// fill has whoever receives from a channel of one slot do what it stands for,
// which it does anyway if the slot is taken.
func fill(slot chan<- struct{}) {
	select {
	case slot <- struct{}{}:
	default:
	}
}

// tell says something to a holder that may be gone, which listen notices.
func (l *link) tell(m message) {
	if err := l.control.send(m); err != nil {
		l.log.Debug("the monitor can't be told", "error", err)
	}
}

// awaitShown waits until the holder has made the mounts visible.
func (l *link) awaitShown(ctx context.Context) error {
	select {
	case <-l.shown:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// isOrphaned tells whether the holder is dead.
func (l *link) isOrphaned() bool { return l.orphaned.Load() }

// kill has the monitor stop.
func (l *link) kill() { l.tell(message{Kind: sayKill}) }

// wake has the holder make the watchers of a volume see a change, and waits for
// it.
func (l *link) wake(ctx context.Context, volume string, wakeup kpfs.Wakeup) error {
	id, done := l.expect()
	defer l.forget(id)
	if err := l.control.send(message{Kind: sayWake, Volume: volume, Wakeup: &wakeup, ID: id}); err != nil {
		return fmt.Errorf("asking the monitor to wake watchers: %w", err)
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l *link) expect() (id uint64, done <-chan error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last++
	answer := make(chan error, 1)
	l.wakes[l.last] = answer
	return l.last, answer
}

func (l *link) forget(id uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.wakes, id)
}

func (l *link) woken(m message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	done, ok := l.wakes[m.ID]
	if !ok {
		return
	}
	delete(l.wakes, m.ID)
	if m.Error != "" {
		done <- errors.New(m.Error)
	} else {
		done <- nil
	}
}
