package fs

import (
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

const (
	// stagePrefix begins the names of files being written, in ownDir.
	stagePrefix = "new-"
	// maxPlain is the size over which a file isn't read back, in bytes. Content
	// is bounded long before by whoever publishes it; what is larger is none of
	// ours.
	maxPlain = 1 << 30
)

// plainTree is the tree as plain files. It reaches them through one descriptor,
// whatever is mounted over the directory. Its methods are safe for concurrent
// use, but changes to one name must be made one after the other.
type plainTree struct {
	root    int    // the directory
	path    string // its path, for messages and for nothing else
	perm    permissions
	chown   bool // whether files must be given to perm.gid
	subdirs []string

	serial  atomic.Uint64 // numbers files being written
	unsaved atomic.Bool   // something was changed since the last flush
}

// newPlainTree returns the tree in the open directory root, which must stay open.
func newPlainTree(root int, path string, perm permissions, subdirs []string) *plainTree {
	return &plainTree{root: root, path: path, perm: perm, subdirs: subdirs, chown: perm.gid != uint32(os.Getegid())}
}

// write replaces a file, or creates it. Readers see the old one or the new one,
// whole. After an error nothing has changed.
func (p *plainTree) write(sub, name string, e Entry) error {
	if err := p.replace(sub, name, e); err != nil {
		return fmt.Errorf("writing %q: %w", filepath.Join(p.path, sub, name), advisePlain(err))
	}
	p.unsaved.Store(true)
	return nil
}

func (p *plainTree) replace(sub, name string, e Entry) error {
	dir, err := p.openSub(sub, true)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	if err := mayReplace(dir, name); err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	own, err := openOwn(p.root)
	if err != nil {
		return err
	}
	defer unix.Close(own)
	stage := stagePrefix + strconv.FormatUint(p.serial.Add(1), 10)
	err = p.writeStage(own, stage, e)
	if err == nil {
		err = unix.Renameat(own, stage, dir, name)
	}
	if err != nil {
		// What can't be removed now is when the directory is opened again.
		_ = unix.Unlinkat(own, stage, 0)
	}
	return err
}

// writeStage writes a file aside, with all that stat will show of it.
func (p *plainTree) writeStage(own int, stage string, e Entry) error {
	fd, err := unix.Openat(own, stage, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := writeAll(fd, e.Content); err != nil {
		return err
	}
	if p.chown {
		if err := unix.Fchown(fd, -1, int(p.perm.gid)); err != nil {
			return err
		}
	}
	if err := unix.Fchmod(fd, p.perm.file); err != nil {
		return err
	}
	t, err := unix.TimeToTimespec(e.ModTime)
	if err != nil {
		return err
	}
	return unix.UtimesNanoAt(own, stage, []unix.Timespec{t, t}, unix.AT_SYMLINK_NOFOLLOW)
}

// remove deletes a file. It is no error if there is none.
func (p *plainTree) remove(sub, name string) error {
	err := p.unlink(sub, name)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("removing %q: %w", filepath.Join(p.path, sub, name), advisePlain(err))
	}
	p.unsaved.Store(true)
	return nil
}

func (p *plainTree) unlink(sub, name string) error {
	dir, err := p.openSub(sub, false)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	if err := mayReplace(dir, name); err != nil {
		return err
	}
	return unix.Unlinkat(dir, name, 0)
}

// mayReplace returns an error if there is no file of that name, or something
// that isn't a regular file and so isn't ours.
func mayReplace(dir int, name string) error {
	var st unix.Stat_t
	if err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return nil
	case unix.S_IFDIR:
		return errors.New("a directory stands in its place: move it away")
	case unix.S_IFLNK:
		return errors.New("a symbolic link stands in its place: move it away")
	}
	return errors.New("a special file stands in its place: move it away")
}

// read returns a file's content and what stat shows of it.
func (p *plainTree) read(sub, name string) ([]byte, iofs.FileInfo, error) {
	path := filepath.Join(p.path, sub, name)
	dir, err := p.openSub(sub, false)
	if err != nil {
		return nil, nil, &iofs.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(dir)
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, nil, &iofs.PathError{Op: "open", Path: path, Err: err}
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, nil, err
	case !info.Mode().IsRegular():
		return nil, nil, &iofs.PathError{Op: "read", Path: path, Err: errors.New("not a regular file")}
	case info.Size() > maxPlain:
		return nil, nil, &iofs.PathError{Op: "read", Path: path, Err: unix.EFBIG}
	}
	content := make([]byte, info.Size())
	if _, err := io.ReadFull(f, content); err != nil {
		return nil, nil, &iofs.PathError{Op: "read", Path: path, Err: err}
	}
	return content, info, nil
}

// holds reports whether a file has the time and the size of a version, which tell
// versions apart.
func (p *plainTree) holds(sub, name string, v *version) bool {
	dir, err := p.openSub(sub, false)
	if err != nil {
		return false
	}
	defer unix.Close(dir)
	var st unix.Stat_t
	err = unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	return err == nil && st.Mode&unix.S_IFMT == unix.S_IFREG && st.Size == int64(v.size) && st.Mtim.Nano() == v.modTime.UnixNano()
}

// list returns the names of all that lies in the directory and in its
// subdirectories, but for what is there for our own use.
func (p *plainTree) list() ([]string, error) {
	names, err := p.listSub("")
	if err != nil {
		return nil, err
	}
	names = slices.DeleteFunc(names, func(name string) bool {
		return name == ownDir || slices.Contains(p.subdirs, name)
	})
	for _, sub := range p.subdirs {
		more, err := p.listSub(sub)
		if err != nil && !errors.Is(err, unix.ENOENT) {
			names = append(names, sub) // something else stands there
		}
		for _, name := range more {
			names = append(names, joinName(sub, name))
		}
	}
	return names, nil
}

func (p *plainTree) listSub(sub string) ([]string, error) {
	fd, err := p.openSub(sub, false)
	if err != nil {
		return nil, fmt.Errorf("listing %q: %w", filepath.Join(p.path, sub), err)
	}
	f := os.NewFile(uintptr(fd), filepath.Join(p.path, sub))
	defer f.Close()
	return f.Readdirnames(-1)
}

// prepare creates the directories that will be needed and removes what a crash
// left of files being written.
func (p *plainTree) prepare() error {
	own, err := openOwn(p.root)
	if err != nil {
		return fmt.Errorf("preparing %q: %w", filepath.Join(p.path, ownDir), advisePlain(err))
	}
	f := os.NewFile(uintptr(own), filepath.Join(p.path, ownDir))
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, name := range names {
		if strings.HasPrefix(name, stagePrefix) {
			if err := unix.Unlinkat(own, name, 0); err != nil {
				return fmt.Errorf("removing %q: %w", filepath.Join(p.path, ownDir, name), err)
			}
		}
	}
	for _, sub := range p.subdirs {
		dir, err := p.openSub(sub, true)
		if err != nil {
			return fmt.Errorf("preparing %q: %w", filepath.Join(p.path, sub), advisePlain(err))
		}
		unix.Close(dir)
	}
	return nil
}

// flush makes everything that was written survive a power failure. It writes
// out the whole filesystem, which is cheaper than every file by itself.
func (p *plainTree) flush() error {
	if !p.unsaved.Swap(false) {
		return nil
	}
	if err := unix.Syncfs(p.root); err != nil {
		p.unsaved.Store(true)
		return fmt.Errorf("writing out the filesystem of %q: %w", p.path, err)
	}
	return nil
}

// openOwn opens ownDir in the directory root, and creates it if need be.
func openOwn(root int) (int, error) { return openDirAt(root, ownDir, 0o700, true) }

// openSub opens a subdirectory, or the directory itself for "".
func (p *plainTree) openSub(sub string, create bool) (int, error) {
	if sub == "" {
		return openDirAt(p.root, ".", 0, false)
	}
	return openDirAt(p.root, sub, p.perm.dir, create)
}

// openDirAt opens a directory in the directory parent, and creates it if it
// doesn't exist and create says so. It follows no symbolic link.
func openDirAt(parent int, name string, perm uint32, create bool) (int, error) {
	const flags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	fd, err := unix.Openat(parent, name, flags, 0)
	if errors.Is(err, unix.ENOENT) && create {
		if err := unix.Mkdirat(parent, name, perm); err != nil && !errors.Is(err, unix.EEXIST) {
			return -1, fmt.Errorf("creating the directory %q in it: %w", name, err)
		}
		if fd, err = unix.Openat(parent, name, flags, 0); err == nil {
			// mkdir obeys the umask. If this fails it was too strict, which
			// is no reason not to go on.
			_ = unix.Fchmod(fd, perm)
		}
	}
	if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return -1, fmt.Errorf("%q is not a directory: move it away", name)
	}
	return fd, err
}

func writeAll(fd int, content []byte) error {
	for len(content) > 0 {
		n, err := unix.Write(fd, content)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		content = content[max(n, 0):]
	}
	return nil
}

func advisePlain(err error) error {
	switch {
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return fmt.Errorf("%w; run as root, or give the directory to this user", err)
	case errors.Is(err, unix.EROFS):
		return fmt.Errorf("%w; remount it writable, or use another directory", err)
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return fmt.Errorf("%w; make room on it", err)
	}
	return err
}
