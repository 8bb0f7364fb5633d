package follow

import (
	"context"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// watcher looks at a path and says when it is time to look again. The zero
// value never says so. Its methods are for one goroutine.
type watcher struct {
	inotify *inotify
	mounts  *mounts
	events  chan []event
	mounted chan struct{}
	stop    context.CancelFunc
	running sync.WaitGroup

	trail trail
	hung  chan sight // what the look that wasn't waited for will send
}

// trail has, of each watched directory, the names that were looked up in it.
type trail map[int32][]string

// sight is what was seen by a look.
type sight struct {
	version Version
	err     error // why there is no version
	// unwatchable says why what happens to the file next won't be noticed.
	unwatchable error
}

func newWatcher() (*watcher, error) {
	inotify, err := newInotify()
	if err != nil {
		return nil, err
	}
	mounts, err := newMounts()
	if err != nil {
		inotify.close()
		return nil, err
	}
	w := &watcher{inotify: inotify, mounts: mounts, events: make(chan []event), mounted: make(chan struct{}, 1)}
	ctx, stop := context.WithCancel(context.Background())
	w.stop = stop
	w.running.Go(func() { inotify.run(ctx, w.events) })
	w.running.Go(func() { mounts.run(w.mounted) })
	return w, nil
}

// look returns what a path leads to now. Whatever happens to it from the moment
// of the call on, wait will notice, unless the result says it won't. The error
// is ctx's cause.
func (w *watcher) look(ctx context.Context, path string) (sight, error) {
	seen := make(chan sight, 1)
	go func() { seen <- w.lookNow(path) }()
	select {
	case s := <-seen:
		return s, nil
	case <-ctx.Done():
		w.hung = seen
		return sight{}, context.Cause(ctx)
	}
}

// lookNow is look, however long filesystems take to answer. What is read comes
// after what is watched, so nothing that changes between is missed; and it is
// read by the whole path, as everybody does, because a directory that was found
// a moment ago may be hidden by a mount now.
func (w *watcher) lookNow(path string) sight {
	var s sight
	var lost error
	if w.inotify != nil {
		s.unwatchable, lost = w.retrace(path)
	}
	s.version, s.err = read(path)
	if s.err == nil {
		s.err = lost
	}
	return s
}

// retrace follows the path anew and watches what it leads through, and no longer
// what it led through before.
func (w *watcher) retrace(path string) (unwatchable, err error) {
	now, unwatchable, err := walk(w.inotify, path)
	for watch := range w.trail {
		if _, still := now[watch]; !still {
			w.inotify.remove(watch)
		}
	}
	w.trail = now
	return unwatchable, err
}

// wait returns when it is time to look again, after atMost in any case, unless
// that is 0. The error is ctx's cause.
func (w *watcher) wait(ctx context.Context, atMost time.Duration) error {
	var timeout <-chan time.Time
	if atMost > 0 {
		timer := time.NewTimer(atMost)
		defer timer.Stop()
		timeout = timer.C
	}
	for {
		select {
		case events := <-w.events:
			if slices.ContainsFunc(events, w.trail.concerns) {
				return nil
			}
		case <-w.mounted:
			return nil
		case <-timeout:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// concerns tells whether the path may lead elsewhere since an event.
func (t trail) concerns(e event) bool {
	if e.mask&unix.IN_Q_OVERFLOW != 0 {
		return true
	}
	names, watched := t[e.watch]
	return watched && (e.name == "" || slices.Contains(names, e.name))
}

// graceTime is how long close waits for a filesystem that doesn't answer.
const graceTime = time.Second

// close ends the watching and waits for it, but not for a filesystem that
// doesn't answer: then it ends later.
func (w *watcher) close() {
	if w.hung == nil {
		w.closeNow()
		return
	}
	grace := time.NewTimer(graceTime)
	defer grace.Stop()
	select {
	case <-w.hung:
		w.closeNow()
	case <-grace.C:
		go func() {
			<-w.hung // it uses what closeNow closes
			w.closeNow()
		}()
	}
}

func (w *watcher) closeNow() {
	if w.inotify == nil {
		return
	}
	w.stop()
	w.inotify.close()
	w.mounts.close()
	w.running.Wait()
}
