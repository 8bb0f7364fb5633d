package fs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"
)

const (
	// guardDelay is how long a change by hand may take: a file that is written in
	// place changes several times.
	guardDelay = 100 * time.Millisecond
	// guardInterval is how often files are looked at that can't be watched, or
	// couldn't be put right.
	guardInterval = 5 * time.Second
)

// guard keeps the plain files what is served, while they are what readers see:
// whoever may write to the directory, such as root, can change them by hand, or
// take them away. It learns of that by inotify, and costs nothing as long as
// nobody does. What it finds it reports, and replaces.
type guard struct {
	v     *Volume
	ended sync.WaitGroup

	mu     sync.Mutex // guards all below
	closed bool
	cancel context.CancelFunc // nil: it hasn't been started
	mended Mended
	broken map[string]struct{} // names that couldn't be put right
}

// Mended tells of plain files that somebody changed and that were put right.
type Mended struct {
	Times int       // how often that happened
	Name  string    // the last one
	At    time.Time // when that was put right
}

func newGuard(v *Volume) *guard { return &guard{v: v, broken: map[string]struct{}{}} }

// Mended returns how often plain files had to be put right.
func (v *Volume) Mended() Mended {
	v.guard.mu.Lock()
	defer v.guard.mu.Unlock()
	return v.guard.mended
}

// start begins to guard. It does nothing the second time.
func (g *guard) start() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed || g.cancel != nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	g.cancel = cancel
	g.ended.Go(func() { g.run(ctx) })
}

// stop ends the guarding and waits for it.
func (g *guard) stop() {
	g.mu.Lock()
	g.closed = true
	if g.cancel != nil {
		g.cancel()
	}
	g.mu.Unlock()
	g.ended.Wait()
}

func (g *guard) run(ctx context.Context) {
	warned := false
	for ctx.Err() == nil {
		w, err := g.watch()
		// After the watching has begun, so that nothing is missed.
		g.checkAll(ctx)
		if err == nil {
			warned = false
			g.follow(ctx, w)
			w.close()
			continue
		}
		if !warned {
			warned = true
			g.v.cfg.Logger.Warn("plain files can't be watched; they are looked at every few seconds", "dir", g.v.plain.path, "error", err)
		}
		pause(ctx, guardInterval)
	}
}

// pause waits for d, or for ctx.
func pause(ctx context.Context, d time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	<-ctx.Done()
}

// guardWatch watches the directory and its subdirectories, by descriptors:
// something may be mounted over them.
type guardWatch struct {
	*fsnotify.Watcher

	dirs map[string]string // by the paths that are watched
	fds  []int             // which lead there
}

// watch begins to watch. A subdirectory that is gone is made again.
func (g *guard) watch() (_ *guardWatch, err error) {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("making an inotify instance: %w; if there are too many, raise fs.inotify.max_user_instances", err)
	}
	w := &guardWatch{Watcher: watcher, dirs: map[string]string{}}
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	for _, sub := range append([]string{""}, g.v.plain.subdirs...) {
		dir, err := g.v.plain.openSub(sub, true)
		if err != nil {
			return nil, fmt.Errorf("opening %q: %w", filepath.Join(g.v.plain.path, sub), err)
		}
		w.fds = append(w.fds, dir)
		w.dirs[fdPath(dir)] = sub
		if err := w.Add(fdPath(dir)); err != nil {
			return nil, fmt.Errorf("watching %q: %w; if there are too many watches, raise fs.inotify.max_user_watches", filepath.Join(g.v.plain.path, sub), err)
		}
	}
	return w, nil
}

func (w *guardWatch) close() {
	_ = w.Close() // which only says that it is closed
	for _, fd := range w.fds {
		unix.Close(fd)
	}
}

// name returns which file an event is about, "" for none; ok is false if a directory that is
// watched isn't there any more.
func (w *guardWatch) name(e fsnotify.Event, subdirs []string) (name string, ok bool) {
	sub, inside := w.dirs[filepath.Dir(e.Name)]
	if !inside {
		return "", !e.Has(fsnotify.Remove) && !e.Has(fsnotify.Rename)
	}
	base := filepath.Base(e.Name)
	if sub == "" && base == ownDir {
		return "", true
	}
	if sub == "" && slices.Contains(subdirs, base) {
		return "", e.Has(fsnotify.Chmod)
	}
	return joinName(sub, base), true
}

// follow looks at what changes, until ctx is done, or the watching has to begin
// anew.
func (g *guard) follow(ctx context.Context, w *guardWatch) {
	changed := map[string]struct{}{}
	look, again := newStoppedTimer(), newStoppedTimer()
	defer look.Stop()
	defer again.Stop()
	for {
		if g.hasBroken() && !again.running {
			again.start(guardInterval)
		}
		select {
		case <-ctx.Done():
			return
		case <-w.Errors: // events were lost
			return
		case event := <-w.Events:
			name, ok := w.name(event, g.v.plain.subdirs)
			if !ok {
				return
			}
			changed[name] = struct{}{}
			if !look.running {
				look.start(guardDelay)
			}
		case <-look.C:
			look.running = false
			for _, name := range slices.Sorted(maps.Keys(changed)) {
				// What can't be put right isn't tried again because of the try.
				if !g.isBroken(name) {
					g.check(name, true)
				}
			}
			clear(changed)
		case <-again.C:
			again.running = false
			for _, name := range g.allBroken() {
				g.check(name, true)
			}
		}
	}
}

// stoppableTimer is a timer that doesn't run at first.
type stoppableTimer struct {
	*time.Timer

	running bool
}

func newStoppedTimer() *stoppableTimer {
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	return &stoppableTimer{Timer: timer}
}

func (t *stoppableTimer) start(d time.Duration) {
	t.Reset(d)
	t.running = true
}

// checkAll looks at everything, but not closely.
func (g *guard) checkAll(ctx context.Context) {
	found, err := g.v.plain.list()
	if err != nil {
		g.v.cfg.Logger.Warn("plain files can't be compared with what is served", "dir", g.v.plain.path, "error", err)
	}
	names := map[string]struct{}{}
	for _, name := range append(found, g.v.Names()...) {
		names[name] = struct{}{}
	}
	for name := range names {
		if ctx.Err() != nil {
			return
		}
		g.check(name, false)
	}
}

func (g *guard) hasBroken() bool { return len(g.allBroken()) > 0 }

func (g *guard) isBroken(name string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	_, broken := g.broken[name]
	return broken
}

func (g *guard) allBroken() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Collect(maps.Keys(g.broken))
}

// check puts a plain file right if it isn't what is served. closely says to look
// at its content, and at all that stat shows.
func (g *guard) check(name string, closely bool) {
	sub, base, done, err := g.v.enter(name)
	if err != nil {
		return // nothing of ours can have that name
	}
	defer done()
	e, _, served := g.v.tree.get(g.v.tree.directory(sub), base)
	if !served {
		g.meet(name, g.v.plain.exists(sub, base))
		return
	}
	wrong := g.v.plain.differs(sub, base, e, closely)
	if wrong == "" {
		g.settle(name, nil)
		return
	}
	err = g.v.plain.write(sub, base, e)
	if still := g.v.plain.differs(sub, base, e, closely); err == nil && still != "" {
		err = fmt.Errorf("it has %s all the same", still)
	}
	log := g.v.cfg.Logger.With("name", name, "dir", g.v.plain.path, "found", wrong)
	switch news := g.settle(name, err); {
	case err == nil:
		g.count(name)
		log.Warn("a plain file was changed by hand, and is put right; to change it for all machines: kingpin config put, kingpin decider set")
	case news:
		log.Error("a plain file was changed by hand, and can't be put right; it is tried again", "error", err)
	}
}

// settle notes what became of putting a file right, or that it was right. It
// reports whether a failure is the first in a row.
func (g *guard) settle(name string, err error) (news bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	_, failed := g.broken[name]
	if err != nil {
		g.broken[name] = struct{}{}
		return !failed
	}
	delete(g.broken, name)
	return false
}

// count notes that a file was put right.
func (g *guard) count(name string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.mended = Mended{g.mended.Times + 1, name, time.Now()}
}

// meet takes note of what isn't served, and may have appeared or gone.
func (g *guard) meet(name string, exists bool) {
	g.settle(name, nil)
	g.v.foreignMu.Lock()
	defer g.v.foreignMu.Unlock()
	_, known := g.v.foreign[name]
	switch {
	case exists && !known:
		g.v.foreign[name] = struct{}{}
		g.v.cfg.Logger.Warn("somebody put a file into the directory that isn't the monitor's; it is left alone: move it away, unless it belongs there",
			"name", name, "dir", g.v.plain.path)
	case !exists:
		delete(g.v.foreign, name)
	}
}

// exists reports whether anything lies in a file's place.
func (p *plainTree) exists(sub, name string) bool {
	dir, err := p.openSub(sub, false)
	if err != nil {
		return false
	}
	defer unix.Close(dir)
	return unix.Faccessat(dir, name, unix.F_OK, unix.AT_SYMLINK_NOFOLLOW) == nil
}

// differs says in which respect a file isn't an entry; "" if in none. Unless it
// looks closely, it believes the time and the size, and lets those that others
// left have permissions of their own, as long as all may read.
func (p *plainTree) differs(sub, name string, e Entry, closely bool) string {
	dir, err := p.openSub(sub, false)
	if err != nil {
		return "gone"
	}
	defer unix.Close(dir)
	var st unix.Stat_t
	err = unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	perm := st.Mode & 0o7777
	switch {
	case errors.Is(err, unix.ENOENT):
		return "gone"
	case err != nil:
		return err.Error()
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return "no regular file"
	case st.Size != int64(len(e.Content)):
		return "another content"
	case perm&p.perm.file != p.perm.file, closely && perm != p.perm.file:
		return fmt.Sprintf("mode %04o", perm)
	case closely && (st.Uid != p.perm.uid || p.chown && st.Gid != p.perm.gid):
		return fmt.Sprintf("owner %d:%d", st.Uid, st.Gid)
	case closely:
		content, _, err := p.read(sub, name)
		switch {
		case errors.Is(err, unix.ENOENT): // since it was looked at
			return "gone"
		case err != nil:
			return err.Error()
		case !bytes.Equal(content, e.Content):
			return "another content"
		}
	}
	if st.Mtim.Nano() != e.ModTime.UnixNano() {
		return "another time"
	}
	return ""
}
