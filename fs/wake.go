package fs

import (
	"context"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// stageDir is a directory in the root that nobody sees but who renames files out
// of it. It seems to hold a file of every name.
const stageDir = ".stage"

// waker has those who watch files or directories by inotify see what changes.
//
// The kernel tells watchers of what is done through it, and of nothing that a
// FUSE server says has happened. So once a name has changed, and if somebody
// watches, a file is renamed in the mount, from stageDir: what it replaces are
// the versions that the name held before, one after the other, which to those who
// watch looks as if a plain file had been replaced. The one who renames sees the
// old version under the name, all others the new one already.
//
// It must be another process than this one: a process that waits in the kernel
// for itself can't be ended.
type waker struct {
	v    *Volume
	some chan struct{} // has one when something has changed
	turn atomic.Pointer[turn]

	ended  sync.WaitGroup
	cancel context.CancelFunc

	mu      sync.Mutex // guards all below
	closed  bool
	telling bool                // of what is not pending any more
	pending map[string][]uint64 // names that have changed, and the versions that they held and the kernel refers to
}

// turn is a rename or removal under way: what whoever does it is to see under a
// name.
type turn struct {
	dir  uint64
	name string
	old  uint64 // a version; 0 for no such name; ghostID for a file that isn't there
}

func newWaker(v *Volume) *waker {
	return &waker{v: v, some: make(chan struct{}, 1), pending: map[string][]uint64{}}
}

// changed notes that a name has changed. old is what it held, if the kernel
// refers to that.
func (w *waker) changed(name string, old *version) {
	w.mu.Lock()
	defer w.mu.Unlock()
	olds := w.pending[name]
	if old != nil {
		olds = append(olds, old.id)
	}
	w.pending[name] = olds
	signal(w.some)
}

// take returns what has changed since the last time, and the last version given
// out by then.
func (w *waker) take() (pending map[string][]uint64, upTo uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	pending, w.pending = w.pending, map[string][]uint64{}
	w.telling = true
	return pending, w.v.ledger.header.lastID.Load()
}

// told notes that watchers know of all up to a version.
func (w *waker) told(upTo uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.telling = false
	w.v.ledger.header.woken.Store(upTo)
}

// idle reports whether there is nothing to tell.
func (w *waker) idle() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.telling && len(w.pending) == 0
}

// start begins to tell, also of what a predecessor may not have told.
func (w *waker) start() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return
	}
	for name, olds := range w.v.tree.since(w.v.ledger.header.woken.Load()) {
		w.pending[name] = olds
		signal(w.some)
	}
	ctx, cancel := context.WithCancel(context.Background())
	w.cancel = cancel
	w.ended.Go(func() { w.run(ctx) })
}

// stop ends the telling and waits for it.
func (w *waker) stop() {
	w.mu.Lock()
	w.closed = true
	if w.cancel != nil {
		w.cancel()
	}
	w.mu.Unlock()
	w.ended.Wait()
}

// Looking for watchers takes some time on a machine with many processes. It is
// done at once after a change, but then not again for a multiple of that time.
const (
	restAfterLook = 20
	longestRest   = time.Second
)

func (w *waker) run(ctx context.Context) {
	for wait(ctx, w.some) {
		pending, upTo := w.take()
		start := time.Now()
		watched := watchedInodes(w.v.ledger.header.device)
		took := time.Since(start)
		if watched != nil && len(watched) == 0 {
			pending = nil
		}
		for name, olds := range pending {
			if ctx.Err() != nil {
				return
			}
			w.tell(name, olds, watched)
		}
		w.told(upTo)
		w.v.refresher.changed() // by the renames
		rest, cancel := context.WithTimeout(ctx, min(restAfterLook*took, longestRest))
		<-rest.Done()
		cancel()
	}
}

// tell has watchers see that a name has changed: of its directory, and of the
// versions that it held.
func (w *waker) tell(name string, olds []uint64, watched inodes) {
	sub, base, done, err := w.v.enter(name)
	if err != nil {
		return
	}
	defer done()
	t := w.v.tree
	d := t.directory(sub)
	olds = slices.DeleteFunc(olds, func(id uint64) bool { return !watched.has(id) || t.version(id) == nil })
	if len(olds) == 0 {
		if !watched.has(d.id) {
			return
		}
		olds = []uint64{0}
	}
	conn := w.v.face.Load().conn
	t.begin(d, base)
	defer t.settle(d, base)
	// Otherwise whoever renames would see what others do.
	conn.dropName(d.id, base, func() bool { return t.mayBeTold(d, base) })
	current := t.versionOf(d, base)
	for _, old := range olds {
		change := Wakeup{To: name}
		switch {
		case current != nil:
			change.From = stageDir + "/" + strconv.FormatUint(current.id, 10)
		case old == 0:
			old = ghostID
		}
		w.turn.Store(&turn{dir: d.id, name: base, old: old})
		err := w.wake(change)
		w.turn.Store(nil)
		if err != nil {
			w.v.cfg.Logger.Debug("those who watch a file don't learn of a change", "name", name, "error", err)
		}
	}
}

func (w *waker) wake(change Wakeup) error {
	if w.v.cfg.Wake != nil {
		return w.v.cfg.Wake(change)
	}
	return w.v.holding.Wake(change)
}

// isHolder reports whether a thread belongs to the process that renames.
func (w *waker) isHolder(thread uint32) bool {
	_, err := os.Stat("/proc/" + strconv.Itoa(w.v.cfg.Holder) + "/task/" + strconv.FormatUint(uint64(thread), 10))
	return thread != 0 && err == nil
}

// sees returns what whoever renames is to see under a name; ok is false if that
// is what everybody sees.
func (w *waker) sees(dir uint64, name string, thread uint32) (old uint64, ok bool) {
	now := w.turn.Load()
	if now == nil || now.dir != dir || now.name != name || !w.isHolder(thread) {
		return 0, false
	}
	return now.old, true
}

// versionOf returns the version that a name holds, or nil.
func (t *tree) versionOf(d *directory, name string) *version {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if s := d.slots[name]; s != nil {
		return s.current
	}
	return nil
}

// since returns the names that hold a version after the given one, or of which
// there are superseded versions, and those.
func (t *tree) since(id uint64) map[string][]uint64 {
	t.mu.RLock()
	defer t.mu.RUnlock()
	names := map[string][]uint64{}
	for _, v := range t.versions {
		name := joinName(v.slot.dir.name, v.slot.name)
		switch {
		case v.slot.current != v:
			names[name] = append(names[name], v.id)
		case v.id > id && names[name] == nil:
			names[name] = nil
		}
	}
	return names
}

// reach counts a reference of the kernel's to the version of that id, and
// returns it; nil if there is none.
func (t *tree) reach(id uint64) *version {
	t.mu.Lock()
	defer t.mu.Unlock()
	v := t.versions[id]
	if v != nil {
		t.refer(v)
	}
	return v
}
