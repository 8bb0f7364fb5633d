package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	kpfs "github.com/kingpinfs/kingpin/fs"
	"github.com/kingpinfs/kingpin/internal/sdnotify"
)

// holding is what a holder does with a *kpfs.Holding.
type holding interface {
	Connect(ctx context.Context) error
	Connected() bool
	Show() error
	Shown() bool
	Gone() <-chan struct{}
	Probe(ctx context.Context) error
	Wake(w kpfs.Wakeup) error
	Refresh() error
	Settle() error
	Abort() error
	Abandon() error
	Unmount(ctx context.Context) error
	Descriptors() ([]kpfs.Descriptor, error)
}

// held is one of the two directories that a holder keeps. Its fields are the
// supervisor's goroutine's.
type held struct {
	name    string // configVolume or serversetVolume
	dir     string
	holding holding
	log     *slog.Logger

	// wanted says that FUSE is to be had, if not now then later.
	wanted bool
	// why is why there is no session; "" if there is one.
	why string
	// retryAt is when a session is tried again; zero if there is one, or none
	// is wanted.
	retryAt time.Time
	retries backoff
	// unwatch ends the wait for the session's end; nil if there is none.
	unwatch context.CancelFunc
	// stored are the names by which the service manager keeps descriptors.
	stored []string
}

// connect starts a session, unless there is one or none is wanted. If that
// fails the directory has plain files, for the reason that why tells.
func (h *held) connect(ctx context.Context) error {
	if !h.wanted || h.holding.Connected() {
		return nil
	}
	if err := h.holding.Connect(ctx); err != nil {
		h.why = err.Error()
		return err
	}
	h.why, h.retryAt = "", time.Time{}
	return nil
}

// show makes the session visible. keep says to have the service manager keep
// it from then on.
func (h *held) show(keep bool) error {
	if !h.holding.Connected() || h.holding.Shown() {
		return nil
	}
	if keep {
		// First, so that nobody counts on a mount that is kept nowhere.
		h.store()
	}
	return h.holding.Show()
}

// watch sends h to gone if the session ends by somebody else's doing.
func (h *held) watch(gone chan<- *held) {
	if h.unwatch != nil || !h.holding.Shown() {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	h.unwatch = cancel
	ended := h.holding.Gone()
	go func() {
		select {
		case <-ctx.Done():
			return
		case <-ended:
		}
		select {
		case <-ctx.Done():
		case gone <- h:
		}
	}()
}

// settle makes the plain files what a worker that is dead now served last.
func (h *held) settle() {
	if err := h.holding.Settle(); err != nil {
		h.log.Error("readers may see an older version of a file", "dir", h.dir, "error", err)
	}
}

// abort takes the session away, if there is one, dead or alive.
func (h *held) abort(why string) { h.giveUp(why, h.holding.Abort) }

// abandon gives up a session whose mount somebody has taken away.
func (h *held) abandon(why string) { h.giveUp(why, h.holding.Abandon) }

func (h *held) giveUp(why string, end func() error) {
	h.release()
	if h.wanted {
		h.why = why
	}
	if err := end(); err != nil {
		h.log.Error("giving a mount up", "dir", h.dir, "error", err)
	}
	h.unstore()
}

// unmount takes the session away when nobody reads in it any more, or after a
// moment.
func (h *held) unmount(ctx context.Context) error {
	h.release()
	err := h.holding.Unmount(ctx)
	h.unstore()
	return err
}

// release ends what watch started.
func (h *held) release() {
	if h.unwatch != nil {
		h.unwatch()
		h.unwatch = nil
	}
}

// storeName is the name by which the service manager keeps a descriptor.
func storeName(volume, descriptor string) string { return volume + "-" + descriptor }

func (h *held) store() {
	descriptors, err := h.holding.Descriptors()
	for _, d := range descriptors {
		name := storeName(h.name, d.Name)
		if err == nil && d.ToServe() {
			err = sdnotify.Store(name, d.File)
			h.stored = append(h.stored, name)
		}
		err = errors.Join(err, d.File.Close())
	}
	if err != nil {
		h.log.Error("the service manager can't be given a mount to keep, which won't survive the monitor", "dir", h.dir, "error", err)
	}
}

func (h *held) unstore() {
	for _, name := range h.stored {
		if err := sdnotify.Unstore(name); err != nil {
			h.log.Warn("the service manager can't be told to forget a mount", "dir", h.dir, "error", err)
		}
	}
	h.stored = nil
}

// describe says what a worker takes over of the holding, and appends it to the
// files that the worker inherits, the first of which has the number first. The
// caller closes what is appended.
func (h *held) describe(files []*os.File, first int) (heldVolume, []*os.File, error) {
	v := heldVolume{Shown: h.holding.Shown(), WhyPlain: h.why}
	descriptors, err := h.holding.Descriptors()
	for _, d := range descriptors {
		if !d.ToServe() {
			err = errors.Join(err, d.File.Close())
			continue
		}
		v.Descriptors = append(v.Descriptors, heldDescriptor{d.Name, first + len(files)})
		files = append(files, d.File)
	}
	return v, files, err
}

// waker wakes the watchers of one volume, for whichever worker asks, and looks at
// its directory. That may block for as long as no worker answers, and so has a
// goroutine of its own.
type waker struct {
	holding holding
	log     *slog.Logger
	news    chan struct{} // one slot: there is something to do

	mu    sync.Mutex // guards the rest
	queue []wakeRequest
	stale bool // the directory is to be looked at
}

type wakeRequest struct {
	from *process
	id   uint64
	kpfs.Wakeup
}

func newWaker(h holding, log *slog.Logger) *waker {
	return &waker{holding: h, log: log, news: make(chan struct{}, 1)}
}

func (k *waker) add(r wakeRequest) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.queue = append(k.queue, r)
	fill(k.news)
}

// refresh has the directory looked at.
func (k *waker) refresh() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.stale = true
	fill(k.news)
}

func (k *waker) take() (queue []wakeRequest, stale bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	queue, stale = k.queue, k.stale
	k.queue, k.stale = nil, false
	return queue, stale
}

// run does what is asked until ctx is done and what is under way is answered.
func (k *waker) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-k.news:
		}
		queue, stale := k.take()
		for _, r := range queue {
			k.serve(ctx, r)
		}
		if !stale || ctx.Err() != nil {
			continue
		}
		if err := k.holding.Refresh(); err != nil {
			k.log.Debug("the kernel may have to ask when somebody passes through a mount", "error", err)
		}
	}
}

// serve wakes the watchers of a change, unless the worker that asks is dead.
func (k *waker) serve(ctx context.Context, r wakeRequest) {
	select {
	case <-r.from.dead:
		return
	default:
	}
	answer := message{Kind: sayWoken, ID: r.id}
	err := ctx.Err()
	if err == nil {
		err = k.holding.Wake(r.Wakeup)
	}
	if err != nil {
		answer.Error = err.Error()
	}
	// A worker that isn't there any more needs no answer.
	_ = r.from.control.send(answer)
}

// backoff tells how long to wait before something is tried again: longer and
// longer while failures follow each other closely.
type backoff struct {
	least, most time.Duration
	delay       time.Duration
	failedAt    time.Time
}

// next is to be called at a failure.
func (b *backoff) next(now time.Time) time.Duration {
	if b.delay == 0 || now.Sub(b.failedAt) > b.delay+b.most {
		b.delay = b.least
	} else {
		b.delay = min(2*b.delay, b.most)
	}
	b.failedAt = now
	return b.delay
}

// errorsOf joins what f returns for each volume, all of which it is called for
// at once.
func errorsOf(all []*held, f func(*held) error) error {
	errs := make([]error, len(all))
	var group sync.WaitGroup
	for i, h := range all {
		group.Go(func() {
			if err := f(h); err != nil {
				errs[i] = fmt.Errorf("%s: %w", h.dir, err)
			}
		})
	}
	group.Wait()
	return errors.Join(errs...)
}
