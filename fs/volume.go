package fs

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	iofs "io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
)

// Config is what a Volume is made of. Dir is required.
type Config struct {
	// Dir is the directory to serve, such as /var/config. It is created if it
	// doesn't exist.
	Dir string
	// Subdirs are directories in it, such as "decider". They always exist.
	Subdirs []string
	// Mode says by which face to serve; "" means Auto.
	Mode Mode
	// FSName is what /proc/mounts shows as the mount's source; "" means
	// kingpin.
	FSName string
	// FileMode and DirMode are permission bits; 0 means 0444 and 0755.
	FileMode, DirMode iofs.FileMode
	// GID is the group that files belong to, if it isn't this process's; 0
	// means it is.
	GID int
	// Logger gets what an administrator should know; nil means slog's default.
	Logger *slog.Logger
}

func (c *Config) setDefaults() {
	if c.Mode == "" {
		c.Mode = Auto
	}
	if c.FSName == "" {
		c.FSName = "kingpin"
	}
	if c.FileMode == 0 {
		c.FileMode = 0o444
	}
	if c.DirMode == 0 {
		c.DirMode = 0o755
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
}

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

// ReadPlain returns what an earlier process left of a file, and what stat shows
// of it. It is not served before it is adopted. The error wraps
// iofs.ErrNotExist if there is no such file.
func (v *Volume) ReadPlain(name string) ([]byte, iofs.FileInfo, error) {
	sub, base, done, err := v.enter(name)
	if err != nil {
		return nil, nil, err
	}
	defer done()
	return v.plain.read(sub, base)
}

// Adopt serves e without writing its plain file, because e is what ReadPlain
// returned. For a name that ReadPlain refuses it does nothing.
func (v *Volume) Adopt(name string, e Entry) {
	sub, base, done, err := v.enter(name)
	if err != nil {
		return
	}
	defer done()
	v.swap(sub, base, &e)
	v.notForeign(name)
}

// Publish serves e under a name. When it returns, every later open sees it.
//
// In the plain face an error means that readers still see what they saw, and
// that the caller must try again. In the FUSE face it means a name that can't
// be served or a closed volume: if the plain file can't be written, the mount
// serves the entry all the same; see CopyErr.
func (v *Volume) Publish(name string, e Entry) error {
	sub, base, done, err := v.enter(name)
	if err != nil {
		return err
	}
	defer done()
	if err := v.copy(name, func() error { return v.plain.write(sub, base, e) }); err != nil {
		return err
	}
	v.swap(sub, base, &e)
	v.notForeign(name)
	return nil
}

// Remove ends serving a file and deletes it, whether this process published it
// or an earlier one. It is no error if there is none. Errors are as Publish's.
func (v *Volume) Remove(name string) error {
	sub, base, done, err := v.enter(name)
	if err != nil {
		return err
	}
	defer done()
	if err := v.copy(name, func() error { return v.plain.remove(sub, base) }); err != nil {
		return err
	}
	v.swap(sub, base, nil)
	v.notForeign(name)
	return nil
}

// copy makes a change to the plain files. If the FUSE face does without, the
// change is put off until it works.
func (v *Volume) copy(name string, change func() error) error {
	err := change()
	if err == nil {
		v.copies.caughtUp(name)
		return nil
	}
	if v.face.Load().mode == Plain {
		return err
	}
	v.copies.putOff(name, err)
	return nil
}

// tryCopy makes a name's plain file what is served.
func (v *Volume) tryCopy(name string) {
	sub, base, done, err := v.enter(name)
	if err != nil {
		return
	}
	defer done()
	if e, _, ok := v.tree.get(v.tree.directory(sub), base); ok {
		err = v.plain.write(sub, base, e)
	} else {
		err = v.plain.remove(sub, base)
	}
	if err != nil {
		v.copies.putOff(name, err)
		return
	}
	v.copies.caughtUp(name)
}

// swap gives a name another version, or none.
//
// No reader may see the new version and another, later, the old one. So the
// kernel's memory of the name is emptied before, while answers about it are
// such that the kernel doesn't keep them: if it were emptied after, an answer
// still on its way could put the old version back in the place of the new one
// that somebody has seen.
func (v *Volume) swap(sub, base string, e *Entry) {
	d := v.tree.directory(sub)
	v.tree.begin(d, base)
	m := v.face.Load().mount
	if m != nil {
		m.conn.dropName(d.id, base, func() bool { return v.tree.mayBeTold(d, base) })
	}
	v.tree.commit(d, base, e)
	if m != nil {
		m.conn.dropListing(d.id)
	}
}

// enter checks a name and keeps the volume open, and the name from others'
// changes, until done is called.
func (v *Volume) enter(name string) (sub, base string, done func(), err error) {
	sub, base, err = splitName(name, v.cfg.Subdirs)
	if err != nil {
		return "", "", nil, err
	}
	v.life.RLock()
	if v.phase != isOpen && v.phase != isMounted {
		v.life.RUnlock()
		return "", "", nil, ErrClosed
	}
	mu := &v.names[maphash.String(v.nameSeed, name)%uint64(len(v.names))]
	mu.Lock()
	return sub, base, func() {
		mu.Unlock()
		v.life.RUnlock()
	}, nil
}

// SetStatus says how a file stands. It does nothing if there is no such file.
func (v *Volume) SetStatus(name string, s Status) {
	if sub, base, err := splitName(name, v.cfg.Subdirs); err == nil {
		v.tree.setStatus(v.tree.directory(sub), base, s)
	}
}

// Names returns the names of all files that are served, sorted.
func (v *Volume) Names() []string { return v.tree.names() }

// Get returns what is served under a name. The content must not be modified.
func (v *Volume) Get(name string) (Entry, Status, bool) {
	sub, base, err := splitName(name, v.cfg.Subdirs)
	if err != nil {
		return Entry{}, Status{}, false
	}
	return v.tree.get(v.tree.directory(sub), base)
}

// Foreign returns the names of what Open found in the directory and nobody has
// adopted, published or removed since, sorted. They are left alone; behind a
// mount they can't be seen.
func (v *Volume) Foreign() []string {
	v.foreignMu.Lock()
	defer v.foreignMu.Unlock()
	names := make([]string, 0, len(v.foreign))
	for name := range v.foreign {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (v *Volume) notForeign(name string) {
	v.foreignMu.Lock()
	defer v.foreignMu.Unlock()
	delete(v.foreign, name)
}

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
