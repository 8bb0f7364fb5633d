package fs

import (
	"strings"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// newScratch returns an empty scratch, which isn't in any table yet.
func (w *writes) newScratch(kind scratchKind, d *directory, name string, id uint64) *scratch {
	return &scratch{
		id: id, kind: kind, room: w.room, whole: w.writer.AtOnce(joinName(d.name, name)), dir: d, name: name, ino: id, modTime: time.Now(),
		perm: w.v.perm.file, owner: fuse.Owner{Uid: w.v.perm.uid, Gid: w.v.perm.gid}, calls: map[uint32]progress{},
	}
}

// mayChange reports whether a process may rename or remove a temporary file: its
// owner and root may, as if the directory were sticky.
func mayChange(s *scratch, h *fuse.InHeader) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return h.Uid == 0 || h.Uid == s.owner.Uid
}

// rename gives a temporary file another name. If that is one to be published, it
// is.
func (w *writes) rename(temp *scratch, d *directory, from string, newDir *directory, to string, h *fuse.InHeader) syscall.Errno {
	temp.mu.Lock()
	unsettled, spoilt := temp.unsettled, temp.spoilt
	temp.mu.Unlock()
	switch {
	case !mayChange(temp, h):
		return syscall.EPERM
	case unsettled:
		return syscall.EAGAIN
	case spoilt != 0:
		return spoilt
	}
	if errno := w.accepts(newDir, to); errno != 0 {
		if CheckName(to) != nil || !looksTemporary(to) {
			return denied(w.admits(newDir, to, h))
		}
		return w.move(temp, d, from, newDir, to, h)
	}
	temp.publishing.Lock()
	defer temp.publishing.Unlock()
	if errno := w.commitLocked(newDir, to, temp.copy(), h); errno != 0 {
		return denied(errno)
	}
	w.v.tree.unlink(d, from, temp)
	temp.end()
	w.files.unlink(temp)
	return 0
}

// denied is what whoever renames is told: of EINVAL programs say things that
// don't help.
func denied(errno syscall.Errno) syscall.Errno {
	if errno == syscall.EINVAL {
		return syscall.EPERM
	}
	return errno
}

// move gives a temporary file another name that isn't published.
func (w *writes) move(temp *scratch, d *directory, from string, newDir *directory, to string, h *fuse.InHeader) syscall.Errno {
	if old := w.v.tree.tempOf(newDir, to); old != nil && !mayChange(old, h) {
		return syscall.EPERM
	}
	old, errno := w.v.tree.move(d, from, newDir, to, temp)
	if errno != 0 {
		return errno
	}
	if old != nil {
		old.end()
		w.files.unlink(old)
	}
	temp.mu.Lock()
	defer temp.mu.Unlock()
	temp.dir, temp.name = newDir, to
	return 0
}

// backUp is what happens if a file of the fleet is renamed: an editor keeps the
// old content beside what it is about to write. The new name gets a copy, and the
// file stays; the process alone sees it as gone, so that it creates it again. A
// rename that doesn't look like that is refused.
func (w *writes) backUp(d *directory, from string, newDir *directory, to string, in *fuse.RenameIn) syscall.Errno {
	if w.v.tree.subdirectory(d, from) != nil {
		return syscall.EPERM
	}
	v := w.v.tree.reach(w.v.tree.idOf(d, from))
	if v == nil {
		return syscall.ENOENT
	}
	defer w.v.tree.forget(v.id, 1)
	if errno := w.accepts(d, from); errno != 0 {
		return denied(errno)
	}
	isBackup := newDir == d && (strings.HasPrefix(to, from) || looksTemporary(to)) && w.accepts(d, to) != 0
	if !isBackup || CheckName(to) != nil {
		return syscall.EPERM
	}
	if old := w.v.tree.tempOf(d, to); old != nil {
		if !mayChange(old, &in.InHeader) {
			return syscall.EPERM
		}
		w.unlink(d, to, old)
	}
	content, err := w.v.tree.content(v)
	if err != nil {
		return syscall.EIO
	}
	s := w.newScratch(temporary, d, to, w.v.tree.newID())
	s.owner, s.modTime, s.unsettled = fuse.Owner{Uid: in.Uid, Gid: in.Gid}, v.modTime, true
	if errno := s.replace(content); errno != 0 {
		return w.crowded(d, to, &in.InHeader, errno)
	}
	if errno := w.files.add(s, 0, true); errno != 0 {
		s.drop()
		return w.crowded(d, to, &in.InHeader, errno)
	}
	if errno := w.v.tree.link(d, to, s); errno != 0 {
		w.files.unlink(s)
		return errno
	}
	w.hide(d, from, in.Pid)
	w.later.Go(func() { w.settle(s, d, from, to) })
	return 0
}

// settle has the kernel forget that the version of one name has got another name,
// once it has taken in that it has.
func (w *writes) settle(s *scratch, d *directory, from, to string) {
	if conn := w.v.face.Load().conn; conn != nil {
		never := func() bool { return false }
		conn.dropName(d.id, to, never)
		conn.dropName(d.id, from, never)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unsettled = false
}

// unlink takes a temporary file away.
func (w *writes) unlink(d *directory, name string, temp *scratch) {
	w.v.tree.unlink(d, name, temp)
	temp.end()
	w.files.unlink(temp)
}

// remove is what happens if a file is removed: a temporary one, or one of the
// fleet. Programs that remove what they are about to create again see it as
// removed, and nobody else does.
func (w *writes) remove(d *directory, name string, h *fuse.InHeader) syscall.Errno {
	if temp := w.v.tree.tempOf(d, name); temp != nil {
		if !mayChange(temp, h) {
			return syscall.EPERM
		}
		w.unlink(d, name, temp)
		return 0
	}
	if s := w.files.created(d, name); s != nil && w.v.tree.versionOf(d, name) == nil {
		s.end()
		return 0
	}
	if w.v.tree.versionOf(d, name) == nil || w.hidden(d.id, name, h.Pid) {
		return syscall.ENOENT
	}
	if errno := w.admits(d, name, h); errno != 0 {
		return denied(errno)
	}
	if isReplacer(h.Pid) {
		w.hide(d, name, h.Pid)
		return 0
	}
	return w.removeLocked(d, name, h)
}

// write writes to a file of the volume's session.
func (w *writes) write(s *scratch, in *fuse.WriteIn, data []byte) syscall.Errno {
	if s.kind == temporary {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.gone {
			return syscall.ESTALE
		}
		s.modTime = time.Now()
		return s.spoil(s.put(data, in.Offset, w.limit))
	}
	if in.WriteFlags&fuse.WRITE_CACHE != 0 {
		return syscall.EPERM // it was mapped
	}
	return w.writeThrough(s, in, data)
}

// writeThrough publishes what a file holds with what is written to it now, unless
// it is being rewritten, or the system call that writes it brings more.
func (w *writes) writeThrough(s *scratch, in *fuse.WriteIn, data []byte) syscall.Errno {
	s.publishing.Lock()
	defer s.publishing.Unlock()
	d, name := s.place()
	atOnce := w.writer.AtOnce(joinName(d.name, name))
	s.mu.Lock()
	next, errno := s.with(data, in.Offset, w.limit)
	_ = s.spoil(errno)
	gone, base, held := s.gone, s.base, s.rewriting && !atOnce
	if errno == 0 && !held {
		s.spoilt = 0
	}
	s.mu.Unlock()
	switch {
	case gone:
		return syscall.ESTALE
	case errno != 0:
		return errno
	}
	if held || !s.complete(in, uint64(len(data))) {
		return s.hold(next, &in.InHeader)
	}
	return w.publish(s, d, name, next, base, &in.InHeader)
}

// hold keeps a content that isn't published yet.
func (s *scratch) hold(content []byte, h *fuse.InHeader) syscall.Errno {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.written, s.modTime, s.last = true, time.Now(), *h
	return s.replace(content)
}

// publish publishes a content of a scratch. Its publishing must be held.
func (w *writes) publish(s *scratch, d *directory, name string, content []byte, base string, h *fuse.InHeader) syscall.Errno {
	e, errno := w.commit(d, name, content, base, h)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.blank, s.written, s.told = false, false, errno != 0
	if errno != 0 {
		return errno
	}
	s.base, s.modTime = e.Version, e.ModTime
	return s.replace(content)
}

// complete reports whether a request to write brings all that is left of what a
// system call writes, which the kernel splits. So does every one of which that
// can't be told.
func (s *scratch) complete(in *fuse.WriteIn, n uint64) bool {
	c, ok := callOf(in.Pid)
	total, known := c.written()
	if !ok || !known {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.calls[in.Pid]
	if p.next != in.Offset {
		p.done = 0
	}
	p.done, p.next = p.done+n, in.Offset+n
	if p.done >= total {
		delete(s.calls, in.Pid)
		return true
	}
	s.calls[in.Pid] = p
	return false
}
