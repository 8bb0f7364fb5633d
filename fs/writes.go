package fs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

const (
	// roomFactor is how many contents of the largest size may be written at once.
	roomFactor = 16
	// maxScratches is how many files may be written at once, temporary ones
	// included.
	maxScratches = 1024
	// bounceFor is how long a thread that was sent away may take to come back.
	bounceFor = 2 * time.Second
	// absentFor is how long a process that has removed a file so as to create it
	// again sees it as removed.
	absentFor = 10 * time.Second
	// authorFor is how long a process may change the attributes of what it has
	// published, which changes nothing.
	authorFor = 30 * time.Second
	// toldFor is how long nothing is logged of a refusal that is like one that was.
	toldFor = time.Minute
	// maxNotes is how many processes are remembered at once.
	maxNotes = 4096
	// drainWrites is how long changes under way may take when a volume is closed.
	drainWrites = 5 * time.Second
)

// writes is what a volume knows of those who write through its mount: what has
// not become a version yet. All of it is lost with the process.
type writes struct {
	v      *Volume
	writer Writer
	limit  int64 // how large a content may be, in bytes
	room   *room
	log    *slog.Logger

	ctx    context.Context // ends when the volume is closed
	cancel context.CancelFunc
	later  sync.WaitGroup // goroutines that belong to no request

	files   scratches // of the volume's session
	private scratches // of the writers' session
	claims  claims

	bounced atomic.Int64 // how many bounces there are, so that readers needn't lock
	noted   atomic.Int64 // how many absent names there are

	mu      sync.Mutex // guards all below
	bounces map[nameOf]*bounce
	absent  map[nameOf]time.Time
	authors map[nameOf]time.Time
	told    map[nameOf]time.Time // refusals that were logged, by user
	warned  time.Time            // when somebody was last told that the writers' session can't be reached
}

// nameOf is a name as it is to one thread, process or user.
type nameOf struct {
	who  uint32
	dir  uint64
	name string
}

// bounce sends a thread that opens a file for writing to the writers' session:
// the next time it looks the name up, which the kernel has it do at once, it finds
// a symbolic link.
type bounce struct {
	id     uint64
	target string
	at     time.Time
}

func newWrites(v *Volume) *writes {
	w := &writes{
		v: v, writer: v.cfg.Writer, limit: v.cfg.MaxContent, room: newRoom(roomFactor * v.cfg.MaxContent), log: v.cfg.Logger,
		files: newScratches(), private: newScratches(),
		bounces: map[nameOf]*bounce{}, absent: map[nameOf]time.Time{}, authors: map[nameOf]time.Time{}, told: map[nameOf]time.Time{},
	}
	if w.writer == nil {
		w.writer = noWriter{}
	}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	return w
}

// noWriter is for a mount that was writable for an earlier process.
type noWriter struct{}

func (noWriter) Accepts(string) error { return syscall.EROFS }
func (noWriter) AtOnce(string) bool   { return false }
func (noWriter) Write(context.Context, Change) (Entry, error) {
	return Entry{}, syscall.EROFS
}
func (noWriter) Remove(context.Context, Change) error { return syscall.EROFS }

// errnoOf returns what whoever wrote is told of a Writer's error.
func errnoOf(err error) syscall.Errno {
	var errno syscall.Errno
	switch {
	case err == nil:
		return 0
	case errors.As(err, &errno) && errno != 0:
		return errno
	}
	return syscall.EIO
}

// accepts returns why files of that name can't be written.
func (w *writes) accepts(d *directory, name string) syscall.Errno {
	return errnoOf(w.check(d, name))
}

func (w *writes) check(d *directory, name string) error {
	if len(name) > maxName {
		return syscall.ENAMETOOLONG
	}
	if err := CheckName(name); err != nil {
		return errors.Join(err, syscall.EPERM)
	}
	return w.writer.Accepts(joinName(d.name, name))
}

// admits is accepts for somebody who is to be told of the result. A refusal is
// logged, once in a while for each user and name, unless the name is that of a
// temporary file: programs try such names, and do without.
func (w *writes) admits(d *directory, name string, h *fuse.InHeader) syscall.Errno {
	err := w.check(d, name)
	if err == nil {
		return 0
	}
	errno := errnoOf(err)
	if looksTemporary(name) || !w.tells(nameOf{h.Uid, d.id, name}) {
		return errno
	}
	w.log.Info("nobody can write to a file of that name through the mount", "dir", w.v.plain.path, "name", joinName(d.name, name),
		"uid", h.Uid, "pid", processOf(h.Pid), "command", commandOf(h.Pid), "errno", unix.ErrnoName(errno), "error", err)
	return errno
}

// refused logs why somebody can't write to a file, and what mends that, and returns
// what they are to be told: 0 if err is nil.
func (w *writes) refused(d *directory, name string, h *fuse.InHeader, err error) syscall.Errno {
	errno := errnoOf(err)
	if err == nil || errors.Is(err, errNoWriter) && !w.tells(nameOf{h.Uid, d.id, name}) {
		return errno
	}
	w.log.Warn("a write was refused", "dir", w.v.plain.path, "name", joinName(d.name, name),
		"uid", h.Uid, "pid", processOf(h.Pid), "command", commandOf(h.Pid), "errno", unix.ErrnoName(errno), "error", err)
	return errno
}

// crowded is refused for somebody for whom no file can be made because of a limit
// that all share. It is logged once in a while for each user: the kernel may ask
// several times for one file, and programs try many.
func (w *writes) crowded(d *directory, name string, h *fuse.InHeader, errno syscall.Errno) syscall.Errno {
	if !w.tells(nameOf{who: h.Uid, name: unix.ErrnoName(errno)}) {
		return errno
	}
	return w.refused(d, name, h, w.explain(errno))
}

// explain makes an error of why something can't be written that a limit of ours is
// in the way of, with what mends it.
func (w *writes) explain(errno syscall.Errno) error {
	switch errno {
	case 0:
		return nil
	case syscall.ENFILE:
		return fmt.Errorf("%d files are being written, or are temporary ones that were left behind: close or remove some: %w", maxScratches, errno)
	case syscall.ENOSPC:
		return fmt.Errorf("all that is being written, and temporary files, takes %d bytes, which is the most: close or remove some: %w", w.room.size, errno)
	case syscall.EFBIG:
		return fmt.Errorf("it would be larger than %d bytes: write less, or let the monitor take more (--max-content): %w", w.limit, errno)
	}
	return errno
}

// limited logs that somebody can't write to a scratch because a limit of ours is in
// the way, once for each scratch. What publishing it says is logged by the Writer.
func (w *writes) limited(s *scratch, h *fuse.InHeader, errno syscall.Errno) {
	if errno != syscall.EFBIG && errno != syscall.ENOSPC {
		return
	}
	s.mu.Lock()
	d, name, told := s.dir, s.name, s.told
	s.told = true
	s.mu.Unlock()
	if !told {
		_ = w.refused(d, name, h, w.explain(errno)) // errno
	}
}

// tells reports whether a refusal is to be logged, and notes that it was. who is a
// user.
func (w *writes) tells(key nameOf) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if at, ok := w.told[key]; ok && time.Since(at) < toldFor {
		return false
	}
	note(w.told, key, toldFor)
	return true
}

// attached reports whether the writers' session can be reached through the mount.
func (w *writes) attached() bool { return w.v.ledger.header.writers.attached.Load() != 0 }

// unreachable says that the writers' session can't be reached, which it logs now
// and then.
func (w *writes) unreachable(thread uint32, why string) syscall.Errno {
	w.mu.Lock()
	quiet := time.Since(w.warned) < time.Minute
	if !quiet {
		w.warned = time.Now()
	}
	w.mu.Unlock()
	if !quiet {
		w.log.Warn("a write was refused", "dir", w.v.plain.path, "thread", thread, "command", commandOf(thread), "why", why)
	}
	return syscall.EROFS
}

// bounce sends whoever opens a name for writing to the writers' session.
func (w *writes) bounce(d *directory, name string, h *fuse.InHeader) syscall.Errno {
	if errno := w.admits(d, name, h); errno != 0 {
		return errno
	}
	thread := h.Pid
	switch {
	case thread == 0:
		return w.unreachable(thread, "it comes from a process that can't be seen from the monitor's PID namespace")
	case !w.attached():
		return w.unreachable(thread, "the mount for those who write ("+writersDir+" in the directory) is missing; restart the monitor")
	}
	target := writersDir + "/" + joinName(d.name, name)
	if d.id != rootID {
		target = "../" + target
	}
	now := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	for key, b := range w.bounces {
		if now.Sub(b.at) > bounceFor {
			delete(w.bounces, key)
		}
	}
	w.bounces[nameOf{thread, d.id, name}] = &bounce{id: w.v.tree.newID(), target: target, at: now}
	w.bounced.Store(int64(len(w.bounces)))
	return syscall.ESTALE
}

// bounceOf returns the bounce of a thread that looks a name up, or nil.
func (w *writes) bounceOf(dir uint64, name string, thread uint32) *bounce {
	if w.bounced.Load() == 0 {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	b := w.bounces[nameOf{thread, dir, name}]
	if b == nil || time.Since(b.at) > bounceFor {
		return nil
	}
	return b
}

// follow returns where the bounce of that id leads, and ends it. The kernel may
// ask after any number of lookups and FORGETs.
func (w *writes) follow(id uint64) (target string, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for key, b := range w.bounces {
		if b.id == id {
			delete(w.bounces, key)
			w.bounced.Store(int64(len(w.bounces)))
			return b.target, true
		}
	}
	return "", false
}

// linkOf returns where the bounce of that id leads.
func (w *writes) linkOf(id uint64) (target string, ok bool) {
	if w.bounced.Load() == 0 {
		return "", false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, b := range w.bounces {
		if b.id == id {
			return b.target, true
		}
	}
	return "", false
}

// hide has the process of a thread see a file as removed, because it is about to
// create it again.
func (w *writes) hide(d *directory, name string, thread uint32) {
	w.mu.Lock()
	defer w.mu.Unlock()
	note(w.absent, nameOf{processOf(thread), d.id, name}, absentFor)
	w.noted.Store(int64(len(w.absent)))
}

// hidden reports whether a thread is to see a name as removed.
func (w *writes) hidden(dir uint64, name string, thread uint32) bool {
	if w.noted.Load() == 0 {
		return false
	}
	who := processOf(thread)
	w.mu.Lock()
	defer w.mu.Unlock()
	at, ok := w.absent[nameOf{who, dir, name}]
	return ok && time.Since(at) < absentFor
}

// authored notes that the process of a thread has published a name, which ends
// that the process sees it as removed.
func (w *writes) authored(d *directory, name string, thread uint32) {
	key := nameOf{processOf(thread), d.id, name}
	w.mu.Lock()
	defer w.mu.Unlock()
	note(w.authors, key, authorFor)
	delete(w.absent, key)
	w.noted.Store(int64(len(w.absent)))
}

// isAuthor reports whether the process of a thread has just published a name.
func (w *writes) isAuthor(d *directory, name string, thread uint32) bool {
	key := nameOf{processOf(thread), d.id, name}
	w.mu.Lock()
	defer w.mu.Unlock()
	at, ok := w.authors[key]
	return ok && time.Since(at) < authorFor
}

// note remembers something, and forgets what is older.
func note(notes map[nameOf]time.Time, key nameOf, keep time.Duration) {
	now := time.Now()
	for k, at := range notes {
		if now.Sub(at) > keep || len(notes) >= maxNotes {
			delete(notes, k)
		}
	}
	notes[key] = now
}

// commit publishes a change that no lock of the kernel is held for.
func (w *writes) commit(d *directory, name string, content []byte, base string, h *fuse.InHeader) (Entry, syscall.Errno) {
	e, err := w.writer.Write(w.ctx, Change{
		Name: joinName(d.name, name), Content: content, Base: base, Caller: callerOf(h),
	})
	if err != nil {
		return Entry{}, errnoOf(err)
	}
	w.authored(d, name, h.Pid)
	return e, 0
}

// commitLocked publishes a content for which the kernel holds the directory's
// lock. So the kernel can't be told of it, and needn't, since it is its own doing.
func (w *writes) commitLocked(d *directory, name string, content []byte, h *fuse.InHeader) syscall.Errno {
	e, err := w.writer.Write(w.ctx, w.lockedChange(d, name, content, h))
	if err != nil {
		return errnoOf(err)
	}
	next, err := w.v.tree.stage(d, name, e)
	if err != nil {
		w.log.Error("a change is published, but can't be shown yet", "name", joinName(d.name, name), "error", err)
		return syscall.EIO
	}
	w.swapLocked(d, name, next)
	w.authored(d, name, h.Pid)
	return 0
}

// removeLocked takes a file away from the fleet, as commitLocked.
func (w *writes) removeLocked(d *directory, name string, h *fuse.InHeader) syscall.Errno {
	if err := w.writer.Remove(w.ctx, w.lockedChange(d, name, nil, h)); err != nil {
		return errnoOf(err)
	}
	w.swapLocked(d, name, nil)
	return 0
}

func (w *writes) lockedChange(d *directory, name string, content []byte, h *fuse.InHeader) Change {
	c := Change{Name: joinName(d.name, name), Content: content, Caller: callerOf(h), Locked: true}
	if now := w.v.tree.versionOf(d, name); now != nil {
		c.Base = now.version
	}
	return c
}

// swapLocked is Volume.swap for a name of which the kernel holds the directory's
// lock.
func (w *writes) swapLocked(d *directory, name string, next *version) {
	full := joinName(d.name, name)
	old := w.v.tree.commitNewer(d, name, next)
	w.v.notForeign(full)
	w.v.waker.changed(full, old)
	w.later.Go(func() {
		if conn := w.v.face.Load().conn; conn != nil {
			conn.dropListing(d.id)
			w.v.refresher.changed()
		}
		w.v.tryCopy(full)
	})
}

// displaced is told of a temporary file whose name has been given to a version.
// The tree's lock is held.
func (w *writes) displaced(temp *scratch) {
	temp.end()
	w.files.unlink(temp)
}

func callerOf(h *fuse.InHeader) Caller { return Caller{UID: h.Uid, GID: h.Gid, PID: h.Pid} }

// status makes a reply's status of an errno.
func status(errno syscall.Errno) fuse.Status { return fuse.Status(errno) }
