package fs

import (
	"encoding/binary"
	"strings"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// writersDir is a directory in the root in which the writers' session is mounted.
// It can be looked up, and is never listed.
const writersDir = ".rw"

// writableFace is the face of a mount that can be written. What is read of it is
// answered as by fuseFace. Who opens a file for writing is sent to the writers'
// session; see privateFace. Here are temporary files, renames and removals, and
// what is written to a file without its opening's being noticed; see claim.
type writableFace struct {
	*fuseFace
	w *writes
}

// mayWait implements handlers. What isn't named here is answered at once.
func (f *writableFace) mayWait(request []byte) bool {
	switch operationOf(request) {
	case opRename, opRename2:
		return nodeOf(request) != stageID
	case opSetAttr, opWrite, opUnlink, opFsync:
		return true
	case opGetXAttr:
		return asksBeforeWrite(request)
	}
	return false
}

// refuse implements handlers. If what comes before a write were only told an error,
// the kernel would change what everybody reads; see GetXAttr.
func (f *writableFace) refuse(request, out []byte) []byte {
	switch s := f.w.files.get(nodeOf(request)); {
	case s != nil:
		f.w.miss(s, request)
	case operationOf(request) == opGetXAttr:
		f.w.claims.refuse(threadOf{threadIn(request), nodeOf(request)}, syscall.EAGAIN)
		return attrSize(request, 1, out)
	}
	return f.fuseFace.refuse(request, out)
}

// Lookup implements fuse.RawFileSystem.
func (f *writableFace) Lookup(cancel cancelled, h *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	if f.lookupStaged(h, name, out) {
		return fuse.OK
	}
	if len(name) > maxName {
		return status(syscall.ENAMETOOLONG)
	}
	if b := f.w.bounceOf(h.NodeId, name, h.Pid); b != nil {
		out.NodeId = b.id
		f.linkAttr(b.id, b.target, &out.Attr)
		return fuse.OK
	}
	switch {
	case h.NodeId == rootID && name == writersDir:
		out.NodeId = writersID
		f.writersAttr(&out.Attr)
		out.SetEntryTimeout(cacheFor)
		out.SetAttrTimeout(cacheFor)
		return fuse.OK
	case h.NodeId == writersID:
		return status(f.w.unreachable(h.Pid, "the mount for those who write ("+writersDir+
			" in the directory) is missing where the program runs: give the container the mounts within as well (rbind)"))
	case f.w.hidden(h.NodeId, name, h.Pid):
		return fuse.OK
	}
	a, ok := f.tree.lookup(h.NodeId, name)
	if !ok {
		return fuse.ENOTDIR
	}
	if a.temp != nil {
		f.w.files.refer(a.temp)
		out.NodeId = a.temp.id
		a.temp.attr(&out.Attr)
		return fuse.OK
	}
	f.fillEntry(a, out)
	return fuse.OK
}

func (f *writableFace) linkAttr(id uint64, target string, a *fuse.Attr) {
	*a = fuse.Attr{
		Ino: id, Size: uint64(len(target)), Blksize: blockSize, Mode: syscall.S_IFLNK | 0o777, Nlink: 1, Owner: f.owner(),
	}
}

func (f *writableFace) writersAttr(a *fuse.Attr) {
	*a = fuse.Attr{Ino: writersID, Blksize: blockSize, Mode: syscall.S_IFDIR | f.perm.writers(), Nlink: 2, Owner: f.owner()}
}

// Readlink implements fuse.RawFileSystem.
func (f *writableFace) Readlink(_ cancelled, h *fuse.InHeader) ([]byte, fuse.Status) {
	target, ok := f.w.follow(h.NodeId)
	if !ok {
		return nil, status(syscall.ESTALE)
	}
	return []byte(target), fuse.OK
}

// Forget implements fuse.RawFileSystem. A version that its writer has taken over
// is forgotten in both places.
func (f *writableFace) Forget(id, n uint64) {
	f.w.files.forget(id, n)
	f.tree.forget(id, n)
}

// unsent implements handlers.
func (f *writableFace) unsent(op uint32, reply []byte) {
	const header = 16
	if (op == opLookup || op == opCreate) && len(reply) >= header+8 {
		f.Forget(binary.NativeEndian.Uint64(reply[header:]), 1)
		return
	}
	f.fuseFace.unsent(op, reply)
}

// GetAttr implements fuse.RawFileSystem.
func (f *writableFace) GetAttr(cancel cancelled, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	if s := f.w.files.get(in.NodeId); s != nil {
		s.attr(&out.Attr)
		return fuse.OK
	}
	if in.NodeId == writersID {
		f.writersAttr(&out.Attr)
		out.SetTimeout(cacheFor)
		return fuse.OK
	}
	if target, ok := f.w.linkOf(in.NodeId); ok {
		f.linkAttr(in.NodeId, target, &out.Attr)
		return fuse.OK
	}
	return f.fuseFace.GetAttr(cancel, in, out)
}

// Read implements fuse.RawFileSystem.
func (f *writableFace) Read(cancel cancelled, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	if s := f.w.files.get(in.NodeId); s != nil {
		n := s.read(buf[:min(len(buf), int(in.Size))], in.Offset)
		return fuse.ReadResultData(buf[:n]), fuse.OK
	}
	return f.fuseFace.Read(cancel, in, buf)
}

// SetAttr implements fuse.RawFileSystem.
func (f *writableFace) SetAttr(_ cancelled, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	if s := f.w.files.get(in.NodeId); s != nil {
		if size, ok := in.GetSize(); ok {
			if errno := f.w.truncate(s, size, &in.InHeader); errno != 0 {
				f.w.limited(s, &in.InHeader, errno)
				return status(errno)
			}
		}
		s.setAttr(in)
		s.attr(&out.Attr)
		return fuse.OK
	}
	if info, ok := f.tree.dirInfo(in.NodeId); ok {
		f.dirAttr(info, &out.Attr)
		return f.keepAttr(in, f.perm.dir)
	}
	v := f.tree.version(in.NodeId)
	if v == nil {
		return status(syscall.ESTALE)
	}
	d, name := f.tree.nameOf(v)
	if size, ok := in.GetSize(); ok {
		if _, open := in.GetFh(); open {
			return status(syscall.ESTALE) // who holds it open had been refused, or hasn't asked
		}
		if size > uint64(f.w.limit) {
			return status(f.w.refused(d, name, &in.InHeader, f.w.explain(syscall.EFBIG)))
		}
		return status(f.w.bounce(d, name, &in.InHeader))
	}
	f.fileAttr(v, &out.Attr)
	out.SetTimeout(cacheFor)
	if f.w.isAuthor(d, name, in.Pid) {
		return fuse.OK
	}
	return f.keepAttr(in, f.perm.file)
}

// keepAttr refuses what would give a file or directory another mode or owner.
// Times may be set, as touch does, and stay what they are.
func (f *writableFace) keepAttr(in *fuse.SetAttrIn, perm uint32) fuse.Status {
	if mode, ok := in.GetMode(); ok && mode != perm {
		return fuse.EPERM
	}
	if uid, ok := in.GetUID(); ok && uid != f.perm.uid {
		return fuse.EPERM
	}
	if gid, ok := in.GetGID(); ok && gid != f.perm.gid {
		return fuse.EPERM
	}
	return fuse.OK
}

// Create implements fuse.RawFileSystem.
func (f *writableFace) Create(_ cancelled, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	d := f.tree.dir(in.NodeId)
	if d == nil {
		return status(syscall.EPERM)
	}
	exclusive := in.Flags&syscall.O_EXCL != 0
	errno := f.w.accepts(d, name)
	switch {
	case errno == 0 && !exclusive:
		return status(f.w.bounce(d, name, &in.InHeader))
	case errno == 0 && isReplacer(in.Pid):
		return f.create(created, d, in, name, out)
	case CheckName(name) != nil, !exclusive && !looksTemporary(name):
		return status(f.w.admits(d, name, &in.InHeader))
	}
	return f.create(temporary, d, in, name, out)
}

// create makes a file that nobody has a version of.
func (f *writableFace) create(kind scratchKind, d *directory, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	now := f.tree.versionOf(d, name)
	if now != nil && (kind == temporary || !f.w.hidden(d.id, name, in.Pid)) {
		return status(syscall.EEXIST)
	}
	s := f.w.newScratch(kind, d, name, f.tree.newID())
	s.perm, s.owner, s.blank = in.Mode&0o777, fuse.Owner{Uid: in.Uid, Gid: in.Gid}, true
	if now != nil {
		s.base = now.version
	}
	if errno := f.w.files.add(s, 1, kind == temporary); errno != 0 {
		return status(f.w.crowded(d, name, &in.InHeader, errno))
	}
	if kind == temporary {
		if errno := f.tree.link(d, name, s); errno != 0 {
			f.w.files.unlink(s)
			f.w.files.forget(s.id, 1)
			return status(errno)
		}
	}
	out.NodeId = s.id
	s.attr(&out.Attr)
	return fuse.OK
}

// looksTemporary reports whether a name is one that programs give to files that
// they are about to rename, or have renamed.
func looksTemporary(name string) bool {
	for _, prefix := range []string{".", "#"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	for _, suffix := range []string{"~", ".tmp", ".temp", ".new", ".bak", ".orig", ".old"} {
		if strings.HasSuffix(name, suffix) {
			return true
		}
	}
	return false
}

// Write implements fuse.RawFileSystem.
func (f *writableFace) Write(_ cancelled, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	s := f.w.files.get(in.NodeId)
	if s == nil {
		return 0, status(f.w.strayWrite(in))
	}
	errno := f.w.write(s, in, data)
	f.w.limited(s, &in.InHeader, errno)
	return uint32(len(data)), status(errno)
}

// Writev implements fuse.RawFileSystem, by Write.
func (f *writableFace) Writev(cancelled, *fuse.WriteIn, [][]byte) (uint32, fuse.Status) {
	return 0, fuse.ENOSYS
}

// CopyFileRange implements fuse.RawFileSystem: the kernel is to read and write.
func (f *writableFace) CopyFileRange(cancelled, *fuse.CopyFileRangeIn) (uint32, fuse.Status) {
	return 0, fuse.ENOSYS
}

// Fallocate implements fuse.RawFileSystem.
func (f *writableFace) Fallocate(cancelled, *fuse.FallocateIn) fuse.Status { return fuse.ENOSYS }

// Fsync implements fuse.RawFileSystem.
func (f *writableFace) Fsync(_ cancelled, in *fuse.FsyncIn) fuse.Status {
	if s := f.w.files.get(in.NodeId); s != nil {
		return status(f.w.finish(s, &in.InHeader))
	}
	return fuse.OK
}

// Rename implements fuse.RawFileSystem.
func (f *writableFace) Rename(_ cancelled, in *fuse.RenameIn, from, to string) fuse.Status {
	if in.NodeId == stageID && f.waker.isHolder(in.Pid) {
		return fuse.OK
	}
	d, newDir := f.tree.dir(in.NodeId), f.tree.dir(in.Newdir)
	const exchange, whiteout = 2, 4
	switch {
	case in.Flags&(exchange|whiteout) != 0:
		return fuse.EINVAL
	case d == nil || newDir == nil:
		return fuse.EPERM
	}
	temp := f.tree.tempOf(d, from)
	if temp == nil {
		return status(f.w.backUp(d, from, newDir, to, in))
	}
	return status(f.w.rename(temp, d, from, newDir, to, &in.InHeader))
}

// Unlink implements fuse.RawFileSystem.
func (f *writableFace) Unlink(_ cancelled, h *fuse.InHeader, name string) fuse.Status {
	if _, ok := f.waker.sees(h.NodeId, name, h.Pid); ok {
		return fuse.OK
	}
	d := f.tree.dir(h.NodeId)
	if d == nil {
		return fuse.EPERM
	}
	return status(f.w.remove(d, name, h))
}

// Mkdir implements fuse.RawFileSystem. Nobody makes directories, links or devices.
func (f *writableFace) Mkdir(cancelled, *fuse.MkdirIn, string, *fuse.EntryOut) fuse.Status {
	return fuse.EPERM
}

// Mknod implements fuse.RawFileSystem.
func (f *writableFace) Mknod(cancelled, *fuse.MknodIn, string, *fuse.EntryOut) fuse.Status {
	return fuse.EPERM
}

// Rmdir implements fuse.RawFileSystem.
func (f *writableFace) Rmdir(cancelled, *fuse.InHeader, string) fuse.Status { return fuse.EPERM }

// Link implements fuse.RawFileSystem.
func (f *writableFace) Link(cancelled, *fuse.LinkIn, string, *fuse.EntryOut) fuse.Status {
	return fuse.EPERM
}

// Symlink implements fuse.RawFileSystem.
func (f *writableFace) Symlink(cancelled, *fuse.InHeader, string, string, *fuse.EntryOut) fuse.Status {
	return fuse.EPERM
}

// Tmpfile implements fuse.RawFileSystem.
func (f *writableFace) Tmpfile(cancelled, *fuse.CreateIn, *fuse.CreateOut) fuse.Status {
	return fuse.ENOTSUP
}
