package fs

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
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
	tree *tree

	// life is held shared by whatever uses the descriptors below, and
	// exclusively by Open, Mount and Close, which change them.
	life  sync.RWMutex
	phase phase
	plain *plainTree
	lock  *dirLock
	watch sync.WaitGroup // goroutines that Mount started

	face   atomic.Pointer[face]
	copies *copies

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
	mode  Mode     // FUSE or Plain
	why   string   // why not FUSE
	mount *mounted // nil if plain
}

// New returns a Volume that does nothing yet.
func New(cfg Config) *Volume {
	cfg.setDefaults()
	v := &Volume{
		cfg: cfg, tree: newTree(cfg.Subdirs), copies: newCopies(cfg.Logger), nameSeed: maphash.MakeSeed(),
		perm: permissions{
			file: uint32(cfg.FileMode.Perm()), dir: uint32(cfg.DirMode.Perm()),
			uid: uint32(os.Geteuid()), gid: uint32(os.Getegid()),
		},
	}
	if cfg.GID != 0 {
		v.perm.gid = uint32(cfg.GID)
	}
	v.face.Store(&face{mode: Plain, why: "not mounted yet"})
	return v
}

// Open prepares the directory and locks it against other monitors. A mount that
// a dead monitor left over it is taken away. Nothing is mounted yet.
//
// It is an ErrInUse if another monitor serves the directory. Otherwise it fails
// only if the directory can't be read: if it can't be written, that is logged,
// the FUSE face does without, and plain files return the error when they are
// published.
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
	dir, err := filepath.Abs(v.cfg.Dir)
	if err != nil {
		return err
	}
	root, path, err := openPlace(ctx, dir, v.cfg.DirMode.Perm(), v.cfg.Logger)
	if err != nil {
		return fmt.Errorf("opening %q: %w", v.cfg.Dir, err)
	}
	v.plain = newPlainTree(root, path, v.perm, v.cfg.Subdirs)
	if v.lock, err = v.plain.lock(); err != nil {
		return errors.Join(fmt.Errorf("opening %q: %w", v.cfg.Dir, err), v.plain.close())
	}
	if err := v.plain.prepare(); err != nil {
		v.cfg.Logger.Warn("the directory can't be written", "dir", path, "error", err)
	}
	found, err := v.plain.list()
	if err != nil {
		v.lock.release()
		return errors.Join(fmt.Errorf("opening %q: %w", v.cfg.Dir, err), v.plain.close())
	}
	v.foreign = make(map[string]struct{}, len(found))
	for _, name := range found {
		v.foreign[name] = struct{}{}
	}
	v.phase = isOpen
	return nil
}

// Mount chooses the face and lets readers see what has been adopted and
// published so far, all of it at once. It fails if FUSE was demanded and can't
// be had.
func (v *Volume) Mount(ctx context.Context) error {
	v.life.Lock()
	defer v.life.Unlock()
	if v.phase != isOpen {
		return errors.New("mounting a volume that isn't open or is mounted")
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if v.cfg.Mode == Plain {
		v.face.Store(&face{mode: Plain, why: "plain files were asked for"})
		v.phase = isMounted
		return nil
	}
	err := v.mountFUSE(ctx, newFace(v.tree, v.perm))
	switch {
	case err == nil:
	case v.cfg.Mode == FUSE, ctx.Err() != nil:
		return err
	default:
		v.cfg.Logger.Warn("serving plain files instead of a FUSE mount", "dir", v.plain.path, "reason", err)
		v.face.Store(&face{mode: Plain, why: err.Error()})
	}
	v.phase = isMounted
	return nil
}

// mountFUSE goes over to the FUSE face. life must be held.
func (v *Volume) mountFUSE(ctx context.Context, h handlers) error {
	m, err := mountFUSE(ctx, v.plain.root, v.plain.path, v.cfg.FSName, h, v.cfg.Logger)
	if err != nil {
		return err
	}
	v.face.Store(&face{mode: FUSE, mount: m})
	v.watch.Go(func() { v.watchMount(m) })
	v.copies.start(v.tryCopy)
	return nil
}

// watchMount goes over to the plain face if the mount is taken away.
func (v *Volume) watchMount(m *mounted) {
	m.conn.wait()
	if m.closing.Load() {
		return
	}
	// It may have been aborted only, and be in place still.
	if _, err := m.detach(true); err != nil {
		v.cfg.Logger.Error("taking away a mount that has ended", "dir", m.dir, "error", err)
	}
	const why = "the mount was taken away by somebody; start the monitor again to have it back"
	v.face.Store(&face{mode: Plain, why: why, mount: m})
	v.cfg.Logger.Warn("serving plain files from now on", "dir", m.dir, "reason", why)
}

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
	if m := v.face.Load().mount; m != nil {
		return m.conn.counts()
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

// Close takes the mount away, even if it is in use, and gives the lock back. The
// plain files stay. It waits for calls under way and for all that Mount started.
func (v *Volume) Close() error {
	v.copies.stop()
	v.life.Lock()
	defer v.life.Unlock()
	if v.phase != isOpen && v.phase != isMounted {
		v.phase = isClosed
		return nil
	}
	v.phase = isClosed
	var err error
	if m := v.face.Load().mount; m != nil {
		err = m.close(false)
	}
	v.watch.Wait()
	v.face.Store(&face{mode: Plain, why: "closed"})
	v.lock.release()
	return errors.Join(err, v.plain.close())
}
