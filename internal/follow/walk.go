package follow

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// maxLinks is how many symbolic links a path may lead through, as in the kernel.
const maxLinks = 40

// walk follows an absolute path as the kernel does, as far as it leads, and
// watches each directory for the name that is looked up in it, before it is
// looked up. That the path ends early is no error.
//
// unwatchable says why what happens where it ends won't be noticed. Directories
// further up may be unwatchable, which takes the permission to list them: they
// are seldom moved.
func walk(inotify *inotify, path string) (found trail, unwatchable, err error) {
	w := walker{inotify: inotify, trail: make(trail), rest: strings.Split(path, "/")}
	err = w.enterRoot()
	defer w.leave()
	for err == nil && len(w.rest) > 0 {
		err = w.step()
	}
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		err = nil
	}
	if err != nil {
		err = fmt.Errorf("following %q through %q: %w", path, w.where, err)
	}
	return w.trail, w.unwatchable, err
}

// walker is on its way.
type walker struct {
	inotify *inotify
	trail   trail

	dir         int      // the directory reached, an O_PATH descriptor
	where       string   // its path, for messages
	rest        []string // the names still to be looked up
	links       int      // that were followed
	unwatchable error    // why the directory reached isn't watched
}

func (w *walker) enterRoot() error {
	fd, err := openPath(unix.AT_FDCWD, "/")
	w.dir, w.where = fd, "/"
	return err
}

func (w *walker) leave() {
	if w.dir >= 0 {
		unix.Close(w.dir)
	}
}

// step looks up one name.
func (w *walker) step() error {
	name := w.rest[0]
	w.rest = w.rest[1:]
	if name == "" || name == "." {
		return nil
	}
	if err := w.watch(name); err != nil {
		return err
	}
	fd, err := openPath(w.dir, name)
	if err != nil {
		return err
	}
	var st unix.Stat_t
	if err := fstat(fd, &st); err != nil {
		unix.Close(fd)
		return err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		unix.Close(w.dir)
		w.dir = fd
		w.where = filepath.Join(w.where, name)
		return nil
	case unix.S_IFLNK:
		defer unix.Close(fd)
		return w.follow(fd)
	}
	unix.Close(fd)
	if len(w.rest) > 0 {
		return unix.ENOTDIR
	}
	return nil
}

// watch watches the directory reached for a name. What ".." leads to changes
// only if the directory is moved, which whoever watches for its name sees.
func (w *walker) watch(name string) error {
	if name == ".." {
		return nil
	}
	var mask uint32 = anyName
	if len(w.rest) == 0 {
		mask = lastName
	}
	watch, err := w.inotify.add(w.dir, mask)
	w.unwatchable = nil
	switch {
	case err == nil:
		w.trail[watch] = append(w.trail[watch], name)
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.ENOSPC):
		w.unwatchable = fmt.Errorf("watching the directory %q: %w", w.where, err)
	default:
		return err
	}
	return nil
}

// follow goes on where an open symbolic link leads.
func (w *walker) follow(link int) error {
	if w.links++; w.links > maxLinks {
		return unix.ELOOP
	}
	var buffer [unix.PathMax]byte
	n, err := unix.Readlinkat(link, "", buffer[:])
	if err != nil {
		return err
	}
	target := string(buffer[:n])
	w.rest = append(strings.Split(target, "/"), w.rest...)
	if !strings.HasPrefix(target, "/") {
		return nil
	}
	unix.Close(w.dir)
	return w.enterRoot()
}

// openPath opens a name in a directory only to look at it.
func openPath(dir int, name string) (int, error) {
	return retryInterrupted(func() (int, error) {
		return unix.Openat(dir, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	})
}
