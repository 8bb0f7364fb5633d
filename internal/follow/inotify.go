package follow

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Events of a watched directory that count.
const (
	// anyName are those after which a name may lead elsewhere.
	anyName = unix.IN_CREATE | unix.IN_MOVED_TO | unix.IN_DELETE | unix.IN_MOVED_FROM
	// lastName are those that count too where the file itself lies: a file
	// that is written in place is whole when it is closed.
	lastName = anyName | unix.IN_CLOSE_WRITE
	// itself are those that end the watching of a directory, or of what its
	// path was. The kernel adds IN_IGNORED and IN_UNMOUNT by itself.
	itself = unix.IN_DELETE_SELF | unix.IN_MOVE_SELF
)

// event is what the kernel says happened to a watched directory or, if name
// isn't "", to what has that name in it.
type event struct {
	watch int32 // -1 if events were lost
	mask  uint32
	name  string
}

// inotify is an instance of inotify. Its methods are safe for concurrent use.
type inotify struct{ file *os.File }

func newInotify() (*inotify, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if errors.Is(err, unix.EMFILE) {
		return nil, fmt.Errorf("making an inotify instance: %w: this user, or this process, has too many: raise fs.inotify.max_user_instances, or the limit of open files", err)
	}
	if err != nil {
		return nil, fmt.Errorf("making an inotify instance: %w", err)
	}
	return &inotify{os.NewFile(uintptr(fd), "inotify")}, nil
}

// close ends run.
func (i *inotify) close() { _ = i.file.Close() } // it fails only if it is closed

// add watches the directory that is open as dir, which it identifies by its
// inode: the same directory is the same watch, whose mask is replaced.
func (i *inotify) add(dir int, mask uint32) (watch int32, err error) {
	conn, err := i.file.SyscallConn()
	if err != nil {
		return 0, err
	}
	controlErr := conn.Control(func(fd uintptr) {
		var n int
		n, err = unix.InotifyAddWatch(int(fd), "/proc/self/fd/"+strconv.Itoa(dir), mask|itself|unix.IN_ONLYDIR)
		watch = int32(n)
	})
	if errors.Is(err, unix.ENOSPC) {
		err = fmt.Errorf("%w: this user watches too much by inotify: raise fs.inotify.max_user_watches", err)
	}
	return watch, errors.Join(controlErr, err)
}

// remove ends a watch, if it hasn't ended by itself.
func (i *inotify) remove(watch int32) {
	if conn, err := i.file.SyscallConn(); err == nil {
		_ = conn.Control(func(fd uintptr) { _, _ = unix.InotifyRmWatch(int(fd), uint32(watch)) })
	}
}

// run sends what happens, in order, until ctx or the instance is closed.
func (i *inotify) run(ctx context.Context, events chan<- []event) {
	buffer := make([]byte, 16<<10)
	for {
		n, err := i.file.Read(buffer)
		if err != nil {
			return
		}
		select {
		case events <- parseEvents(buffer[:n]):
		case <-ctx.Done():
			return
		}
	}
}

// parseEvents returns what is in a buffer that was read from inotify; see
// inotify(7).
func parseEvents(buffer []byte) []event {
	var events []event
	for len(buffer) >= unix.SizeofInotifyEvent {
		e := event{
			watch: int32(binary.NativeEndian.Uint32(buffer)),
			mask:  binary.NativeEndian.Uint32(buffer[4:]),
		}
		size := binary.NativeEndian.Uint32(buffer[12:])
		buffer = buffer[unix.SizeofInotifyEvent:]
		if uint64(size) > uint64(len(buffer)) {
			break
		}
		name, _, _ := bytes.Cut(buffer[:size], []byte{0})
		e.name = string(name)
		buffer = buffer[size:]
		events = append(events, e)
	}
	return events
}
