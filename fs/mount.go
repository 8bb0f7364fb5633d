package fs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// mountType is the type that mounts of ours have in /proc/mounts.
const mountType = "fuse.kingpin"

// mountFlags are the mount's flags. As long as nobody may write through it, the
// mount itself refuses to. If each WRITE had to be refused instead, its data
// would stand in the page cache until the answer, and readers would see it or
// fail with EIO.
const mountFlags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_RDONLY

// pollProbe is a name in the root that go-fuse answers for by itself: of a file
// whose POLL fails with ENOSYS.
const pollProbe = ".go-fuse-epoll-hack"

// mounted is a mount of ours and what serves it.
type mounted struct {
	dir  string // the mount point, without symbolic links
	at   place  // what lies there while the mount does
	conn *connection

	closing atomic.Bool
}

// mountFUSE mounts over the open directory target, whose path is dir, and begins
// to answer requests by h. source is what /proc/mounts shows of it.
//
// It calls mount(2) itself because the descriptor must be known: whoever holds
// it can go on serving.
func mountFUSE(ctx context.Context, target int, dir, source string, h handlers, log *slog.Logger) (*mounted, error) {
	dev, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("mounting at %q: opening /dev/fuse: %w%s", dir, err, adviseDevice(err))
	}
	options := fmt.Sprintf("fd=%d,rootmode=40000,user_id=%d,group_id=%d,allow_other,default_permissions,max_read=%d",
		dev, os.Geteuid(), os.Getegid(), maxTransfer)
	if err := unix.Mount(source, fdPath(target), mountType, mountFlags, options); err != nil {
		unix.Close(dev)
		return nil, fmt.Errorf("mounting at %q: %w%s", dir, err, adviseMount(err))
	}
	m := &mounted{dir: dir, conn: newConnection(dev, h, log)}
	if err := m.serve(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("serving the mount at %q: %w", dir, err), m.close(true))
	}
	return m, nil
}

func (m *mounted) serve(ctx context.Context) error {
	seen, err := look(m.dir)
	if err != nil {
		return err
	}
	if seen.mount.Type != mountType || !seen.atRoot() {
		return errors.New("something else was mounted over it at once")
	}
	m.at = seen
	if err := m.conn.handshake(ctx); err != nil {
		return err
	}
	if err := m.conn.start(); err != nil {
		return err
	}
	return m.refusePolling()
}

// refusePolling has the kernel learn that files here can't be polled, which it
// asks at the first try. A Go program polls every file that it opens, in a way
// that can stop its whole runtime; this program, being Go, must not be the one
// whose runtime would have to answer.
func (m *mounted) refusePolling() error {
	fd, err := unix.Open(filepath.Join(m.dir, pollProbe), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("reading from the mount: %w", err)
	}
	defer unix.Close(fd)
	_, err = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
	if err != nil && !errors.Is(err, unix.EINTR) {
		return fmt.Errorf("polling a file in the mount: %w", err)
	}
	return nil
}

// detach takes the mount away, unless it is gone or is covered by another one.
// If it is in use, it disappears from the path at once and goes when its last
// user does; busy says so. With force, requests under way and all later ones
// fail at once.
func (m *mounted) detach(force bool) (busy bool, err error) {
	seen, err := look(m.dir)
	if err != nil || seen != m.at {
		return false, err
	}
	if force {
		return false, unmount(m.dir, unix.MNT_FORCE|unix.MNT_DETACH)
	}
	err = unmount(m.dir, 0)
	if errors.Is(err, unix.EBUSY) {
		return true, unmount(m.dir, unix.MNT_DETACH)
	}
	return false, err
}

// drainTime is how long those who are in the middle of reading when the mount is
// taken away go on being served.
const drainTime = time.Second

// close takes the mount away and ends the serving of it.
func (m *mounted) close(force bool) error {
	m.closing.Store(true)
	busy, err := m.detach(force)
	if busy && !m.conn.endsWithin(drainTime) {
		m.conn.log.Warn("the mount is still in use: it was taken from its place, and its users will get errors", "dir", m.dir)
	}
	if _, left, lookErr := mountByID(m.at.mount.ID); left && lookErr == nil {
		m.conn.log.Warn("the mount is covered by another one and stays: it is dead, and is taken away when a monitor next starts there", "dir", m.dir)
	}
	m.conn.stop()
	return errors.Join(err, m.conn.close())
}

func unmount(dir string, flags int) error {
	if err := unix.Unmount(dir, flags|unix.UMOUNT_NOFOLLOW); err != nil {
		return fmt.Errorf("unmounting %q: %w", dir, err)
	}
	return nil
}

func adviseDevice(err error) string {
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		return "; load the kernel's module (modprobe fuse), or give the container the device (--device /dev/fuse)"
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return "; run as root, or give the container the device (--device /dev/fuse)"
	}
	return ""
}

func adviseMount(err error) string {
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return "; run as root, or give the container the capability (--cap-add SYS_ADMIN)"
	case errors.Is(err, unix.ENODEV):
		return "; load the kernel's module (modprobe fuse)"
	}
	return ""
}
