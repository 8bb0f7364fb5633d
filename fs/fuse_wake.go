package fs

import (
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// lookupStaged answers whoever renames files so that watchers see it, if the
// answer isn't what everybody gets: that the directory to rename from exists,
// what is in it, and what the name to be replaced holds. Nothing of it may be
// remembered, so what was renamed is asked for again and is the new version. See
// waker.
func (f *fuseFace) lookupStaged(h *fuse.InHeader, name string, out *fuse.EntryOut) bool {
	switch {
	case h.NodeId == stageID:
		// Not the new version itself: whoever watches that already would be told
		// that it has been moved, and take it for gone.
		if f.stagedAttr(ghostID, &out.Attr) {
			out.NodeId = ghostID
		}
		return true
	case h.NodeId == rootID && name == stageDir:
		if f.waker.isHolder(h.Pid) {
			out.NodeId = stageID
			f.stagedAttr(stageID, &out.Attr)
		}
		return true
	}
	old, ok := f.waker.sees(h.NodeId, name, h.Pid)
	if !ok {
		return false
	}
	if v := f.tree.reach(old); v != nil {
		out.NodeId = v.id
		f.fileAttr(v, &out.Attr)
		out.SetAttrTimeout(cacheFor)
	} else if f.stagedAttr(old, &out.Attr) {
		out.NodeId = old
	}
	return true
}

// stagedAttr fills in the attributes of an inode that is there for renames alone;
// false if it is another one.
func (f *fuseFace) stagedAttr(id uint64, a *fuse.Attr) bool {
	*a = fuse.Attr{Ino: id, Blksize: blockSize, Owner: f.owner()}
	switch id {
	case stageID:
		a.Mode, a.Nlink = syscall.S_IFDIR|0o700, 2
	case ghostID:
		a.Mode, a.Nlink = syscall.S_IFREG, 1
	default:
		return false
	}
	return true
}

// Rename implements fuse.RawFileSystem. Only what waker asks for is allowed, and
// by it nothing changes here.
func (f *fuseFace) Rename(cancel cancelled, in *fuse.RenameIn, from, to string) fuse.Status {
	if in.NodeId == stageID && f.waker.isHolder(in.Pid) {
		return fuse.OK
	}
	return f.refuseWrites.Rename(cancel, in, from, to)
}

// Unlink implements fuse.RawFileSystem. See Rename.
func (f *fuseFace) Unlink(cancel cancelled, h *fuse.InHeader, name string) fuse.Status {
	if _, ok := f.waker.sees(h.NodeId, name, h.Pid); ok {
		return fuse.OK
	}
	return f.refuseWrites.Unlink(cancel, h, name)
}
