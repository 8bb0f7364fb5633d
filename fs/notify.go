package fs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// The notifications below must not be sent from a request's handler nor under a
// lock that a handler takes: the kernel may make the sender wait for a lock that
// is held by whoever waits for that handler's answer.

// dropName makes the kernel forget what it remembers of a name, and returns once
// no answer about it that was given before can be remembered any more.
//
// The kernel takes the directory's lock for it, exclusively, and so waits for
// all lookups and listings in flight. But if it knows nothing of the name, then
// since Linux 6.19 it returns without the lock, and an answer still on its way
// would be kept for a day. told says whether there may be one; if so, all that
// the kernel remembers is declared outdated, what is on its way included. That
// is known since Linux 6.16; earlier kernels need no such help.
//
// Outdated is also the directory in which another mount lies, and the kernel takes
// that mount away: where one does, that isn't done unless it must be.
func (c *connection) dropName(dir uint64, name string, told func() bool) {
	err := c.notify(entryNotification(dir, name))
	if errors.Is(err, unix.ENOENT) && (!c.nested || !waitsForAnswers()) && told() {
		err = c.notify(epochNotification())
		if errors.Is(err, unix.EINVAL) {
			err = nil
		}
	}
	c.report("dropping a name from the kernel's cache", err)
}

// waitsForAnswers reports whether the kernel is older than Linux 6.19.
var waitsForAnswers = sync.OnceValue(func() bool {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return false
	}
	var major, minor int
	if _, err := fmt.Sscanf(unix.ByteSliceToString(name.Release[:]), "%d.%d", &major, &minor); err != nil {
		return false
	}
	return major < 6 || major == 6 && minor < 19
})

// dropListing makes the kernel forget a directory's attributes and its listing.
// Replies in flight that tell of them are not remembered either: the kernel
// compares the directory's time, which is another one after each change.
func (c *connection) dropListing(dir uint64) {
	c.report("dropping a listing from the kernel's cache", c.notify(inodeNotification(dir)))
}

// outdateNames makes the kernel ask again for every name that it remembers in a
// session, dead or alive, so that whoever still has a mount of one that has ended,
// such as a container, gets errors. Otherwise it would go on reading for a day
// what was current when the session ended. Linux before 6.16 can't be told.
func outdateNames(dev int) error {
	err := (&connection{dev: dev}).notify(epochNotification())
	switch {
	case err == nil, errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOTCONN),
		errors.Is(err, unix.ENODEV), errors.Is(err, unix.ECONNABORTED):
		return nil
	}
	return fmt.Errorf("outdating what the kernel remembers of a mount: %w", err)
}

// report logs the error of a notification. It is none that the kernel has no
// such name or directory in its cache, or that the mount is gone.
func (c *connection) report(doing string, err error) {
	switch {
	case err == nil, errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTCONN),
		errors.Is(err, unix.ENODEV), errors.Is(err, unix.ECONNABORTED):
	default:
		c.log.Error(doing, "error", err)
	}
}

func (c *connection) notify(msg []byte) error {
	for {
		_, err := unix.Write(c.dev, msg)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

func entryNotification(dir uint64, name string) []byte {
	b := binary.NativeEndian.AppendUint64(nil, dir)
	b = binary.NativeEndian.AppendUint32(b, uint32(len(name)))
	b = binary.NativeEndian.AppendUint32(b, 0) // flags
	b = append(b, name...)
	return notification(fuse.NOTIFY_INVAL_ENTRY, append(b, 0))
}

func inodeNotification(id uint64) []byte {
	b := binary.NativeEndian.AppendUint64(nil, id)
	b = binary.NativeEndian.AppendUint64(b, 0) // from the first byte
	b = binary.NativeEndian.AppendUint64(b, 0) // to the last
	return notification(fuse.NOTIFY_INVAL_INODE, b)
}

func epochNotification() []byte { return notification(fuse.NOTIFY_INC_EPOCH, nil) }

// notification returns a message to the kernel: a reply to no request, with the
// notification's code, which go-fuse has negative, where an error would be.
func notification(code int32, body []byte) []byte {
	const header = 16
	b := binary.NativeEndian.AppendUint32(nil, uint32(header+len(body)))
	b = binary.NativeEndian.AppendUint32(b, uint32(-code))
	b = binary.NativeEndian.AppendUint64(b, 0) // no request
	return append(b, body...)
}
