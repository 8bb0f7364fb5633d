package fs

import (
	"encoding/binary"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// privateFace answers the requests of the writers' session, which has the
// directories of the volume, and in which every lookup of a file finds an inode
// that nobody else has: a copy of what the name holds, for whoever opens it to
// write. A file is published when it is flushed by whoever has opened it, if
// something was written since; one that was only cut to nothing when it is released,
// since programs open and close before they write; a decider, or whatever is complete
// with each write, by the write.
type privateFace struct {
	refuseWrites // what isn't defined here
	w            *writes
}

func newPrivateFace(w *writes) *privateFace {
	return &privateFace{refuseWrites{fuse.NewDefaultRawFileSystem()}, w}
}

// String implements fuse.RawFileSystem.
func (f *privateFace) String() string { return mountType }

// mayWait implements handlers.
func (f *privateFace) mayWait(request []byte) bool {
	switch operationOf(request) {
	case opSetAttr, opWrite, opFlush, opRelease, opFsync:
		return true
	}
	return false
}

// refuse implements handlers.
func (f *privateFace) refuse(request, out []byte) []byte {
	if s := f.w.private.get(nodeOf(request)); s != nil {
		f.w.miss(s, request)
	}
	return refusal(request, unix.EAGAIN, out)
}

// unsent implements handlers.
func (f *privateFace) unsent(op uint32, reply []byte) {
	const header = 16
	if (op == opLookup || op == opCreate) && len(reply) >= header+8 {
		f.Forget(binary.NativeEndian.Uint64(reply[header:]), 1)
	}
}

// Lookup implements fuse.RawFileSystem.
func (f *privateFace) Lookup(_ cancelled, h *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	t := f.w.v.tree
	d := t.dir(h.NodeId)
	if d == nil {
		return status(syscall.ESTALE)
	}
	if sub := t.subdirectory(d, name); sub != nil {
		out.NodeId = sub.id
		f.dirAttr(sub.id, &out.Attr)
		out.SetEntryTimeout(cacheFor)
		out.SetAttrTimeout(cacheFor)
		return fuse.OK
	}
	v := t.reach(t.idOf(d, name))
	if v == nil || f.w.hidden(d.id, name, h.Pid) {
		if v != nil {
			t.forget(v.id, 1)
		}
		return fuse.ENOENT
	}
	defer t.forget(v.id, 1)
	s := f.newScratch(d, name)
	s.ino, s.base, s.modTime = v.id, v.version, v.modTime
	content, err := t.content(v)
	if err != nil {
		return fuse.EIO
	}
	if errno := s.replace(content); errno != 0 {
		return status(f.w.crowded(d, name, h, errno))
	}
	return f.hand(s, h, out)
}

func (f *privateFace) newScratch(d *directory, name string) *scratch {
	id := f.w.v.ledger.header.writers.lastID.Add(1) + firstVersion
	return f.w.newScratch(private, d, name, id)
}

// hand gives the kernel a reference to a scratch.
func (f *privateFace) hand(s *scratch, h *fuse.InHeader, out *fuse.EntryOut) fuse.Status {
	if errno := f.w.private.add(s, 1, false); errno != 0 {
		s.drop()
		return status(f.w.crowded(s.dir, s.name, h, errno))
	}
	out.NodeId = s.id
	s.attr(&out.Attr)
	out.SetAttrTimeout(cacheFor)
	return fuse.OK
}

// dirAttr is what stat shows of a directory. Each lookup of a file in one takes
// memory, so that those alone may enter who may write.
func (f *privateFace) dirAttr(id uint64, a *fuse.Attr) {
	p := f.w.v.perm
	*a = fuse.Attr{
		Ino: id, Blksize: blockSize, Mode: syscall.S_IFDIR | p.writers(), Nlink: 2, Owner: fuse.Owner{Uid: p.uid, Gid: p.gid},
	}
}

// Forget implements fuse.RawFileSystem.
func (f *privateFace) Forget(id, n uint64) { f.w.private.forget(id, n) }

// GetAttr implements fuse.RawFileSystem.
func (f *privateFace) GetAttr(_ cancelled, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	out.SetTimeout(cacheFor)
	if f.w.v.tree.dir(in.NodeId) != nil {
		f.dirAttr(in.NodeId, &out.Attr)
		return fuse.OK
	}
	s := f.w.private.get(in.NodeId)
	if s == nil {
		return status(syscall.ESTALE)
	}
	s.attr(&out.Attr)
	return fuse.OK
}

// Create implements fuse.RawFileSystem.
func (f *privateFace) Create(_ cancelled, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	d := f.w.v.tree.dir(in.NodeId)
	if d == nil {
		return status(syscall.ESTALE)
	}
	if errno := f.w.admits(d, name, &in.InHeader); errno != 0 {
		return status(errno)
	}
	s := f.newScratch(d, name)
	s.blank, s.last, out.Fh = true, in.InHeader, s.open(processOf(in.Pid))
	if now := f.w.v.tree.versionOf(d, name); now != nil {
		s.base = now.version
	}
	return f.hand(s, &in.InHeader, &out.EntryOut)
}

// Open implements fuse.RawFileSystem.
func (f *privateFace) Open(_ cancelled, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	s := f.w.private.get(in.NodeId)
	if s == nil {
		return status(syscall.ESTALE)
	}
	d, name := s.place()
	if errno := f.w.admits(d, name, &in.InHeader); errno != 0 {
		return status(errno)
	}
	process := processOf(in.Pid)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone {
		return status(syscall.ESTALE)
	}
	out.Fh = s.open(process)
	return fuse.OK
}

// Read implements fuse.RawFileSystem.
func (f *privateFace) Read(_ cancelled, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	s := f.w.private.get(in.NodeId)
	if s == nil {
		return nil, status(syscall.ESTALE)
	}
	n := s.read(buf[:min(len(buf), int(in.Size))], in.Offset)
	return fuse.ReadResultData(buf[:n]), fuse.OK
}

// SetAttr implements fuse.RawFileSystem.
func (f *privateFace) SetAttr(_ cancelled, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	s := f.w.private.get(in.NodeId)
	if s == nil {
		return f.setDirAttr(in, out)
	}
	if size, ok := in.GetSize(); ok {
		if errno := f.w.cut(s, size, &in.InHeader); errno != 0 {
			f.w.limited(s, &in.InHeader, errno)
			return status(errno)
		}
	}
	s.setAttr(in)
	s.attr(&out.Attr)
	out.SetTimeout(cacheFor)
	return fuse.OK
}

func (f *privateFace) setDirAttr(in *fuse.SetAttrIn, _ *fuse.AttrOut) fuse.Status {
	if f.w.v.tree.dir(in.NodeId) != nil {
		return fuse.EPERM
	}
	return status(syscall.ESTALE)
}

// Write implements fuse.RawFileSystem.
func (f *privateFace) Write(_ cancelled, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	s := f.w.private.get(in.NodeId)
	if s == nil {
		return 0, status(syscall.ESTALE)
	}
	errno := f.w.writePrivate(s, in, data)
	f.w.limited(s, &in.InHeader, errno)
	return uint32(len(data)), status(errno)
}

// Writev implements fuse.RawFileSystem, by Write.
func (f *privateFace) Writev(cancelled, *fuse.WriteIn, [][]byte) (uint32, fuse.Status) {
	return 0, fuse.ENOSYS
}

// CopyFileRange implements fuse.RawFileSystem: the kernel is to read and write.
func (f *privateFace) CopyFileRange(cancelled, *fuse.CopyFileRangeIn) (uint32, fuse.Status) {
	return 0, fuse.ENOSYS
}

// Fallocate implements fuse.RawFileSystem.
func (f *privateFace) Fallocate(cancelled, *fuse.FallocateIn) fuse.Status { return fuse.ENOSYS }

// Flush implements fuse.RawFileSystem.
func (f *privateFace) Flush(_ cancelled, in *fuse.FlushIn) fuse.Status {
	s := f.w.private.get(in.NodeId)
	if s == nil {
		return status(syscall.ESTALE)
	}
	return status(f.w.flush(s, &in.InHeader))
}

// Fsync implements fuse.RawFileSystem.
func (f *privateFace) Fsync(_ cancelled, in *fuse.FsyncIn) fuse.Status {
	s := f.w.private.get(in.NodeId)
	if s == nil {
		return status(syscall.ESTALE)
	}
	return status(f.w.finish(s, &in.InHeader))
}

// Release implements fuse.RawFileSystem. Nobody is told of an error any more.
func (f *privateFace) Release(_ cancelled, in *fuse.ReleaseIn) {
	if s := f.w.private.get(in.NodeId); s != nil {
		f.w.release(s, in.Fh)
	}
}

// OpenDir implements fuse.RawFileSystem: nobody lists the directories.
func (f *privateFace) OpenDir(cancelled, *fuse.OpenIn, *fuse.OpenOut) fuse.Status {
	return fuse.EPERM
}

// Rename implements fuse.RawFileSystem. Files are renamed and removed where they
// are read.
func (f *privateFace) Rename(cancelled, *fuse.RenameIn, string, string) fuse.Status {
	return fuse.EPERM
}

// Unlink implements fuse.RawFileSystem. See Rename.
func (f *privateFace) Unlink(cancelled, *fuse.InHeader, string) fuse.Status { return fuse.EPERM }

// GetXAttr implements fuse.RawFileSystem. There are none, so that the kernel needn't
// ask again.
func (f *privateFace) GetXAttr(cancelled, *fuse.InHeader, string, []byte) (uint32, fuse.Status) {
	return 0, fuse.ENOSYS
}

// ListXAttr implements fuse.RawFileSystem.
func (f *privateFace) ListXAttr(cancelled, *fuse.InHeader, []byte) (uint32, fuse.Status) {
	return 0, fuse.ENOSYS
}

// SetXAttr implements fuse.RawFileSystem.
func (f *privateFace) SetXAttr(cancelled, *fuse.SetXAttrIn, string, []byte) fuse.Status {
	return fuse.ENOSYS
}

// RemoveXAttr implements fuse.RawFileSystem.
func (f *privateFace) RemoveXAttr(cancelled, *fuse.InHeader, string) fuse.Status { return fuse.ENOSYS }

// StatFs implements fuse.RawFileSystem.
func (f *privateFace) StatFs(_ cancelled, _ *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	out.Bsize, out.Frsize, out.NameLen = blockSize, blockSize, maxName
	return fuse.OK
}
