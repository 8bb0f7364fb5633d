package fs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// lockFile lies in ownDir and holds the process id of whoever has it locked.
const lockFile = "lock"

// How long a killed process may take to give its locks back, and how often that
// is looked at.
const (
	dyingTimeout = 5 * time.Second
	dyingPoll    = 10 * time.Millisecond
)

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

// lockRoot locks the open directory root, whose path is for messages. It is
// ErrInUse if somebody else has it locked; one that was killed is given time to
// end.
func lockRoot(ctx context.Context, root int, path string) (*dirLock, error) {
	ctx, cancel := context.WithTimeout(ctx, dyingTimeout)
	defer cancel()
	for {
		l, holder, err := tryLock(root, path)
		if !errors.Is(err, ErrInUse) || holder == 0 || !isDying(holder) {
			return l, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(dyingPoll):
		}
	}
}

// tryLock is lockRoot without waiting for a process that is ending. The holder of an
// ErrInUse is 0 if it can't be told.
func tryLock(root int, path string) (_ *dirLock, holder int, _ error) {
	l := &dirLock{file: -1}
	own, fileErr := openOwn(root)
	if fileErr == nil {
		defer unix.Close(own)
		// Read only: a file open for writing would keep the filesystem from
		// being remounted read-only.
		l.file, fileErr = unix.Openat(own, lockFile, unix.O_RDONLY|unix.O_CREAT|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	}
	if fileErr == nil {
		fileErr = flock(l.file)
	}
	dirErr := flock(root)
	if errors.Is(fileErr, unix.EWOULDBLOCK) || errors.Is(dirErr, unix.EWOULDBLOCK) {
		pid := l.holder()
		l.release()
		return nil, pid, fmt.Errorf("%w: %s has %q locked: stop that one, or use another directory", ErrInUse, process(pid), path)
	}
	if fileErr != nil && dirErr != nil {
		l.release()
		return nil, 0, fmt.Errorf("locking %q: %w", path, errors.Join(fileErr, dirErr))
	}
	if fileErr == nil {
		writeHolder(root)
	}
	return l, 0, nil
}

// writeHolder tells others who has the lock. They do without if it fails.
func writeHolder(root int) {
	own, err := openOwn(root)
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
