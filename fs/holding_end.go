package fs

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

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

// Abandon gives up a session whose mount somebody else took from its place, or
// covered: its users go on being answered by whoever serves it until the last of
// them is gone, for a second at most, and then get errors. Abandon doesn't wait for
// them. It does nothing without a session. Connect may follow.
func (h *Holding) Abandon() error {
	h.changing.Lock()
	defer h.changing.Unlock()
	if h.session == nil {
		return nil
	}
	left, err := h.copySessions()
	if err == nil && h.session.alive() {
		err = h.end(0)
	} else {
		err = errors.Join(err, h.end(unix.MNT_FORCE|unix.MNT_DETACH))
	}
	h.drains.Go(func() { h.drain(left) })
	return err
}

// copySessions returns all that is left to end a session and its writers' session
// when the holding has given them up. It must be given to drain. changing must be
// held.
func (h *Holding) copySessions() (left []*session, err error) {
	for _, s := range []*session{h.session, h.writers} {
		if s == nil {
			continue
		}
		dev, err := s.shareDevice()
		if err != nil {
			return left, err
		}
		left = append(left, &session{dev: dev, mount: -1, device: s.device})
	}
	return left, nil
}

// drain ends sessions when they have no users any more, or after a while.
func (h *Holding) drain(left []*session) {
	ctx, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	for _, s := range left {
		var err error
		if !ends(ctx, s.dev) {
			err = errors.Join(outdateNames(s.dev), s.abort())
		}
		if err = errors.Join(err, s.close()); err != nil {
			h.cfg.Logger.Error("ending a session whose mount was taken away", "dir", h.path, "error", err)
		}
	}
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
	drain, cancel := context.WithTimeout(ctx, drainTime)
	defer cancel()
	if err != nil || id == 0 || ends(drain, dev) {
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

// ends waits until a session has ended, and reports whether it has before ctx is
// done.
func ends(ctx context.Context, dev int) bool {
	s := session{dev: dev}
	// The kernel wakes poll when the session ends, but for each request as well.
	for s.alive() {
		if ctx.Err() != nil {
			return false
		}
		const slice = 100 // milliseconds, after which ctx is looked at
		_, _ = unix.Poll([]unix.PollFd{{Fd: int32(dev)}}, slice)
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
	writers := h.giveUpWriters()
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
	if writers != nil {
		// It has gone with the mount that it was in.
		abortErr = errors.Join(abortErr, endWriters(writers, flags))
	}
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
