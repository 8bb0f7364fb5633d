package fs

import (
	"context"
	"errors"
	"fmt"
	iofs "io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

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
}

// Wakeup is a change that those who watch a directory by inotify are to see: a
// rename of From to To, or, if From is "", the removal of To. Volumes make them,
// for Holding.Wake.
type Wakeup struct{ From, To string }

// Descriptor is an open file of a Holding's, and what it is for.
type Descriptor struct {
	Name string
	File *os.File
}

// ToServe reports whether a process needs the descriptor that only serves, and
// leaves Show, Probe and Wake to another. It had better not have the others: the
// session lasts as long as anybody has its mount open. Nor had a service manager
// that keeps descriptors: systemd looks at each with fstat, and at the mount that
// asks whoever serves it, for whom it may then wait instead of starting him.
func (d Descriptor) ToServe() bool { return d.Name != descMount }

// The names of descriptors.
const (
	descRoot   = "root"   // the directory beneath the mount
	descLock   = "lock"   // the lock file
	descDev    = "dev"    // /dev/fuse
	descMount  = "mount"  // the mount that nobody else sees
	descLedger = "ledger" // what the session's servers leave to each other
)

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
	defer h.mu.Unlock()
	h.session = s
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

// Show mounts the session over the directory, read-only. It does nothing if it
// is mounted.
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
	readOnly := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}
	if err := unix.MountSetattr(s.mount, "", unix.AT_EMPTY_PATH, &readOnly); err != nil {
		return err
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
	return p.atRoot() && p.mount.Type == mountType && p.mount.Device == fmt.Sprintf("0:%d", h.session.ledger.header.device)
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

// Settle makes the plain files beneath what the session's server served last,
// which it may have died before. Nobody must serve the session. It does nothing
// without one.
func (h *Holding) Settle() error {
	h.changing.Lock()
	defer h.changing.Unlock()
	if h.session == nil {
		return nil
	}
	if err := h.settle(); err != nil {
		return fmt.Errorf("bringing the files beneath the mount at %q up to date: %w", h.path, err)
	}
	return nil
}

func (h *Holding) settle() error {
	dev, l, err := h.session.share()
	if err != nil {
		return err
	}
	defer unix.Close(dev)
	defer l.close()
	left, err := l.recover()
	if err != nil {
		return err
	}
	subdirs, perm := l.described()
	t, plain := newTree(subdirs, l, left), newPlainTree(h.root, h.path, perm, subdirs)
	var errs []error
	for _, name := range t.names() {
		sub, base, err := splitName(name, subdirs)
		if err != nil {
			continue
		}
		d := t.directory(sub)
		if plain.holds(sub, base, t.versionOf(d, base)) {
			continue
		}
		if e, _, ok := t.get(d, base); ok {
			errs = append(errs, plain.write(sub, base, e))
		}
	}
	return errors.Join(errs...)
}

// Abort takes the session away by force. Requests under way fail, and the plain
// files beneath serve. It does nothing without a session. Connect may follow.
func (h *Holding) Abort() error {
	h.changing.Lock()
	defer h.changing.Unlock()
	if h.session == nil {
		return nil
	}
	return h.end(unix.MNT_FORCE | unix.MNT_DETACH)
}

// drainTime is how long those who are in the middle of reading when the mount is
// taken away go on being served.
const drainTime = time.Second

// Unmount ends the session. If the mount is in use, it disappears from its place
// at once, and Unmount returns when its last user is gone, or after a second:
// those that are left then get errors as soon as nobody serves the session and
// the holding is closed. So whoever serves it must do so meanwhile. It does
// nothing without a session.
func (h *Holding) Unmount(ctx context.Context) error {
	h.changing.Lock()
	defer h.changing.Unlock()
	if h.session == nil {
		return nil
	}
	return h.unmount(ctx)
}

// unmount is Unmount. changing must be held.
func (h *Holding) unmount(ctx context.Context) error {
	dev, err := unix.FcntlInt(uintptr(h.session.dev), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return err
	}
	id := h.at.mount.ID
	err = h.end(0)
	if err != nil || id == 0 || ends(ctx, dev, drainTime) {
		err = errors.Join(err, unix.Close(dev))
	} else {
		h.mu.Lock()
		h.drained = append(h.drained, dev)
		h.mu.Unlock()
		h.cfg.Logger.Warn("the mount is still in use: it was taken from its place, and its users will get errors", "dir", h.path)
	}
	if _, left, lookErr := mountByID(id); left && lookErr == nil {
		h.cfg.Logger.Warn("the mount is covered by another one and stays: it is dead, and is taken away when a monitor next starts there", "dir", h.path)
	}
	return err
}

// ends waits until a session has ended, at most so long.
func ends(ctx context.Context, dev int, wait time.Duration) bool {
	deadline := time.Now().Add(wait)
	s := session{dev: dev}
	// The kernel wakes poll when the session ends, but for each request as well.
	for s.alive() {
		left := time.Until(deadline)
		if left <= 0 || ctx.Err() != nil {
			return false
		}
		_, _ = unix.Poll([]unix.PollFd{{Fd: int32(dev)}}, int(min(left, 100*time.Millisecond)/time.Millisecond)+1)
	}
	return true
}

// end takes the mount from its place, unless it is gone or is covered by another
// one, and gives the session up. changing must be held.
func (h *Holding) end(flags int) error {
	h.mu.Lock()
	s, watch := h.session, h.watch
	at := h.at
	if at == (place{}) {
		// Show may have failed half way.
		if seen, err := look(h.path); err == nil && h.isOurs(seen) {
			at = seen
		}
	}
	h.session, h.at, h.watch = nil, place{}, nil
	h.mu.Unlock()
	if watch != nil {
		watch.stop()
	}
	var err error
	if now, lookErr := look(h.path); at != (place{}) && lookErr == nil && now == at {
		err = unmount(h.path, flags)
		if errors.Is(err, unix.EBUSY) {
			err = unmount(h.path, unix.MNT_DETACH)
		}
	}
	outdateErr := outdateNames(s.dev)
	// Unless somebody else has it open, closing the device ends what users of the
	// private mount wait for.
	devErr := unix.Close(s.dev)
	s.dev = -1
	var abortErr error
	if flags&unix.MNT_FORCE != 0 || !endsWithin(&h.users, drainTime) {
		// There may have been no mount to take away by force.
		abortErr = s.abort()
	}
	h.users.Wait()
	return errors.Join(err, outdateErr, devErr, abortErr, s.close())
}

// endsWithin reports whether a group ends in that time. It must end some time.
func endsWithin(group *sync.WaitGroup, d time.Duration) bool {
	ended := make(chan struct{})
	go func() {
		group.Wait()
		close(ended)
	}()
	timeout := time.NewTimer(d)
	defer timeout.Stop()
	select {
	case <-ended:
		return true
	case <-timeout.C:
		return false
	}
}

func unmount(dir string, flags int) error {
	if err := unix.Unmount(dir, flags|unix.UMOUNT_NOFOLLOW); err != nil {
		return fmt.Errorf("unmounting %q: %w", dir, err)
	}
	return nil
}

// Close closes all descriptors, which gives the lock back unless somebody else
// has them, too. It unmounts nothing.
func (h *Holding) Close() error {
	h.changing.Lock()
	defer h.changing.Unlock()
	h.mu.Lock()
	s, watch, root, lock, drained := h.session, h.watch, h.root, h.lock, h.drained
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

// Descriptors returns copies of the open files that another process needs to go
// on, by ResumeHolding. The caller closes them.
func (h *Holding) Descriptors() ([]Descriptor, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	fds := map[string]int{descRoot: h.root}
	if h.lock != nil && h.lock.file >= 0 {
		fds[descLock] = h.lock.file
	}
	if h.session != nil {
		fds[descDev], fds[descMount], fds[descLedger] = h.session.dev, h.session.mount, h.session.ledger.fd
	}
	var all []Descriptor
	for _, name := range []string{descRoot, descLock, descDev, descMount, descLedger} {
		fd, ok := fds[name]
		if !ok {
			continue
		}
		dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
		if err != nil {
			for _, d := range all {
				_ = d.File.Close()
			}
			return nil, fmt.Errorf("copying the descriptors of %q: %w", h.path, err)
		}
		all = append(all, Descriptor{name, os.NewFile(uintptr(dup), name)})
	}
	return all, nil
}

// ResumeHolding returns an open Holding of the descriptors that another one had.
// It takes them over, whatever the result. Those that aren't ToServe may be left
// out. It is an error if they aren't of the configured directory; then a session
// among them has been taken away.
func ResumeHolding(cfg HoldingConfig, descriptors []Descriptor) (_ *Holding, err error) {
	h := NewHolding(cfg)
	fds := map[string]int{}
	for _, d := range descriptors {
		fd, dupErr := unix.FcntlInt(d.File.Fd(), unix.F_DUPFD_CLOEXEC, 3)
		err = errors.Join(err, dupErr, d.File.Close())
		if dupErr == nil {
			fds[d.Name] = fd
		}
	}
	defer func() {
		if err != nil {
			for _, fd := range fds {
				_ = unix.Close(fd)
			}
			err = fmt.Errorf("going on with what was held of %q: %w", h.cfg.Dir, err)
		}
	}()
	root, ok := fds[descRoot]
	if err != nil || !ok {
		return nil, errors.Join(err, errors.New("its directory isn't among the descriptors"))
	}
	if err := h.resume(root, fds); err != nil {
		return nil, err
	}
	return h, nil
}

// resume takes the descriptors over unless it fails.
func (h *Holding) resume(root int, fds map[string]int) error {
	under, err := lookAt(root)
	if err != nil {
		return err
	}
	if dir, err := resolve(h.cfg.Dir); err != nil || dir != under.path {
		return errors.Join(fmt.Errorf("the descriptors are of %q", under.path), h.abandon(under.path, fds), err)
	}
	h.path, h.lock = under.path, &dirLock{file: -1}
	dev, hasDev := fds[descDev]
	mount, hasMount := fds[descMount]
	if !hasMount {
		mount = -1
	}
	memory, hasLedger := fds[descLedger]
	if hasDev && hasLedger {
		l, err := attachLedger(memory)
		if err != nil {
			return errors.Join(err, h.abandon(under.path, fds))
		}
		h.session = &session{dev: dev, mount: mount, ledger: l}
		if seen, err := look(h.path); err == nil && h.isOurs(seen) {
			h.at = seen
		}
		if h.cfg.Orphaned && !hasMount {
			if err := h.regain(); err != nil {
				_ = unix.Munmap(l.mem)
				return errors.Join(err, h.abandon(under.path, fds))
			}
		}
	}
	h.root = root
	if file, ok := fds[descLock]; ok {
		h.lock.file = file
	}
	return nil
}

// regain makes up for a private mount that nobody has any more. A session that
// isn't seen has ended with it, and is given up.
func (h *Holding) regain() error {
	s := h.session
	if h.at == (place{}) {
		h.session = nil
		_ = s.close()
		return nil
	}
	private, err := copyMount(unix.AT_FDCWD, h.path)
	if err != nil {
		return err
	}
	if device, err := deviceOf(private); err != nil || device != s.ledger.header.device {
		unix.Close(private)
		return errors.Join(errors.New("something else was mounted over it"), err)
	}
	s.mount = private
	return nil
}

// abandon takes away the mount of a session that can't be gone on with, if it is
// ours to do so.
func (h *Holding) abandon(path string, fds map[string]int) error {
	var device uint32
	var err error
	mount, hasMount := fds[descMount]
	memory, hasLedger := fds[descLedger]
	switch {
	case hasMount:
		device, err = deviceOf(mount)
	case hasLedger && h.cfg.Orphaned:
		device, err = ledgerDevice(memory)
	default:
		return nil // whoever has the mount sees to it
	}
	if err != nil {
		return err
	}
	seen, err := look(path)
	if err != nil || seen.mount.Type != mountType || !seen.atRoot() || seen.mount.Device != fmt.Sprintf("0:%d", device) {
		return err
	}
	return unmount(path, unix.MNT_FORCE|unix.MNT_DETACH)
}

// resolve returns the path of a directory without symbolic links, as look does.
func resolve(dir string) (string, error) {
	p, err := look(dir)
	return p.path, err
}
