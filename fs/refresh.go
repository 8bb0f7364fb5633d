package fs

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Refresh has the kernel know again what it has forgotten of the directory, by
// looking there as anybody would; it returns when whoever serves the session has
// answered, which takes until one does or the session ends. It does nothing without
// a session that is shown.
//
// To pass through the directory, to the mount for those who write, the kernel must
// know its attributes, and it forgets them at each change. If that is when all
// processes die, whoever passes through waits until the next one serves. systemd's
// process 1 does, at a daemon-reload, on behalf of its generators, and would never
// start the next one.
func (h *Holding) Refresh() error {
	mount, done, err := h.use()
	if errors.Is(err, ErrClosed) {
		return nil
	}
	if err != nil {
		return err
	}
	defer done()
	return h.refresh(mount)
}

func (h *Holding) refresh(mount int) error {
	var st unix.Stat_t
	err := unix.Fstat(mount, &st)
	if err == nil && h.cfg.Writable {
		err = unix.Fstatat(mount, writersDir, &st, unix.AT_SYMLINK_NOFOLLOW)
	}
	if err != nil {
		return fmt.Errorf("looking at the mount at %q, and at %q in it: %w", h.path, filepath.Join(h.path, writersDir), err)
	}
	return nil
}

// leeway is how long readers, who wait for the change, are given before the
// directory is looked at. The first of them spares the look.
const leeway = 2 * time.Millisecond

// quietTime is after how long without a change the directory is looked at again:
// what a program changes in it the kernel forgets when it has been answered.
const quietTime = 100 * time.Millisecond

// refresher has the holder look at the directory soon after each change; see
// Holding.Refresh.
type refresher struct {
	ask     func()        // nil: there is nobody to ask
	some    chan struct{} // has one when there has been a change
	changes atomic.Uint64 // how many there have been
	seen    atomic.Uint64 // how many there had been when the kernel last asked
	ended   sync.WaitGroup

	mu     sync.Mutex // guards the rest
	closed bool
	cancel context.CancelFunc // nil before start
}

func newRefresher(ask func()) *refresher { return &refresher{ask: ask, some: make(chan struct{}, 1)} }

// changed notes that the kernel has forgotten the directory.
func (r *refresher) changed() {
	r.changes.Add(1)
	signal(r.some)
}

// asked notes that the kernel asks for the directory's attributes. It may have begun
// to before the last change, and then forgets the answer.
func (r *refresher) asked() { r.seen.Store(r.changes.Load()) }

// start begins to ask.
func (r *refresher) start() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || r.ask == nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	r.ended.Go(func() { r.run(ctx) })
}

// stop ends the asking and waits for it.
func (r *refresher) stop() {
	r.mu.Lock()
	r.closed = true
	if r.cancel != nil {
		r.cancel()
	}
	r.mu.Unlock()
	r.ended.Wait()
}

func (r *refresher) run(ctx context.Context) {
	for wait(ctx, r.some) {
		for busy := true; busy; busy = waitAtMost(ctx, quietTime, r.some) {
			pause(ctx, leeway)
			if ctx.Err() == nil && r.seen.Load() != r.changes.Load() {
				r.ask()
			}
		}
		if ctx.Err() == nil {
			r.ask()
		}
	}
}

// waitAtMost waits so long, and returns whether something came meanwhile.
func waitAtMost(ctx context.Context, d time.Duration, c <-chan struct{}) bool {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	return wait(ctx, c)
}
