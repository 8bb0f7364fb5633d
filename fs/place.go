package fs

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// ErrInUse is what Open's error is if another monitor serves the directory.
var ErrInUse = errors.New("another monitor serves it")

// probeTimeout is how long a mount of ours may take to answer before it counts
// as hung.
const probeTimeout = 5 * time.Second

// place is what a path leads to.
type place struct {
	path  string     // absolute, without symbolic links
	mount mountEntry // the mount it lies in; the zero value if that can't be seen from here
}

// atRoot reports whether the place is its mount's root.
func (p place) atRoot() bool { return p.mount.Point == p.path }

// look finds out what a path leads to. It asks no filesystem for anything and so
// doesn't wait for one that hangs, unless that lies above the last element.
func look(path string) (place, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return place{}, &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	return lookAt(fd)
}

// lookAt is look for a directory that is open.
func lookAt(fd int) (place, error) {
	path, err := os.Readlink(fdPath(fd))
	if err != nil {
		return place{}, err
	}
	id, err := fdMountID(fd)
	if err != nil {
		return place{}, err
	}
	mount, _, err := mountByID(id)
	return place{path: path, mount: mount}, err
}

// fdPath is a path that leads to an open file wherever it lies, even beneath a
// mount.
func fdPath(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

// fdMountID returns the id of the mount in which an open file lies.
func fdMountID(fd int) (int, error) {
	s, err := fdInfo("/proc/self/fdinfo/"+strconv.Itoa(fd), "mnt_id")
	if err != nil {
		return 0, fmt.Errorf("finding an open file's mount: %w", err)
	}
	return strconv.Atoi(s)
}

// fdInfo returns a field of a file in a /proc/PID/fdinfo.
func fdInfo(path, field string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if name, value, _ := strings.Cut(lines.Text(), ":"); name == field {
			return strings.TrimSpace(value), nil
		}
	}
	if err := lines.Err(); err != nil {
		return "", err
	}
	return "", fmt.Errorf("%s has no field %q", path, field)
}

// openPlace opens a directory to be served, creating it if it doesn't exist.
// Dead mounts of ours that cover it are taken away. It is an error if a living
// one does, or another program's FUSE mount.
func openPlace(ctx context.Context, dir string, perm os.FileMode, log *slog.Logger) (fd int, path string, err error) {
	for ctx.Err() == nil {
		p, err := look(dir)
		if errors.Is(err, os.ErrNotExist) {
			if err := os.MkdirAll(dir, perm); err != nil {
				return -1, "", fmt.Errorf("creating the directory: %w", err)
			}
			continue
		}
		if err != nil {
			return -1, "", err
		}
		if !p.mount.isFUSE() || !p.atRoot() && p.mount.Type != mountType {
			fd, err = openVetted(p)
			if errors.Is(err, errMoved) {
				continue
			}
			return fd, p.path, err
		}
		if err := p.clear(ctx, log); err != nil {
			return -1, "", err
		}
	}
	return -1, "", ctx.Err()
}

var errMoved = errors.New("something was mounted or moved meanwhile")

// openVetted opens the directory at p; it is errMoved if p isn't there any more.
func openVetted(p place) (int, error) {
	fd, err := unix.Open(p.path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: p.path, Err: err}
	}
	now, err := lookAt(fd)
	if err == nil && now != p {
		err = errMoved
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// clear takes away the FUSE mount at a place if it is ours and dead.
func (p place) clear(ctx context.Context, log *slog.Logger) error {
	if p.mount.Type != mountType {
		return fmt.Errorf("%q is another program's FUSE mount (%s, %s): unmount it, or use another directory",
			p.path, p.mount.Type, p.mount.Source)
	}
	if !p.atRoot() {
		return fmt.Errorf("%q lies in the KingPin mount at %q: use another directory", p.path, p.mount.Point)
	}
	if pids := holders(p.mount); areDying(pids) {
		log.Warn("aborting the mount of a monitor that was killed and can't end before", "dir", p.path, "source", p.mount.Source, "pids", pids)
		if err := unmount(p.path, unix.MNT_FORCE|unix.MNT_DETACH); err != nil {
			return fmt.Errorf("aborting the mount of a monitor that was killed: %w; do it with: sudo umount -f -l %s", err, p.path)
		}
		return nil
	}
	pid, err := p.probe(ctx)
	switch {
	case err == nil:
		return fmt.Errorf("%w: %s has %q mounted: stop that one, or use another directory", ErrInUse, process(pid), p.path)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%w: %q is a KingPin mount that doesn't answer, held by %s: end that one, or abort the mount with: umount -f -l %s",
			ErrInUse, p.path, processes(holders(p.mount)), p.path)
	case !isDead(err):
		return fmt.Errorf("asking the mount at %q whose it is: %w", p.path, err)
	}
	log.Warn("taking away the mount that a monitor left when it died", "dir", p.path, "source", p.mount.Source)
	if err := unmount(p.path, unix.MNT_DETACH); err != nil {
		return fmt.Errorf("taking away the mount that a monitor left when it died: %w; do it with: sudo umount -l %s", err, p.path)
	}
	return nil
}

// probe asks a mount of ours for the process that serves it; 0 if the mount
// lives but doesn't tell. The goroutine that asks ends when the mount answers or
// dies.
func (p place) probe(ctx context.Context) (pid int, err error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	type result struct {
		pid int
		err error
	}
	answered := make(chan result, 1)
	go func() {
		var buf [32]byte
		n, err := unix.Getxattr(p.path, attrPID, buf[:])
		if errors.Is(err, unix.ENODATA) || errors.Is(err, unix.EOPNOTSUPP) {
			n, err = 0, nil
		}
		// What isn't a number is a pid that isn't told.
		pid, _ := strconv.Atoi(string(buf[:max(n, 0)]))
		answered <- result{pid, err}
	}()
	select {
	case r := <-answered:
		return r.pid, r.err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// isDead reports whether an error is that of a FUSE mount which nobody serves.
func isDead(err error) bool {
	return errors.Is(err, unix.ENOTCONN) || errors.Is(err, unix.ECONNABORTED) || errors.Is(err, unix.ECONNREFUSED)
}

// holders returns the processes that hold the device of a FUSE mount, as far as
// this one may know.
func holders(m mountEntry) []int {
	_, minor, _ := strings.Cut(m.Device, ":")
	var files []string
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		found, _ := filepath.Glob(dir + "/fd/*")
		if len(found) == 0 {
			// The first thread of one that is dying may have gone already.
			found, _ = filepath.Glob(dir + "/task/*/fd/*")
		}
		files = append(files, found...)
	}
	var pids []int
	for _, file := range files {
		if target, err := os.Readlink(file); err != nil || target != "/dev/fuse" {
			continue
		}
		dir := filepath.Dir(filepath.Dir(file))
		// Linux before 6.17 doesn't tell the connection: any may be it.
		conn, err := fdInfo(filepath.Join(dir, "fdinfo", filepath.Base(file)), "fuse_connection")
		if err == nil && conn != minor {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(dir)); err == nil && !slices.Contains(pids, pid) {
			pids = append(pids, pid)
		}
	}
	return pids
}

func process(pid int) string {
	if pid == 0 {
		return "a process that can't be seen from here"
	}
	return "process " + strconv.Itoa(pid)
}

func processes(pids []int) string {
	if len(pids) == 0 {
		return process(0)
	}
	var s []string
	for _, pid := range pids {
		s = append(s, process(pid))
	}
	return strings.Join(s, " or ")
}
