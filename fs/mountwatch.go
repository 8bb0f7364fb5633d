package fs

import (
	"errors"
	"log/slog"
	"sync"

	"golang.org/x/sys/unix"
)

// mountWatch tells when a mount isn't in its place any more, whoever took it
// away or covered it. It sleeps until the kernel says that mounts have changed.
type mountWatch struct {
	gone chan struct{} // closed when it isn't there

	end   int // an eventfd
	ended sync.WaitGroup
	once  sync.Once
}

// watchMount watches that a path leads to at. stop must be called.
func watchMount(at place, log *slog.Logger) *mountWatch {
	return watchMounts(at.path, log, func() bool {
		now, err := look(at.path)
		return err == nil && now == at
	})
}

// watchMounts watches for as long as a function finds in place what it looks for,
// each time that mounts change. path is what to warn of. stop must be called.
func watchMounts(path string, log *slog.Logger, inPlace func() bool) *mountWatch {
	w := &mountWatch{gone: make(chan struct{}), end: -1}
	mounts, err := unix.Open("/proc/self/mountinfo", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err == nil {
		w.end, err = unix.Eventfd(0, unix.EFD_CLOEXEC)
	}
	if err != nil {
		log.Warn("nobody will notice if the mount is taken away", "dir", path, "error", err)
		if mounts >= 0 {
			_ = unix.Close(mounts)
		}
		return w
	}
	w.ended.Go(func() {
		defer unix.Close(mounts)
		if w.watch(mounts, path, log, inPlace) {
			close(w.gone)
		}
	})
	return w
}

// watch returns true when the mount isn't in its place, false at the end.
func (w *mountWatch) watch(mounts int, path string, log *slog.Logger, inPlace func() bool) bool {
	for {
		if !inPlace() {
			return true
		}
		fds := []unix.PollFd{{Fd: int32(mounts), Events: unix.POLLPRI}, {Fd: int32(w.end), Events: unix.POLLIN}}
		_, err := unix.Poll(fds, -1)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			log.Warn("nobody will notice if the mount is taken away", "dir", path, "error", err)
			return false
		case fds[1].Revents != 0:
			return false
		}
	}
}

// stop ends the watching.
func (w *mountWatch) stop() {
	w.once.Do(func() {
		if w.end < 0 {
			return
		}
		_, _ = unix.Write(w.end, []byte{1, 0, 0, 0, 0, 0, 0, 0})
		w.ended.Wait()
		_ = unix.Close(w.end)
	})
}
