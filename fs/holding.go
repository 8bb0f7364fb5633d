package fs

import (
	"context"
	"errors"
	"fmt"
	iofs "io/fs"
	"log/slog"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// HoldingConfig is what a Holding is made of. Dir is required.
type HoldingConfig struct {
	// Dir is the directory to serve. It is created if it doesn't exist.
	Dir string
	// DirMode are its permission bits; 0 means 0755.
	DirMode iofs.FileMode
	// FSName is what /proc/mounts shows as the mount's source; "" means kingpin.
	FSName string
	// Writable says that the mount can be written, through a Volume with a Writer:
	// there is a second session then, mounted within.
	Writable bool
	// Orphaned tells ResumeHolding that nobody holds what is resumed: a copy of
	// the mount is taken of what is seen, if it isn't among the descriptors, and a
	// session that can't be gone on with is taken away.
	Orphaned bool
	// Logger gets what an administrator should know; nil means slog's default.
	Logger *slog.Logger
}

func (c *HoldingConfig) setDefaults() {
	if c.DirMode == 0 {
		c.DirMode = 0o755
	}
	if c.FSName == "" {
		c.FSName = subtype
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
}

// Holding is what must outlive the process that serves a directory, so that
// another one can go on where it stopped, without a reader's noticing: the
// directory beneath the mount, opened before it was mounted over, and its lock;
// and the FUSE session, with the memory of what has been told to the kernel.
// One process holds it all, and hands it to the one that serves, a Volume.
//
// Its methods are safe for concurrent use. All that change the session wait for
// each other, but Wake and Probe don't.
type Holding struct {
	cfg HoldingConfig

	changing sync.Mutex // held by what changes the session; taken before mu

	mu      sync.Mutex // guards all below
	path    string     // of the directory, without symbolic links
	root    int        // the directory beneath; -1 if it isn't open
	lock    *dirLock
	session *session       // nil if there is none
	at      place          // where the session is mounted; the zero value if nowhere
	watch   *mountWatch    // nil until somebody asks
	users   sync.WaitGroup // of the session's private mount
	drained []int          // devices of sessions that ended while they were in use
	drains  sync.WaitGroup // of abandoned sessions that are being ended
	// writers is the writers' session; nil if there is none. Its mount is the
	// keeper's, once there is one.
	writers *session
	keeper  *keeper // nil before the session is shown
}

// Wakeup is a change that those who watch a directory by inotify are to see: a
// rename of From to To, or, if From is "", the removal of To. Volumes make them,
// for Holding.Wake.
type Wakeup struct{ From, To string }

// NewHolding returns a Holding that holds nothing yet.
func NewHolding(cfg HoldingConfig) *Holding {
	cfg.setDefaults()
	return &Holding{cfg: cfg, root: -1}
}

// Open opens the directory, creating it if it doesn't exist, and locks it
// against other monitors. A mount that a dead monitor left over it is taken
// away. It is an ErrInUse if another monitor serves the directory.
func (h *Holding) Open(ctx context.Context) error {
	h.changing.Lock()
	defer h.changing.Unlock()
	if h.root >= 0 {
		return errors.New("opening a directory twice")
	}
	dir, err := filepath.Abs(h.cfg.Dir)
	if err != nil {
		return err
	}
	root, path, err := openPlace(ctx, dir, h.cfg.DirMode.Perm(), h.cfg.Logger)
	if err != nil {
		return fmt.Errorf("opening %q: %w", h.cfg.Dir, err)
	}
	lock, err := lockRoot(ctx, root, path)
	if err != nil {
		unix.Close(root)
		return fmt.Errorf("opening %q: %w", h.cfg.Dir, err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.root, h.path, h.lock = root, path, lock
	return nil
}

// Connect starts a FUSE session. Nobody can see it before Show. An earlier one
// must have been ended; if it ended by itself, Connect clears it away. The error
// says why FUSE can't be had.
func (h *Holding) Connect(ctx context.Context) error {
	h.changing.Lock()
	defer h.changing.Unlock()
	if h.root < 0 {
		return ErrClosed
	}
	if h.session != nil {
		now, err := look(h.path)
		if h.session.alive() && (h.at == place{} || err == nil && now == h.at) {
			return fmt.Errorf("%q has a FUSE session already", h.path)
		}
		if err := h.end(unix.MNT_FORCE | unix.MNT_DETACH); err != nil {
			return err
		}
	}
	err := h.uncover(ctx)
	var s *session
	if err == nil {
		s, err = newSession(ctx, h.cfg.FSName, h.cfg.Logger)
	}
	if err != nil {
		return fmt.Errorf("serving %q by FUSE: %w", h.path, err)
	}
	h.mu.Lock()
	h.session = s
	h.mu.Unlock()
	h.connectWriters(ctx)
	return nil
}

// uncover takes away a dead mount of ours that lies over the directory: one that
// was covered by something else when its session was ended.
func (h *Holding) uncover(ctx context.Context) error {
	p, err := look(h.path)
	if err != nil || p.mount.Type != mountType || !p.atRoot() {
		return err
	}
	return p.clear(ctx, h.cfg.Logger)
}

// Connected reports whether there is a FUSE session that hasn't ended, seen or
// not.
func (h *Holding) Connected() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.session != nil && h.session.alive()
}

// Shown reports whether the session has been mounted over the directory.
func (h *Holding) Shown() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.at != place{}
}

// Server returns the process that served the session last; 0 if none has.
func (h *Holding) Server() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.session == nil {
		return 0
	}
	return int(h.session.ledger.header.server.Load())
}

// Show mounts the session over the directory, read-only unless it is Writable. It
// does nothing if it is mounted.
func (h *Holding) Show() error {
	h.changing.Lock()
	defer h.changing.Unlock()
	switch {
	case h.session == nil:
		return ErrClosed
	case h.at != place{}:
		return nil
	}
	if err := h.show(); err != nil {
		return fmt.Errorf("mounting at %q: %w%s", h.path, err, adviseMount(err))
	}
	return nil
}

func (h *Holding) show() error {
	s := h.session
	if h.writers == nil {
		readOnly := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}
		if err := unix.MountSetattr(s.mount, "", unix.AT_EMPTY_PATH, &readOnly); err != nil {
			return err
		}
	}
	// The path must lead to where the mount will lie, which is the directory that
	// was opened.
	if now, err := look(h.path); err != nil {
		return err
	} else if under, err := lookAt(h.root); err != nil || now != under {
		return errors.Join(errors.New("something else was mounted over it, or it was moved"), err)
	}
	if err := unix.MoveMount(s.mount, "", h.root, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH); err != nil {
		return err
	}
	private, err := copyMount(s.mount, "")
	var seen place
	if err == nil {
		seen, err = look(h.path)
	}
	if err == nil && !h.isOurs(seen) {
		err = errors.New("something else was mounted over it at once")
	}
	if err != nil {
		if private >= 0 {
			_ = unix.Close(private)
		}
		return errors.Join(err, h.end(unix.MNT_FORCE|unix.MNT_DETACH))
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	// An open descriptor would keep the mount in use.
	_ = unix.Close(s.mount)
	s.mount, h.at = private, seen
	h.keepWriters()
	return nil
}

// copyMount returns a copy of a mount that nobody else sees, and through which
// files can be renamed. It asks the filesystem nothing.
func copyMount(at int, path string) (int, error) {
	private, err := unix.OpenTree(at, path, unix.AT_EMPTY_PATH|unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("copying a mount: %w", err)
	}
	writable := unix.MountAttr{Attr_clr: unix.MOUNT_ATTR_RDONLY}
	if err := unix.MountSetattr(private, "", unix.AT_EMPTY_PATH, &writable); err != nil {
		unix.Close(private)
		return -1, fmt.Errorf("making a copy of a mount writable: %w", err)
	}
	return private, nil
}

// isOurs reports whether a place is the root of a mount of the session.
func (h *Holding) isOurs(p place) bool {
	return p.atRoot() && p.mount.Type == mountType && p.mount.Device == fmt.Sprintf("0:%d", h.session.device)
}

// Gone returns a channel that is closed when the session isn't mounted over the
// directory any more, or is covered by something else, by somebody else's doing.
// It is nil, and never ready, unless the session is shown.
func (h *Holding) Gone() <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.at == (place{}) {
		return nil
	}
	if h.watch == nil {
		h.watch = watchMount(h.at, h.cfg.Logger)
	}
	return h.watch.gone
}

// Probe returns when whoever serves the session has answered a request, which
// the kernel doesn't answer by itself. The request goes on when ctx is done.
func (h *Holding) Probe(ctx context.Context) error {
	mount, done, err := h.use()
	if err != nil {
		return err
	}
	answered := make(chan error, 1)
	go func() {
		defer done()
		var buf [32]byte
		_, err := unix.Getxattr(fdPath(mount), attrPID, buf[:])
		if err == nil {
			// What the kernel knows isn't for ever.
			err = h.refresh(mount)
		}
		answered <- err
	}()
	select {
	case err := <-answered:
		if err != nil {
			return fmt.Errorf("asking the mount at %q: %w", h.path, err)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("asking the mount at %q: no answer: %w", h.path, ctx.Err())
	}
}

// Wake makes those who watch see a change. It returns when whoever serves the
// session has answered, which takes until one does or the session ends.
func (h *Holding) Wake(w Wakeup) error {
	mount, done, err := h.use()
	if err != nil {
		return err
	}
	defer done()
	if w.From == "" {
		err = unix.Unlinkat(mount, w.To, 0)
	} else {
		err = unix.Renameat(mount, w.From, mount, w.To)
	}
	if err != nil {
		return fmt.Errorf("telling those who watch %q of a change: %w", filepath.Join(h.path, w.To), err)
	}
	return nil
}

// use returns the private mount, and keeps it open until done is called.
func (h *Holding) use() (mount int, done func(), err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.session == nil || (h.at == place{}) {
		return -1, nil, ErrClosed
	}
	h.users.Add(1)
	return h.session.mount, h.users.Done, nil
}

// Close closes all descriptors, which gives the lock back unless somebody else
// has them, too. It unmounts nothing, and waits for the end of a session that was
// abandoned.
func (h *Holding) Close() error {
	h.changing.Lock()
	defer h.changing.Unlock()
	h.drains.Wait()
	h.mu.Lock()
	s, watch, root, lock, drained := h.session, h.watch, h.root, h.lock, h.drained
	writers := h.giveUpWriters()
	h.session, h.watch, h.root, h.lock, h.at, h.drained = nil, nil, -1, nil, place{}, nil
	h.mu.Unlock()
	if watch != nil {
		watch.stop()
	}
	var errs []error
	for _, dev := range drained {
		// Nobody serves it any more, so nothing can be remembered again.
		errs = append(errs, outdateNames(dev), unix.Close(dev))
	}
	if writers != nil {
		errs = append(errs, writers.close())
	}
	if s != nil {
		errs = append(errs, s.close())
	}
	if lock != nil {
		lock.release()
	}
	if root >= 0 {
		errs = append(errs, unix.Close(root))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("closing what is held of %q: %w", h.path, err)
	}
	return nil
}
