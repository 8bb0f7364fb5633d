package fs

import (
	"encoding/binary"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// cacheFor is how long the kernel may remember names and attributes. What
// changes is taken from its memory at once; the time is a bound on nothing.
const cacheFor = 24 * time.Hour

// blockSize is what stat and statfs show.
const blockSize = 4096

// fuseFace answers the kernel's requests about a tree. What it doesn't define,
// and what it answers with ENOSYS, the kernel doesn't ask again but does itself
// or without: opening, flushing, syncing and locking files.
//
// Handlers take the tree's lock for a moment and never wait for anything else,
// so a few threads are enough for any number of readers.
type fuseFace struct {
	refuseWrites
	tree  *tree
	perm  permissions
	waker *waker
	pid   int // what the root's attribute user.kingpin.pid says
}

// permissions are what stat shows and what default_permissions checks.
type permissions struct {
	file, dir uint32 // permission bits
	uid, gid  uint32
}

// writers are the permission bits of directories that those alone may enter who may
// write the files: of others nothing, and nothing of the group if that may only
// read.
func (p permissions) writers() uint32 {
	mode := p.dir
	for _, class := range []uint32{0, 3} {
		if p.file>>class&2 == 0 {
			mode &^= 7 << class
		}
	}
	return mode
}

func newFace(t *tree, perm permissions, w *waker) *fuseFace {
	return &fuseFace{
		refuseWrites: refuseWrites{fuse.NewDefaultRawFileSystem()},
		tree:         t, perm: perm, waker: w, pid: w.v.cfg.Holder,
	}
}

// cancelled is closed when the caller of a request was interrupted. No handler
// waits for anything, so none looks at it.
type cancelled = <-chan struct{}

// String implements fuse.RawFileSystem.
func (f *fuseFace) String() string { return mountType }

// Lookup implements fuse.RawFileSystem. An answer about a name that is being
// changed holds for this one lookup.
func (f *fuseFace) Lookup(_ cancelled, h *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	if f.lookupStaged(h, name, out) {
		return fuse.OK
	}
	a, ok := f.tree.lookup(h.NodeId, name)
	if !ok {
		return fuse.ENOTDIR
	}
	// Without a node the answer is that there is no such name, but unlike
	// ENOENT it can be remembered.
	f.fillEntry(a, out)
	return fuse.OK
}

func (f *fuseFace) fillEntry(a answer, out *fuse.EntryOut) {
	if a.settled {
		out.SetEntryTimeout(cacheFor)
	}
	switch {
	case a.version != nil:
		out.NodeId = a.version.id
		f.fileAttr(a.version, &out.Attr)
	case a.dir != nil:
		out.NodeId = a.dir.id
		info, _ := f.tree.dirInfo(a.dir.id)
		f.dirAttr(info, &out.Attr)
	default:
		return
	}
	out.SetAttrTimeout(cacheFor)
}

func (f *fuseFace) fileAttr(v *version, a *fuse.Attr) {
	size := uint64(v.size)
	*a = fuse.Attr{
		Ino: v.id, Size: size, Blocks: (size + 511) / 512, Blksize: blockSize,
		Mode: syscall.S_IFREG | f.perm.file, Nlink: 1, Owner: f.owner(),
	}
	setTimes(a, v.modTime)
}

func (f *fuseFace) dirAttr(d dirInfo, a *fuse.Attr) {
	*a = fuse.Attr{
		Ino: d.id, Blksize: blockSize,
		Mode: syscall.S_IFDIR | f.perm.dir, Nlink: 2 + uint32(d.subdirs), Owner: f.owner(),
	}
	setTimes(a, d.modTime)
}

func (f *fuseFace) owner() fuse.Owner { return fuse.Owner{Uid: f.perm.uid, Gid: f.perm.gid} }

func setTimes(a *fuse.Attr, t time.Time) {
	a.Mtime, a.Mtimensec = uint64(t.Unix()), uint32(t.Nanosecond())
	a.Atime, a.Atimensec = a.Mtime, a.Mtimensec
	a.Ctime, a.Ctimensec = a.Mtime, a.Mtimensec
}

// Forget implements fuse.RawFileSystem.
func (f *fuseFace) Forget(id, n uint64) { f.tree.forget(id, n) }

// GetAttr implements fuse.RawFileSystem.
func (f *fuseFace) GetAttr(_ cancelled, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	out.SetTimeout(cacheFor)
	if in.NodeId == rootID {
		f.waker.v.refresher.asked()
	}
	if info, ok := f.tree.dirInfo(in.NodeId); ok {
		f.dirAttr(info, &out.Attr)
		return fuse.OK
	}
	if f.stagedAttr(in.NodeId, &out.Attr) {
		return fuse.OK
	}
	v := f.tree.version(in.NodeId)
	if v == nil {
		return fuse.Status(syscall.ESTALE)
	}
	f.fileAttr(v, &out.Attr)
	return fuse.OK
}

// Open implements fuse.RawFileSystem. Every version is immutable and needs no
// file handle: the kernel is to open files without asking.
func (f *fuseFace) Open(cancelled, *fuse.OpenIn, *fuse.OpenOut) fuse.Status { return fuse.ENOSYS }

// Read implements fuse.RawFileSystem. It finds a version as long as the kernel
// refers to it, whatever its name holds by now.
func (f *fuseFace) Read(_ cancelled, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	v := f.tree.version(in.NodeId)
	if v == nil {
		return nil, fuse.Status(syscall.ESTALE)
	}
	n, err := f.tree.ledger.read(v.at, buf[:min(len(buf), int(in.Size))], in.Offset)
	// The kernel keeps its reference for as long as it reads. If it didn't, the
	// memory might hold something else by now.
	if f.tree.version(in.NodeId) != v {
		return nil, fuse.Status(syscall.ESTALE)
	}
	if err != nil {
		return nil, fuse.EIO
	}
	return fuse.ReadResultData(buf[:n]), fuse.OK
}

// Readlink implements fuse.RawFileSystem.
func (f *fuseFace) Readlink(cancelled, *fuse.InHeader) ([]byte, fuse.Status) {
	return nil, fuse.EINVAL
}

// Flush implements fuse.RawFileSystem: nothing can have been written.
func (f *fuseFace) Flush(cancelled, *fuse.FlushIn) fuse.Status { return fuse.ENOSYS }

// OpenDir implements fuse.RawFileSystem. It is answered, unlike Open: without an
// answer the kernel would read directories by READDIR alone and then look up
// every name.
func (f *fuseFace) OpenDir(_ cancelled, _ *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	out.OpenFlags = fuse.FOPEN_CACHE_DIR | fuse.FOPEN_KEEP_CACHE
	return fuse.OK
}

// ReadDir implements fuse.RawFileSystem.
func (f *fuseFace) ReadDir(_ cancelled, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	return listStatus(f.tree.list(in.NodeId, in.Offset, false, func(e listed) bool {
		return out.AddDirEntry(dirEntry(e))
	}))
}

// ReadDirPlus implements fuse.RawFileSystem. It gives a node only with names
// whose answer may be remembered, since what is listed always is.
func (f *fuseFace) ReadDirPlus(_ cancelled, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	return listStatus(f.tree.list(in.NodeId, in.Offset, true, func(e listed) bool {
		entry := out.AddDirLookupEntry(dirEntry(e))
		if entry != nil && e.settled && e.version != nil {
			f.fillEntry(e.answer, entry)
		}
		return entry != nil
	}))
}

func listStatus(ok bool) fuse.Status {
	if !ok {
		return fuse.ENOTDIR
	}
	return fuse.OK
}

func dirEntry(e listed) fuse.DirEntry {
	switch {
	case e.version != nil:
		return fuse.DirEntry{Name: e.name, Ino: e.version.id, Mode: syscall.S_IFREG, Off: e.cookie}
	case e.temp != nil:
		return fuse.DirEntry{Name: e.name, Ino: e.temp.id, Mode: syscall.S_IFREG, Off: e.cookie}
	}
	return fuse.DirEntry{Name: e.name, Ino: e.dir.id, Mode: syscall.S_IFDIR, Off: e.cookie}
}

// StatFs implements fuse.RawFileSystem. No blocks and no inodes, as in /proc:
// df and alarms about full disks pass over it.
func (f *fuseFace) StatFs(_ cancelled, _ *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	out.Bsize, out.Frsize, out.NameLen = blockSize, blockSize, maxName
	return fuse.OK
}

// mayWait reports that no handler waits for anything.
func (f *fuseFace) mayWait([]byte) bool { return false }

// refuse implements handlers.
func (f *fuseFace) refuse(request, out []byte) []byte { return refusal(request, unix.EAGAIN, out) }

// unsent takes back the references in a reply that the kernel didn't take,
// because whoever asked is gone.
func (f *fuseFace) unsent(op uint32, reply []byte) {
	const header = 16
	switch {
	case len(reply) < header+8:
	case op == opLookup, op == opCreate:
		f.tree.forget(binary.NativeEndian.Uint64(reply[header:]), 1)
	case op == opReadDirPlus:
		_, entries, _ := fuse.ParseDirLookupEntries(reply[header:])
		for _, e := range entries {
			f.tree.forget(e.NodeId, 1)
		}
	}
}
