package fs

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// ErrClosed is what calls return on a Volume that isn't open.
var ErrClosed = errors.New("the volume is not open")

// Volume serves the files of one directory. Open prepares it, Mount lets readers
// see it, Close ends it; in between its methods are safe for concurrent use.
//
// A file's name is its name in the directory, or "SUBDIR/NAME" for one in a
// subdirectory. Methods that take one return an ErrName if CheckName refuses it.
type Volume struct {
	cfg  Config
	perm permissions

	// life is held shared by whatever uses what is below, and exclusively by
	// Open, Mount and Close, which change it.
	life      sync.RWMutex
	phase     phase
	holding   *Holding
	plain     *plainTree
	tree      *tree
	ledger    *ledger
	dev       int            // of the session; -1 if there is none
	writerDev int            // of the writers' session; -1 if there is none
	inherited bool           // from another process that served it
	noFUSE    error          // why there is none
	watch     sync.WaitGroup // goroutines that Mount started

	face      atomic.Pointer[face]
	copies    *copies
	waker     *waker
	refresher *refresher
	guard     *guard
	writes    *writes // nil if the mount can't be written

	copyFirst atomic.Bool
	compared  chan struct{} // closed when compareCopies has ended; nil if it needn't begin

	closing atomic.Bool
	ended   chan struct{} // closed when the session has ended though nobody closed the volume

	// names serializes the changes to one name; one lock stands for many.
	names    [64]sync.Mutex
	nameSeed maphash.Seed

	foreignMu sync.Mutex
	foreign   map[string]struct{} // found by Open, not adopted or published since
}

type phase int

const (
	isNew phase = iota
	isOpen
	isMounted
	isClosed
)

// face is how a Volume is served now.
type face struct {
	mode Mode        // FUSE or Plain
	why  string      // why not FUSE
	conn *connection // nil if it has never been FUSE
	// writers is the connection of the writers' session; nil if there is none.
	writers *connection
}

// New returns a Volume that does nothing yet.
func New(cfg Config) *Volume {
	cfg.setDefaults()
	v := &Volume{
		cfg: cfg, copies: newCopies(cfg.Logger), nameSeed: maphash.MakeSeed(), dev: -1, writerDev: -1, ended: make(chan struct{}),
		perm: permissions{
			file: uint32(cfg.FileMode.Perm()), dir: uint32(cfg.DirMode.Perm()),
			uid: uint32(os.Geteuid()), gid: uint32(os.Getegid()),
		},
	}
	if cfg.GID != 0 {
		v.perm.gid = uint32(cfg.GID)
	}
	v.waker, v.guard, v.refresher = newWaker(v), newGuard(v), newRefresher(cfg.Refresh)
	v.face.Store(&face{mode: Plain, why: "not mounted yet"})
	return v
}

// Open prepares the directory. Without a Holding it locks it against other
// monitors, and a mount that a dead monitor left over it is taken away. Of a
// session that another process served, Open takes over what is served. Nothing
// is mounted yet.
//
// It is an ErrInUse if another monitor serves the directory. Otherwise it fails
// only if the directory can't be read, or if what another process served isn't
// understood: if the directory can't be written, that is logged, the FUSE face
// does without, and plain files return the error when they are published.
func (v *Volume) Open(ctx context.Context) error {
	v.life.Lock()
	defer v.life.Unlock()
	if v.phase != isNew {
		return errors.New("opening a volume twice")
	}
	for _, sub := range v.cfg.Subdirs {
		if err := CheckName(sub); err != nil {
			return fmt.Errorf("subdirectory of %q: %w", v.cfg.Dir, err)
		}
	}
	if err := v.open(ctx); err != nil {
		return errors.Join(err, v.release())
	}
	v.phase = isOpen
	return nil
}

// open is Open without what it must do when it fails. life must be held.
func (v *Volume) open(ctx context.Context) error {
	if err := v.hold(ctx); err != nil {
		return err
	}
	left, err := v.attach()
	if err != nil {
		return fmt.Errorf("opening %q: %w", v.cfg.Dir, err)
	}
	if err := v.ledger.describe(v.cfg.Subdirs, v.plainPerm()); err != nil {
		return fmt.Errorf("opening %q: %w", v.cfg.Dir, err)
	}
	v.tree = newTree(v.cfg.Subdirs, v.ledger, left)
	v.plain = newPlainTree(v.holding.root, v.holding.path, v.plainPerm(), v.cfg.Subdirs)
	if err := v.plain.prepare(); err != nil {
		v.cfg.Logger.Warn("the directory can't be written", "dir", v.plain.path, "error", err)
	}
	found, err := v.plain.list()
	if err != nil {
		return fmt.Errorf("opening %q: %w", v.cfg.Dir, err)
	}
	v.foreign = make(map[string]struct{}, len(found))
	for _, name := range append(found, v.tree.names()...) {
		v.foreign[name] = struct{}{}
	}
	return nil
}

// plainPerm is what plain files have. Those beneath a mount that can be written
// can't be: nobody would check what is.
func (v *Volume) plainPerm() permissions {
	p := v.perm
	if v.cfg.Writer != nil {
		p.file &^= 0o222
		p.dir &^= 0o022
	}
	return p
}

// hold finds out what is held of the directory. life must be held.
func (v *Volume) hold(ctx context.Context) error {
	v.holding = v.cfg.Holding
	if v.holding != nil {
		v.noFUSE = errors.New(v.cfg.WhyPlain)
		return nil
	}
	v.holding = NewHolding(HoldingConfig{
		Dir: v.cfg.Dir, DirMode: v.cfg.DirMode, FSName: v.cfg.FSName, Writable: v.cfg.Writer != nil, Logger: v.cfg.Logger,
	})
	if err := v.holding.Open(ctx); err != nil {
		return err
	}
	if v.cfg.Mode == Plain {
		v.noFUSE = errors.New("plain files were asked for")
	} else if v.noFUSE = v.holding.Connect(ctx); ctx.Err() != nil {
		return v.noFUSE
	}
	return nil
}

// attach takes over what another process served, if there is a session. life
// must be held.
func (v *Volume) attach() (left []recovered, err error) {
	s := v.holding.session
	if s == nil {
		v.ledger, err = newLedger()
		return nil, err
	}
	if v.dev, v.ledger, err = s.share(); err != nil {
		return nil, err
	}
	if v.writerDev, err = v.holding.shareWriters(); err != nil {
		return nil, err
	}
	v.ledger.header.server.Store(int32(os.Getpid()))
	left, err = v.ledger.recover()
	v.inherited = len(left) > 0
	return left, err
}

// Mount chooses the face and lets readers see what has been adopted and
// published so far, all of it at once. It fails if FUSE was demanded and can't
// be had. If somebody else has the Holding, a session that isn't seen yet stays
// so: what reads it sees is answered from now on, and Holding.Show is the other's
// matter.
func (v *Volume) Mount(ctx context.Context) error {
	v.life.Lock()
	defer v.life.Unlock()
	if v.phase != isOpen {
		return errors.New("mounting a volume that isn't open or is mounted")
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if v.dev >= 0 {
		v.noFUSE = v.serve(v.newFace())
	}
	switch {
	case v.dev >= 0 && v.noFUSE == nil:
	case v.cfg.Holding != nil && v.dev >= 0, v.cfg.Mode == FUSE:
		return v.noFUSE
	default:
		if v.cfg.Holding == nil && v.cfg.Mode != Plain {
			v.cfg.Logger.Warn("serving plain files instead of a FUSE mount", "dir", v.plain.path, "reason", v.noFUSE)
		}
		v.face.Store(&face{mode: Plain, why: v.noFUSE.Error()})
		v.guard.start()
	}
	v.phase = isMounted
	return nil
}

// newFace returns the handlers of the session. life must be held.
func (v *Volume) newFace() handlers {
	read := newFace(v.tree, v.perm, v.waker)
	if v.ledger.writersRequest() == nil {
		return read
	}
	v.writes = newWrites(v)
	v.tree.displaced = v.writes.displaced
	return &writableFace{fuseFace: read, w: v.writes}
}

// serve goes over to the FUSE face, by the given handlers. life must be held.
func (v *Volume) serve(h handlers) error {
	conn := newConnection(v.dev, v.ledger.initRequest(), h, v.cfg.Logger)
	conn.nested = v.writes != nil
	f := &face{mode: FUSE, conn: conn}
	err := conn.takeOver()
	if err == nil && v.writes != nil && v.writerDev >= 0 {
		f.writers = v.serveWriters()
	}
	if err != nil {
		conn.stop()
		return fmt.Errorf("serving the mount at %q: %w", v.plain.path, err)
	}
	v.face.Store(f)
	for _, id := range v.tree.dirIDs() {
		// A predecessor may have died before it did.
		conn.dropListing(id)
	}
	if v.cfg.Holding == nil {
		if err := v.holding.Show(); err != nil {
			conn.stop()
			return err
		}
		v.holding.awaitWriters()
	}
	v.watch.Go(func() { v.watchSession(conn) })
	if v.inherited {
		v.compared = make(chan struct{})
		v.watch.Go(v.compareCopies)
	}
	v.copies.start(v.tryCopy)
	v.waker.start()
	if v.writes != nil {
		v.refresher.changed() // by what has been dropped above
		v.refresher.start()
	}
	return nil
}

// watchSession goes over to the plain face if the mount is taken away.
func (v *Volume) watchSession(conn *connection) {
	over := make(chan struct{})
	var watch sync.WaitGroup
	if v.cfg.Holding == nil {
		gone := v.holding.Gone()
		watch.Go(func() {
			select {
			case <-gone:
				// It is to end everywhere, soon. What is in its place by now stays.
				if err := v.holding.Abandon(); err != nil {
					v.cfg.Logger.Error("giving up a mount that was taken away", "dir", v.plain.path, "error", err)
				}
			case <-over:
			}
		})
	}
	conn.wait()
	close(over)
	watch.Wait()
	if v.closing.Load() {
		return
	}
	if v.cfg.Holding == nil {
		// It may have been aborted only, and be in place still.
		if err := v.holding.Abort(); err != nil {
			v.cfg.Logger.Error("taking away a mount that has ended", "dir", v.plain.path, "error", err)
		}
	}
	const why = "the mount was taken away by somebody"
	v.face.Store(&face{mode: Plain, why: why, conn: conn, writers: v.face.Load().writers})
	v.guard.start()
	level := slog.LevelWarn
	if v.cfg.Holding != nil {
		level = slog.LevelDebug // who has the Holding knows better
	}
	v.cfg.Logger.Log(context.Background(), level, "serving plain files from now on", "dir", v.plain.path, "reason", why)
	close(v.ended)
}

// Ended returns a channel that is closed when the session has ended though the
// Volume wasn't closed: because the mount was taken away. The face is Plain from
// then on.
func (v *Volume) Ended() <-chan struct{} { return v.ended }

// Face returns what serves the directory, FUSE or Plain, and what is to be known
// about it: why it isn't FUSE, or what the FUSE mount does without. "" means
// that there is nothing.
func (v *Volume) Face() (mode Mode, why string) {
	f := v.face.Load()
	if f.mode == Plain {
		return Plain, f.why
	}
	if err := v.CopyErr(); err != nil {
		return FUSE, err.Error()
	}
	return FUSE, ""
}

// CopyErr returns why the plain files beneath the mount aren't what the mount
// serves, or nil. A restarted monitor would serve their older content until it
// has fetched the newer. It is tried again until it works.
func (v *Volume) CopyErr() error { return v.copies.err() }

// Requests returns how many requests of the kernel have been answered, by
// operation ("LOOKUP", "READ"); it is empty without a mount.
func (v *Volume) Requests() map[string]uint64 {
	if conn := v.face.Load().conn; conn != nil {
		return conn.counts()
	}
	return map[string]uint64{}
}

// Flush makes what has been published survive a power failure, which takes as
// long as the filesystem's disk needs. What hasn't been flushed survives
// everything but that.
func (v *Volume) Flush() error {
	v.life.RLock()
	defer v.life.RUnlock()
	if v.phase != isOpen && v.phase != isMounted {
		return ErrClosed
	}
	return v.plain.flush()
}

// Close ends the serving and waits for calls under way and for all that Mount
// started. The plain files stay. Without a Holding from elsewhere, the mount is
// taken away, even if it is in use, and the lock is given back. With one, the
// session stays as it is, for another process.
func (v *Volume) Close() error {
	v.copies.stop()
	v.waker.stop()
	v.guard.stop()
	v.refresher.stop()
	v.closing.Store(true)
	v.endWrites()
	v.life.Lock()
	defer v.life.Unlock()
	wasOpen := v.phase == isOpen || v.phase == isMounted
	v.phase = isClosed
	if !wasOpen {
		return nil
	}
	var err error
	if v.cfg.Holding == nil {
		err = v.holding.Unmount(context.Background())
	}
	f := v.face.Load()
	for _, conn := range []*connection{f.conn, f.writers} {
		if conn != nil {
			conn.stop()
		}
	}
	v.watch.Wait()
	v.face.Store(&face{mode: Plain, why: "closed"})
	return errors.Join(err, v.release())
}

// release closes what has been opened. life must be held.
func (v *Volume) release() error {
	var errs []error
	for _, dev := range []*int{&v.dev, &v.writerDev} {
		if *dev >= 0 {
			errs = append(errs, unix.Close(*dev))
			*dev = -1
		}
	}
	if v.ledger != nil {
		errs = append(errs, v.ledger.close())
		v.ledger, v.tree = nil, nil
	}
	if v.cfg.Holding == nil && v.holding != nil {
		errs = append(errs, v.holding.Close())
	}
	return errors.Join(errs...)
}
