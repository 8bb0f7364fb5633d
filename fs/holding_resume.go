package fs

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Descriptor is an open file of a Holding's, and what it is for.
type Descriptor struct {
	Name string
	File *os.File
}

// ToServe reports whether a process needs the descriptor that only serves, and
// leaves Show, Probe and Wake to another. It had better not have the others: the
// session lasts as long as anybody has its mount open. Nor had a service manager
// that keeps descriptors: systemd looks at each with fstat, and at the mount that
// asks whoever serves it, for whom it may then wait instead of starting him.
func (d Descriptor) ToServe() bool { return d.Name != descMount }

// The names of descriptors.
const (
	descRoot   = "root"   // the directory beneath the mount
	descLock   = "lock"   // the lock file
	descDev    = "dev"    // /dev/fuse
	descMount  = "mount"  // the mount that nobody else sees
	descLedger = "ledger" // what the session's servers leave to each other
	// descWriters is /dev/fuse of the writers' session.
	descWriters = "writers"
)

// Descriptors returns copies of the open files that another process needs to go
// on, by ResumeHolding. The caller closes them.
func (h *Holding) Descriptors() ([]Descriptor, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	fds := map[string]int{descRoot: h.root}
	if h.lock != nil && h.lock.file >= 0 {
		fds[descLock] = h.lock.file
	}
	if h.session != nil {
		fds[descDev], fds[descMount], fds[descLedger] = h.session.dev, h.session.mount, h.session.ledger.fd
	}
	if h.writers != nil {
		fds[descWriters] = h.writers.dev
	}
	var all []Descriptor
	for _, name := range []string{descRoot, descLock, descDev, descMount, descLedger, descWriters} {
		fd, ok := fds[name]
		if !ok {
			continue
		}
		dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
		if err != nil {
			for _, d := range all {
				_ = d.File.Close()
			}
			return nil, fmt.Errorf("copying the descriptors of %q: %w", h.path, err)
		}
		all = append(all, Descriptor{name, os.NewFile(uintptr(dup), name)})
	}
	return all, nil
}

// ResumeHolding returns an open Holding of the descriptors that another one had.
// It takes them over, whatever the result. Those that aren't ToServe may be left
// out. It is an error if they aren't of the configured directory; then a session
// among them has been taken away.
func ResumeHolding(cfg HoldingConfig, descriptors []Descriptor) (_ *Holding, err error) {
	h := NewHolding(cfg)
	fds := map[string]int{}
	for _, d := range descriptors {
		fd, dupErr := unix.FcntlInt(d.File.Fd(), unix.F_DUPFD_CLOEXEC, 3)
		err = errors.Join(err, dupErr, d.File.Close())
		if dupErr == nil {
			fds[d.Name] = fd
		}
	}
	defer func() {
		if err != nil {
			for _, fd := range fds {
				_ = unix.Close(fd)
			}
			err = fmt.Errorf("going on with what was held of %q: %w", h.cfg.Dir, err)
		}
	}()
	root, ok := fds[descRoot]
	if err != nil || !ok {
		return nil, errors.Join(err, errors.New("its directory isn't among the descriptors"))
	}
	if err := h.resume(root, fds); err != nil {
		return nil, err
	}
	return h, nil
}

// resume takes the descriptors over unless it fails.
func (h *Holding) resume(root int, fds map[string]int) error {
	under, err := lookAt(root)
	if err != nil {
		return err
	}
	if dir, err := resolve(h.cfg.Dir); err != nil || dir != under.path {
		return errors.Join(fmt.Errorf("the descriptors are of %q", under.path), h.abandon(under.path, fds), err)
	}
	h.path, h.lock = under.path, &dirLock{file: -1}
	dev, hasDev := fds[descDev]
	mount, hasMount := fds[descMount]
	if !hasMount {
		mount = -1
	}
	memory, hasLedger := fds[descLedger]
	if hasDev && hasLedger {
		l, err := attachLedger(memory)
		if err != nil {
			return errors.Join(err, h.abandon(under.path, fds))
		}
		h.session = &session{dev: dev, mount: mount, device: l.header.device, ledger: l}
		if writers, ok := fds[descWriters]; ok {
			h.writers = &session{dev: writers, mount: -1, device: l.header.writers.device, ledger: l, writers: true}
		}
		if seen, err := look(h.path); err == nil && h.isOurs(seen) {
			h.at = seen
		}
		if h.cfg.Orphaned && !hasMount {
			if err := h.regain(); err != nil {
				_ = unix.Munmap(l.mem)
				return errors.Join(err, h.abandon(under.path, fds))
			}
		}
	}
	h.root = root
	if file, ok := fds[descLock]; ok {
		h.lock.file = file
	}
	h.regainWriters()
	return nil
}

// regain makes up for a private mount that nobody has any more. A session that
// isn't seen has ended with it, and is given up.
func (h *Holding) regain() error {
	s := h.session
	if h.at == (place{}) {
		if h.writers != nil {
			_ = h.writers.close()
		}
		h.session, h.writers = nil, nil
		_ = s.close()
		return nil
	}
	private, err := copyMount(unix.AT_FDCWD, h.path)
	if err != nil {
		return err
	}
	if device, err := deviceOf(private); err != nil || device != s.device {
		unix.Close(private)
		return errors.Join(errors.New("something else was mounted over it"), err)
	}
	s.mount = private
	return nil
}

// abandon takes away the mount of a session that can't be gone on with, if it is
// ours to do so.
func (h *Holding) abandon(path string, fds map[string]int) error {
	var device uint32
	var err error
	mount, hasMount := fds[descMount]
	memory, hasLedger := fds[descLedger]
	switch {
	case hasMount:
		device, err = deviceOf(mount)
	case hasLedger && h.cfg.Orphaned:
		device, err = ledgerDevice(memory)
	default:
		return nil // whoever has the mount sees to it
	}
	if err != nil {
		return err
	}
	seen, err := look(path)
	if err != nil || seen.mount.Type != mountType || !seen.atRoot() || seen.mount.Device != fmt.Sprintf("0:%d", device) {
		return err
	}
	return unmount(path, unix.MNT_FORCE|unix.MNT_DETACH)
}

// resolve returns the path of a directory without symbolic links, as look does.
func resolve(dir string) (string, error) {
	p, err := look(dir)
	return p.path, err
}
