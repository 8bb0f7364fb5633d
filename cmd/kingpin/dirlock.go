package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kingpinfs/kingpin/store"
)

// dirLock keeps a second monitor away from a directory while it is open.
type dirLock struct{ file *os.File }

// lockDir takes the lock of a state directory, which is created if missing. The
// error is a Conflict that names the process that holds it, or says why the
// directory can't be written. Somebody who has it gets a moment to end.
func lockDir(ctx context.Context, dir string) (*dirLock, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("creating the state directory: %w", err)
	}
	file, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("locking the state directory: %w", err)
	}
	if err := awaitLock(ctx, file, dir); err != nil {
		_ = file.Close()
		return nil, err
	}
	return &dirLock{file}, nil
}

// How long a monitor that is ending may keep its lock, and how often that is
// looked at.
const (
	lockPatience = time.Second
	lockPoll     = 20 * time.Millisecond
)

func awaitLock(ctx context.Context, file *os.File, dir string) error {
	ctx, cancel := context.WithTimeout(ctx, lockPatience)
	defer cancel()
	for {
		err := lockFile(file, dir)
		if !errors.Is(err, store.Conflict) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(lockPoll):
		}
	}
}

func lockFile(file *os.File, dir string) error {
	err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		holder, _ := io.ReadAll(io.NewSectionReader(file, 0, 20))
		return &store.Error{Op: "locking the state directory", Subject: dir, Kind: store.Conflict,
			Err: fmt.Errorf("a monitor runs on it already, pid %s: stop it first, or give this one a --state-dir, --config-dir and --serverset-dir of its own",
				strings.TrimSpace(string(holder)))}
	}
	if err == nil {
		err = errors.Join(file.Truncate(0), writePID(file))
	}
	if err != nil {
		return fmt.Errorf("locking the state directory %q: %w", dir, err)
	}
	return nil
}

func writePID(file *os.File) error {
	_, err := fmt.Fprintf(file, "%d\n", os.Getpid())
	return err
}

// Close gives the lock back; a nil lock has none. The file stays: removing it would let two
// processes hold locks on two files of one name.
func (l *dirLock) Close() error {
	if l == nil {
		return nil
	}
	return l.file.Close()
}
