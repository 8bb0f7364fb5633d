package fs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sys/unix"
)

// connectWriters starts the writers' session, if there is to be one. Without it
// the mount is read-only. changing must be held.
func (h *Holding) connectWriters(ctx context.Context) {
	if !h.cfg.Writable {
		return
	}
	s, err := startSession(ctx, &session{dev: -1, mount: -1, ledger: h.session.ledger, writers: true}, h.cfg.FSName+"-writers", h.cfg.Logger)
	if err != nil {
		h.cfg.Logger.Error("the mount can't be written, only read", "dir", h.path, "error", err)
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.writers = s
}

// keeper keeps the mount of the writers' session in its place within the session's
// mount. What it needs to know of that must be looked up there, which takes until
// somebody serves, so it has a goroutine of its own, which nobody waits for but
// who ends the session.
type keeper struct {
	path   string // of the session's mount
	within uint32 // the session's device
	device uint32 // of the writers' session
	mount  int    // of it, which nobody sees; -1 if that is to be had from where it is seen
	header *writersHeader
	log    *slog.Logger

	stop  chan struct{} // closed when it is to end
	tried chan struct{} // closed when it has tried for the first time
}

// keepWriters begins to keep the writers' session's mount in its place, if there is
// one. mu must be held.
func (h *Holding) keepWriters() {
	if h.writers == nil || h.keeper != nil {
		return
	}
	k := &keeper{
		path: h.path, within: h.session.device, device: h.writers.device, mount: h.writers.mount, header: &h.session.ledger.header.writers,
		log: h.cfg.Logger, stop: make(chan struct{}), tried: make(chan struct{}),
	}
	h.writers.mount = -1
	h.keeper = k
	h.users.Go(k.run)
}

// The pauses of a keeper whose mount is taken away again and again.
const (
	leastKeepPause = 10 * time.Millisecond
	mostKeepPause  = 10 * time.Second
)

func (k *keeper) run() {
	defer func() {
		if k.mount >= 0 {
			_ = unix.Close(k.mount)
		}
	}()
	pause, tried := time.Duration(0), false
	for {
		since := time.Now()
		id, err := k.attach()
		switch {
		case err == nil:
			k.header.attached.Store(1)
		case !errors.Is(err, errNoPlace):
			k.log.Error("the mount can only be read: the one for those who write can't be mounted within", "dir", k.path, "error", err)
		}
		if !tried {
			tried = true
			close(k.tried)
		}
		if err != nil || !k.watch(id) {
			return
		}
		k.header.attached.Store(0)
		if !k.hasPlace() {
			return
		}
		k.log.Warn("the mount for those who write was taken away; it is mounted again", "dir", k.path)
		pause = keepPause(pause, time.Since(since))
		select {
		case <-k.stop:
			return
		case <-time.After(pause):
		}
	}
}

// keepPause returns how long a keeper is to wait whose mount was taken away after
// so long a time. last is how long it waited the time before, 0 for the first.
func keepPause(last, kept time.Duration) time.Duration {
	if last == 0 || kept > mostKeepPause {
		return leastKeepPause
	}
	return min(2*last, mostKeepPause)
}

// watch returns true when the mount of that id is gone, and false at the end.
func (k *keeper) watch(id int) bool {
	w := watchMounts(k.path, k.log, func() bool {
		_, there, err := mountByID(id)
		return there || err != nil
	})
	defer w.stop()
	select {
	case <-w.gone:
		return true
	case <-k.stop:
		return false
	}
}

// errNoPlace says that the session's mount isn't in its place any more, with which
// the writers' has gone. Who watches that one knows.
var errNoPlace = errors.New("the mount that it is to be in has been taken away")

// openPlace opens the root of the session's mount.
func (k *keeper) openPlace() (int, error) {
	fd, err := unix.Open(k.path, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if device, err := deviceOf(fd); err != nil || device != k.within {
		unix.Close(fd)
		return -1, errNoPlace
	}
	return fd, nil
}

func (k *keeper) hasPlace() bool {
	fd, err := k.openPlace()
	if err == nil {
		unix.Close(fd)
	}
	return !errors.Is(err, errNoPlace)
}

// attach mounts the writers' session in its place, unless it is there, and returns
// the mount's id.
func (k *keeper) attach() (id int, err error) {
	place, err := k.openPlace()
	if err != nil {
		return 0, err
	}
	defer unix.Close(place)
	at, err := unix.Openat(place, writersDir, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("looking up %q in it: %w", writersDir, err)
	}
	defer unix.Close(at)
	device, err := deviceOf(at)
	switch {
	case err != nil:
		return 0, err
	case device == k.device && k.mount < 0:
		if k.mount, err = copyMount(at, ""); err != nil {
			return 0, err
		}
		fallthrough
	case device == k.device:
		return fdMountID(at)
	case k.mount < 0:
		return 0, errors.New("it is gone; a restart of the monitor makes another one")
	}
	mount, err := copyMount(k.mount, "")
	if err != nil {
		return 0, err
	}
	defer unix.Close(mount) // one that is in its place stays
	if err := unix.MoveMount(mount, "", at, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH); err != nil {
		return 0, fmt.Errorf("mounting at %q in it: %w", writersDir, err)
	}
	return fdMountID(mount)
}

// awaitWriters waits until the writers' session is attached, if there is one, or
// can't be. Somebody must serve the session.
func (h *Holding) awaitWriters() {
	h.mu.Lock()
	k := h.keeper
	h.mu.Unlock()
	if k != nil {
		<-k.tried
	}
}

// regainWriters goes on keeping the writers' session's mount in its place, or makes
// another session if that one has ended, because whoever held it did before it was
// mounted. What has been written in it is lost; its server is dead anyway.
func (h *Holding) regainWriters() {
	if !h.cfg.Orphaned || !h.cfg.Writable || h.session == nil || h.at == (place{}) || h.writers == nil {
		return
	}
	if !h.writers.alive() {
		_ = h.writers.close() // it has ended
		h.writers = nil
		h.connectWriters(context.Background())
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.keepWriters()
}

// shareWriters returns a copy of the descriptor of /dev/fuse of the writers'
// session, which the caller closes; -1 if there is none.
func (h *Holding) shareWriters() (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.writers == nil {
		return -1, nil
	}
	return h.writers.shareDevice()
}

// giveUpWriters ends keeping the writers' session's mount, without waiting for it,
// and returns the session, which the caller closes; nil if there is none. mu must
// be held.
func (h *Holding) giveUpWriters() *session {
	s := h.writers
	if h.keeper != nil {
		close(h.keeper.stop)
	}
	h.writers, h.keeper = nil, nil
	return s
}

// endWriters gives a writers' session up. flags are those by which the mount that
// it was in was taken away.
func endWriters(s *session, flags int) error {
	var err error
	if flags&unix.MNT_FORCE != 0 {
		err = s.abort()
	}
	return errors.Join(err, s.close())
}
