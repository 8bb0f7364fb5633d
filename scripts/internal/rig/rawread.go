package rig

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The readers use system calls directly, as a program in C would: package os
// hands each descriptor to Go's poller, which is slower and asks a FUSE server
// more than the reader does.

// readFile opens, reads to the end and closes a file, and returns what it read,
// in buffer. A file that doesn't fit is an error.
func readFile(path string, buffer []byte) (n int, err error) {
	fd, err := retryInterrupted(func() (int, error) { return unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0) })
	for err == nil {
		var more int
		if n == len(buffer) {
			err = unix.EFBIG
			break
		}
		more, err = retryInterrupted(func() (int, error) { return unix.Read(fd, buffer[n:]) })
		if n += more; more == 0 {
			break
		}
	}
	if fd >= 0 {
		err = errors.Join(err, unix.Close(fd))
	}
	if err != nil {
		return 0, fmt.Errorf("reading %q: %w", path, err)
	}
	return n, nil
}

func retryInterrupted(call func() (int, error)) (n int, err error) {
	for {
		if n, err = call(); !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}

// rawFile is a path as the kernel takes it. It is read without telling Go's
// scheduler, which costs as little as in C. That is for roles alone: elsewhere
// the scheduler would interrupt, by signals, a thread that it believes to run,
// and keep a FUSE server's answers from it for as long as it collects garbage.
type rawFile struct {
	path string
	name *byte
}

func newRawFile(path string) (rawFile, error) {
	name, err := unix.BytePtrFromString(path)
	return rawFile{path, name}, err
}

// read opens, reads to the end and closes the file, and returns what it read, in
// buffer. A file that doesn't fit is an error.
func (f rawFile) read(buffer []byte) (n int, err error) {
	fd, err := f.open()
	if err != nil {
		return 0, err
	}
	n, err = readAll(fd, buffer)
	return n, errors.Join(err, closeRaw(fd))
}

func (f rawFile) open() (fd int, err error) {
	for {
		at := unix.AT_FDCWD
		r, _, errno := unix.RawSyscall6(unix.SYS_OPENAT, uintptr(at), uintptr(unsafe.Pointer(f.name)), unix.O_RDONLY|unix.O_CLOEXEC, 0, 0, 0)
		switch errno {
		case 0:
			return int(r), nil
		case unix.EINTR:
		default:
			return -1, errno
		}
	}
}

// readAll reads from where the descriptor stands to the file's end, as every
// reader that doesn't know the size does: until a read returns nothing.
func readAll(fd int, buffer []byte) (n int, err error) {
	for n < len(buffer) {
		r, _, errno := unix.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&buffer[n])), uintptr(len(buffer)-n))
		switch {
		case errno == unix.EINTR:
		case errno != 0:
			return n, errno
		case r == 0:
			return n, nil
		default:
			n += int(r)
		}
	}
	return n, unix.EFBIG
}

func closeRaw(fd int) error {
	if _, _, errno := unix.RawSyscall(unix.SYS_CLOSE, uintptr(fd), 0, 0); errno != 0 {
		return errno
	}
	return nil
}
