package fs

import (
	"context"
	"errors"
	"fmt"

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

// attachWriters mounts the writers' session within the session's mount, which is
// open as shown, and closes that. The directory to mount it at must be looked up,
// which takes until somebody serves; nobody waits for it but a goroutine, which
// ends with the session at the latest. mu must be held.
func (h *Holding) attachWriters(shown int) {
	mount := h.writers.mount
	h.writers.mount = -1
	attached := make(chan struct{})
	h.attached = attached
	header := &h.session.ledger.header.writers
	h.users.Go(func() {
		defer close(attached)
		defer unix.Close(shown)
		defer unix.Close(mount) // an attached one stays
		if err := attachMount(mount, shown); err != nil {
			h.cfg.Logger.Error("the mount can only be read: the one for those who write can't be mounted within", "dir", h.path, "error", err)
			return
		}
		header.attached.Store(1)
	})
}

// attachMount mounts a detached mount at writersDir in another one.
func attachMount(mount, within int) error {
	at, err := unix.Openat(within, writersDir, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("looking up %q in it: %w", writersDir, err)
	}
	defer unix.Close(at)
	if err := unix.MoveMount(mount, "", at, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH); err != nil {
		return fmt.Errorf("mounting at %q in it: %w", writersDir, err)
	}
	return nil
}

// awaitWriters waits until the writers' session is attached, if there is one, or
// can't be. Somebody must serve the session.
func (h *Holding) awaitWriters() {
	h.mu.Lock()
	attached := h.attached
	h.mu.Unlock()
	if attached != nil {
		<-attached
	}
}

// regainWriters makes another writers' session if the one that was held has ended,
// because whoever held it did before he had mounted it. What has been written in
// it is lost; its server is dead anyway.
func (h *Holding) regainWriters() {
	if !h.cfg.Orphaned || !h.cfg.Writable || h.session == nil || h.at == (place{}) ||
		h.writers == nil || h.writers.alive() {
		return
	}
	ctx := context.Background()
	_ = h.writers.close() // it has ended
	h.writers = nil
	h.connectWriters(ctx)
	if h.writers == nil {
		return
	}
	shown, err := unix.Open(h.path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		h.cfg.Logger.Error("the mount can only be read", "dir", h.path, "error", err)
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.attachWriters(shown)
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

// endWriters gives a writers' session up. flags are those by which the mount that
// it was in was taken away.
func endWriters(s *session, flags int) error {
	var err error
	if flags&unix.MNT_FORCE != 0 {
		err = s.abort()
	}
	return errors.Join(err, s.close())
}
