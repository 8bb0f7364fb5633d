package follow

import (
	"bytes"
	"errors"
	"fmt"
	iofs "io/fs"
	"time"

	"golang.org/x/sys/unix"
)

// versionAttr is the extended attribute in which files in a mount have their
// version.
const versionAttr = "user.kingpin.version"

// errChanging is what read's error is if the file isn't replaced but written to,
// at this very moment.
var errChanging = errors.New("it is being written to")

// read reads a file by its path. A file that is replaced meanwhile is the old or
// the new one, whole.
//
// It uses plain system calls, because Go polls each file that package os opens,
// which would be a request to a FUSE server.
func read(path string) (Version, error) {
	v, err := readOpen(path)
	if err != nil {
		return Version{}, fmt.Errorf("reading %q: %w", path, err)
	}
	return v, nil
}

func readOpen(path string) (Version, error) {
	fd, err := retryInterrupted(func() (int, error) {
		return unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	})
	if errors.Is(err, unix.ENOTDIR) {
		return Version{}, fmt.Errorf("%w (%w)", iofs.ErrNotExist, err)
	}
	if err != nil {
		return Version{}, err
	}
	defer unix.Close(fd)
	var before, after unix.Stat_t
	if err := fstat(fd, &before); err != nil {
		return Version{}, err
	}
	if before.Mode&unix.S_IFMT != unix.S_IFREG {
		return Version{}, errors.New("it is not a regular file")
	}
	content, err := readAll(fd, before.Size)
	if err != nil {
		return Version{}, err
	}
	if err := fstat(fd, &after); err != nil {
		return Version{}, err
	}
	if int64(len(content)) != after.Size || before.Mtim != after.Mtim {
		return Version{}, errChanging
	}
	return Version{Content: content, ModTime: time.Unix(after.Mtim.Unix()), ID: readID(fd)}, nil
}

// readAll reads to the end of a file, which probably has the given size.
func readAll(fd int, size int64) ([]byte, error) {
	// One byte more makes the end seen without growing.
	content := bytes.NewBuffer(make([]byte, 0, size+1))
	for {
		if content.Available() == 0 {
			content.Grow(bytes.MinRead)
		}
		free := content.AvailableBuffer()
		free = free[:cap(free)]
		n, err := retryInterrupted(func() (int, error) { return unix.Read(fd, free) })
		if err != nil {
			return nil, err
		}
		if n == 0 {
			return content.Bytes(), nil
		}
		content.Write(free[:n])
	}
}

// readID returns the version that an open file says it is.
func readID(fd int) string {
	var id [64]byte
	n, err := unix.Fgetxattr(fd, versionAttr, id[:])
	if err != nil {
		return "" // plain files have none
	}
	return string(id[:n])
}

func fstat(fd int, st *unix.Stat_t) error {
	_, err := retryInterrupted(func() (int, error) { return 0, unix.Fstat(fd, st) })
	return err
}

// retryInterrupted repeats a system call that Go's own signals interrupted,
// which FUSE filesystems let happen.
func retryInterrupted(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}
