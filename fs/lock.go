package fs

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// lockFile lies in ownDir and holds the process id of whoever has it locked.
const lockFile = "lock"

// dirLock keeps other monitors from serving a directory. It is on the files
// beneath the mount and so holds whatever is mounted, and in other mount
// namespaces too; a monitor that finds a mount of ours can't see the files and
// is refused for the mount.
//
// Both the lock file and the directory itself are locked, if possible: there may
// be no way to create the file, and network filesystems don't lock directories.
type dirLock struct {
	file int // -1 if there is none
}

// lock locks the open directory. It is ErrInUse if somebody else has.
func (p *plainTree) lock() (*dirLock, error) {
	l := &dirLock{file: -1}
	own, fileErr := p.openOwn()
	if fileErr == nil {
		defer unix.Close(own)
		// Read only: a file open for writing would keep the filesystem from
		// being remounted read-only.
		l.file, fileErr = unix.Openat(own, lockFile, unix.O_RDONLY|unix.O_CREAT|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	}
	if fileErr == nil {
		fileErr = flock(l.file)
	}
	dirErr := flock(p.root)
	if errors.Is(fileErr, unix.EWOULDBLOCK) || errors.Is(dirErr, unix.EWOULDBLOCK) {
		pid := l.holder()
		l.release()
		return nil, fmt.Errorf("%w: %s has %q locked: stop that one, or use another directory", ErrInUse, process(pid), p.path)
	}
	if fileErr != nil && dirErr != nil {
		l.release()
		return nil, fmt.Errorf("locking %q: %w", p.path, errors.Join(fileErr, dirErr))
	}
	if fileErr == nil {
		p.writeHolder()
	}
	return l, nil
}

// writeHolder tells others who has the lock. They do without if it fails.
func (p *plainTree) writeHolder() {
	own, err := p.openOwn()
	if err != nil {
		return
	}
	defer unix.Close(own)
	fd, err := unix.Openat(own, lockFile, unix.O_WRONLY|unix.O_TRUNC|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	_ = writeAll(fd, []byte(strconv.Itoa(os.Getpid())+"\n"))
	unix.Close(fd)
}

// holder returns who has the lock file locked; 0 if it can't be told.
func (l *dirLock) holder() int {
	if l.file < 0 {
		return 0
	}
	var buf [32]byte
	n, _ := unix.Pread(l.file, buf[:], 0)
	pid, _ := strconv.Atoi(strings.TrimSpace(string(buf[:max(n, 0)])))
	return pid
}

// release gives the lock file's lock back; the directory's goes with its
// descriptor.
func (l *dirLock) release() {
	if l.file >= 0 {
		unix.Close(l.file)
	}
}

func flock(fd int) error {
	for {
		err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
