package fs

import "github.com/hanwen/go-fuse/v2/fuse"

// refuseWrites answers every request to change something with EROFS, and every
// other one as the filesystem that it wraps.
type refuseWrites struct{ fuse.RawFileSystem }

// SetAttr implements fuse.RawFileSystem.
func (refuseWrites) SetAttr(cancelled, *fuse.SetAttrIn, *fuse.AttrOut) fuse.Status {
	return fuse.EROFS
}

// Mknod implements fuse.RawFileSystem.
func (refuseWrites) Mknod(cancelled, *fuse.MknodIn, string, *fuse.EntryOut) fuse.Status {
	return fuse.EROFS
}

// Mkdir implements fuse.RawFileSystem.
func (refuseWrites) Mkdir(cancelled, *fuse.MkdirIn, string, *fuse.EntryOut) fuse.Status {
	return fuse.EROFS
}

// Unlink implements fuse.RawFileSystem.
func (refuseWrites) Unlink(cancelled, *fuse.InHeader, string) fuse.Status { return fuse.EROFS }

// Rmdir implements fuse.RawFileSystem.
func (refuseWrites) Rmdir(cancelled, *fuse.InHeader, string) fuse.Status { return fuse.EROFS }

// Rename implements fuse.RawFileSystem.
func (refuseWrites) Rename(cancelled, *fuse.RenameIn, string, string) fuse.Status {
	return fuse.EROFS
}

// Link implements fuse.RawFileSystem.
func (refuseWrites) Link(cancelled, *fuse.LinkIn, string, *fuse.EntryOut) fuse.Status {
	return fuse.EROFS
}

// Symlink implements fuse.RawFileSystem.
func (refuseWrites) Symlink(cancelled, *fuse.InHeader, string, string, *fuse.EntryOut) fuse.Status {
	return fuse.EROFS
}

// SetXAttr implements fuse.RawFileSystem.
func (refuseWrites) SetXAttr(cancelled, *fuse.SetXAttrIn, string, []byte) fuse.Status {
	return fuse.EROFS
}

// RemoveXAttr implements fuse.RawFileSystem.
func (refuseWrites) RemoveXAttr(cancelled, *fuse.InHeader, string) fuse.Status { return fuse.EROFS }

// Create implements fuse.RawFileSystem.
func (refuseWrites) Create(cancelled, *fuse.CreateIn, string, *fuse.CreateOut) fuse.Status {
	return fuse.EROFS
}

// Tmpfile implements fuse.RawFileSystem.
func (refuseWrites) Tmpfile(cancelled, *fuse.CreateIn, *fuse.CreateOut) fuse.Status {
	return fuse.EROFS
}

// Write implements fuse.RawFileSystem.
func (refuseWrites) Write(cancelled, *fuse.WriteIn, []byte) (uint32, fuse.Status) {
	return 0, fuse.EROFS
}

// Writev implements fuse.RawFileSystem.
func (refuseWrites) Writev(cancelled, *fuse.WriteIn, [][]byte) (uint32, fuse.Status) {
	return 0, fuse.EROFS
}

// CopyFileRange implements fuse.RawFileSystem.
func (refuseWrites) CopyFileRange(cancelled, *fuse.CopyFileRangeIn) (uint32, fuse.Status) {
	return 0, fuse.EROFS
}

// Fallocate implements fuse.RawFileSystem.
func (refuseWrites) Fallocate(cancelled, *fuse.FallocateIn) fuse.Status { return fuse.EROFS }
