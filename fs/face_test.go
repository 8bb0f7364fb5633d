package fs

import (
	"encoding/binary"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// faceOf returns the handlers for a tree with a file "x" and a subdirectory.
func faceOf(t *testing.T) (*fuseFace, *tree) {
	t.Helper()
	tr := newTestTree(t, "sub")
	put(t, tr, tr.root, "x", entry("content of x\n"))
	return newFace(tr, permissions{file: 0o444, dir: 0o755, uid: 1, gid: 2}, newWaker(New(Config{}))), tr
}

func lookupFace(t *testing.T, f *fuseFace, parent uint64, name string) fuse.EntryOut {
	t.Helper()
	var out fuse.EntryOut
	if st := f.Lookup(nil, &fuse.InHeader{NodeId: parent}, name, &out); !st.Ok() {
		t.Fatalf("LOOKUP %q: %v", name, st)
	}
	return out
}

func TestFaceLookup(t *testing.T) {
	f, tr := faceOf(t)
	out := lookupFace(t, f, rootID, "x")
	want := fuse.Attr{
		Ino: out.NodeId, Size: 13, Blocks: 1, Blksize: 4096, Mode: syscall.S_IFREG | 0o444, Nlink: 1, Owner: fuse.Owner{Uid: 1, Gid: 2},
		Mtime: uint64(testTime.Unix()), Mtimensec: 89000,
		Atime: uint64(testTime.Unix()), Atimensec: 89000, Ctime: uint64(testTime.Unix()), Ctimensec: 89000,
	}
	if out.Attr != want {
		t.Errorf("attributes %+v, want %+v", out.Attr, want)
	}
	if out.EntryTimeout() != cacheFor || out.AttrTimeout() != cacheFor {
		t.Errorf("may be remembered for %v and %v", out.EntryTimeout(), out.AttrTimeout())
	}
	if out := lookupFace(t, f, rootID, "none"); out.NodeId != 0 || out.EntryTimeout() != cacheFor {
		t.Errorf("no such name: %+v", out)
	}
	if out := lookupFace(t, f, rootID, "sub"); out.NodeId != firstSubID || out.Mode != syscall.S_IFDIR|0o755 || out.Nlink != 2 {
		t.Errorf("a subdirectory: %+v", out)
	}
	tr.begin(tr.root, "x")
	if out := lookupFace(t, f, rootID, "x"); out.EntryTimeout() != 0 || out.AttrTimeout() != cacheFor {
		t.Errorf("a changing name may be remembered for %v, its attributes for %v", out.EntryTimeout(), out.AttrTimeout())
	}
	if st := f.Lookup(nil, &fuse.InHeader{NodeId: out.NodeId}, "y", &out); st != fuse.ENOTDIR {
		t.Errorf("LOOKUP in a file: %v", st)
	}
}

func TestFaceServesSupersededVersions(t *testing.T) {
	f, tr := faceOf(t)
	old := lookupFace(t, f, rootID, "x").NodeId
	put(t, tr, tr.root, "x", entry("newer"))
	read := func(offset uint64, size uint32) string {
		t.Helper()
		r, st := f.Read(nil, &fuse.ReadIn{InHeader: fuse.InHeader{NodeId: old}, Offset: offset, Size: size}, make([]byte, size))
		if !st.Ok() {
			t.Fatalf("READ: %v", st)
		}
		b, _ := r.Bytes(nil)
		return string(b)
	}
	for _, c := range []struct {
		offset uint64
		size   uint32
		want   string
	}{{0, 4096, "content of x\n"}, {8, 2, "of"}, {12, 9, "\n"}, {13, 9, ""}, {1 << 40, 9, ""}} {
		if got := read(c.offset, c.size); got != c.want {
			t.Errorf("READ at %d of %d: %q, want %q", c.offset, c.size, got, c.want)
		}
	}
	var attr fuse.AttrOut
	if st := f.GetAttr(nil, &fuse.GetAttrIn{InHeader: fuse.InHeader{NodeId: old}}, &attr); !st.Ok() || attr.Size != 13 {
		t.Errorf("GETATTR: %v, %+v", st, attr)
	}
	f.Forget(old, 1)
	if st := f.GetAttr(nil, &fuse.GetAttrIn{InHeader: fuse.InHeader{NodeId: old}}, &attr); st != fuse.Status(syscall.ESTALE) {
		t.Errorf("GETATTR of what was forgotten: %v", st)
	}
	if _, st := f.Read(nil, &fuse.ReadIn{InHeader: fuse.InHeader{NodeId: old}}, nil); st != fuse.Status(syscall.ESTALE) {
		t.Errorf("READ of what was forgotten: %v", st)
	}
}

func TestFaceReadDirPlusCountsWhatItGives(t *testing.T) {
	f, tr := faceOf(t)
	put(t, tr, tr.root, "y", entry("y"))
	put(t, tr, tr.root, "z", entry("z"))
	tr.begin(tr.root, "y")
	// Room for all but the last.
	buf := make([]byte, 5*160+20)
	out := fuse.NewDirEntryList(buf, 0)
	if st := f.ReadDirPlus(nil, &fuse.ReadIn{InHeader: fuse.InHeader{NodeId: rootID}}, out); !st.Ok() {
		t.Fatalf("READDIRPLUS: %v", st)
	}
	names, entries, err := fuse.ParseDirLookupEntries(out.Bytes())
	check(t, err)
	var got []string
	for _, n := range names {
		got = append(got, n.Name)
	}
	if want := []string{".", "..", "sub", "x", "y"}; !slices.Equal(got, want) {
		t.Fatalf("listed %q, want %q", got, want)
	}
	x, y := tr.root.slots["x"].current, tr.root.slots["y"].current
	if entries[3].NodeId != x.id || tr.lookups(x) != 1 {
		t.Errorf("node %d with %d references, want %d with 1", entries[3].NodeId, tr.lookups(x), x.id)
	}
	if entries[4].NodeId != 0 || tr.lookups(y) != 0 {
		t.Errorf("a changing name is listed with node %d, %d references", entries[4].NodeId, tr.lookups(y))
	}
	if z := tr.root.slots["z"].current; tr.lookups(z) != 0 {
		t.Errorf("what found no room has %d references", tr.lookups(z))
	}
	if entries[0].NodeId != 0 || entries[1].NodeId != 0 || entries[2].NodeId != 0 {
		t.Error("a directory is listed with a node")
	}

	header := make([]byte, 16)
	f.unsent(opReadDirPlus, append(header, out.Bytes()...))
	if tr.lookups(x) != 0 {
		t.Errorf("%d references after the reply wasn't taken", tr.lookups(x))
	}
	tr.refer(x)
	tr.refer(x)
	f.unsent(opLookup, append(header, binary.NativeEndian.AppendUint64(nil, x.id)...))
	if tr.lookups(x) != 1 {
		t.Errorf("%d references, want 1", tr.lookups(x))
	}
	f.unsent(opLookup, header) // an error's reply
}

func TestFaceReadDir(t *testing.T) {
	f, tr := faceOf(t)
	out := fuse.NewDirEntryList(make([]byte, 4096), 0)
	if st := f.ReadDir(nil, &fuse.ReadIn{InHeader: fuse.InHeader{NodeId: rootID}}, out); !st.Ok() {
		t.Fatalf("READDIR: %v", st)
	}
	got, err := fuse.ParseDirEntries(out.Bytes())
	check(t, err)
	want := []fuse.DirEntry{
		{Name: ".", Ino: rootID, Mode: syscall.S_IFDIR, Off: 1},
		{Name: "..", Ino: rootID, Mode: syscall.S_IFDIR, Off: 2},
		{Name: "sub", Ino: firstSubID, Mode: syscall.S_IFDIR, Off: 3},
		{Name: "x", Ino: tr.root.slots["x"].current.id, Mode: syscall.S_IFREG, Off: 4},
	}
	if !slices.Equal(got, want) {
		t.Errorf("listed %+v, want %+v", got, want)
	}
	in := &fuse.ReadIn{InHeader: fuse.InHeader{NodeId: want[3].Ino}}
	if st := f.ReadDir(nil, in, out); st != fuse.ENOTDIR {
		t.Errorf("READDIR of a file: %v", st)
	}
	if st := f.ReadDirPlus(nil, in, out); st != fuse.ENOTDIR {
		t.Errorf("READDIRPLUS of a file: %v", st)
	}
}

func TestFaceXAttrs(t *testing.T) {
	f, tr := faceOf(t)
	id := lookupFace(t, f, rootID, "x").NodeId
	get := func(id uint64, name string) (string, fuse.Status) {
		dest := make([]byte, 256)
		n, st := f.GetXAttr(nil, &fuse.InHeader{NodeId: id}, name, dest)
		return string(dest[:n]), st
	}
	list := func(id uint64) string {
		dest := make([]byte, 256)
		n, st := f.ListXAttr(nil, &fuse.InHeader{NodeId: id}, dest)
		if !st.Ok() {
			t.Fatalf("LISTXATTR: %v", st)
		}
		return string(dest[:n])
	}
	if got, want := list(id), "user.kingpin.version\x00user.kingpin.zk_path\x00"; got != want {
		t.Errorf("attributes %q, want %q", got, want)
	}
	tr.setStatus(tr.root, "x", Status{State: "stale", SyncedAt: testTime.In(time.FixedZone("", 3600)), Err: "S3 is away"})
	for name, want := range map[string]string{
		attrVersion: "1.000001", attrZKPath: "/config/x", attrState: "stale",
		attrSyncedAt: "2026-03-04T05:06:07.000089Z", attrError: "S3 is away",
	} {
		if got, st := get(id, name); !st.Ok() || got != want {
			t.Errorf("%s: %q, %v, want %q", name, got, st, want)
		}
	}
	for name, want := range map[string]fuse.Status{
		"user.kingpin.pid": fuse.ENODATA, "user.other": fuse.ENODATA,
		"security.selinux": fuse.ENOTSUP, "system.posix_acl_access": fuse.ENOTSUP, "trusted.x": fuse.ENOTSUP,
	} {
		if got, st := get(id, name); st != want {
			t.Errorf("%s: %q, %v, want %v", name, got, st, want)
		}
	}
	if n, st := f.GetXAttr(nil, &fuse.InHeader{NodeId: id}, attrVersion, nil); n != 8 || st != fuse.ERANGE {
		t.Errorf("the size of an attribute: %d, %v", n, st)
	}
	put(t, tr, tr.root, "x", entry("newer"))
	if got, want := list(id), "user.kingpin.version\x00user.kingpin.zk_path\x00"; got != want {
		t.Errorf("attributes of a superseded version %q, want %q", got, want)
	}
	if got := list(rootID); got != attrPID+"\x00" {
		t.Errorf("attributes of the root: %q", got)
	}
	if got := list(firstSubID); got != "" {
		t.Errorf("attributes of a subdirectory: %q", got)
	}
}

func TestFaceRefusesWrites(t *testing.T) {
	f, _ := faceOf(t)
	h := &fuse.InHeader{NodeId: rootID}
	for name, st := range map[string]fuse.Status{
		"SETATTR":    f.SetAttr(nil, &fuse.SetAttrIn{}, &fuse.AttrOut{}),
		"MKNOD":      f.Mknod(nil, &fuse.MknodIn{}, "n", &fuse.EntryOut{}),
		"MKDIR":      f.Mkdir(nil, &fuse.MkdirIn{}, "n", &fuse.EntryOut{}),
		"UNLINK":     f.Unlink(nil, h, "x"),
		"RMDIR":      f.Rmdir(nil, h, "sub"),
		"RENAME":     f.Rename(nil, &fuse.RenameIn{}, "x", "n"),
		"LINK":       f.Link(nil, &fuse.LinkIn{}, "n", &fuse.EntryOut{}),
		"SYMLINK":    f.Symlink(nil, h, "x", "n", &fuse.EntryOut{}),
		"SETXATTR":   f.SetXAttr(nil, &fuse.SetXAttrIn{}, "user.x", nil),
		"RMXATTR":    f.RemoveXAttr(nil, h, attrState),
		"CREATE":     f.Create(nil, &fuse.CreateIn{}, "n", &fuse.CreateOut{}),
		"TMPFILE":    f.Tmpfile(nil, &fuse.CreateIn{}, &fuse.CreateOut{}),
		"FALLOCATE":  f.Fallocate(nil, &fuse.FallocateIn{}),
		"WRITE":      second(f.Write(nil, &fuse.WriteIn{}, nil)),
		"WRITEV":     second(f.Writev(nil, &fuse.WriteIn{}, nil)),
		"COPY_RANGE": second(f.CopyFileRange(nil, &fuse.CopyFileRangeIn{})),
	} {
		if st != fuse.EROFS {
			t.Errorf("%s: %v, want %v", name, st, fuse.EROFS)
		}
	}
	// The kernel does these by itself once it has had this answer.
	for name, st := range map[string]fuse.Status{
		"OPEN":  f.Open(nil, &fuse.OpenIn{}, &fuse.OpenOut{}),
		"FLUSH": f.Flush(nil, &fuse.FlushIn{}),
		"STATX": f.Statx(nil, &fuse.StatxIn{}, &fuse.StatxOut{}),
		"FSYNC": f.Fsync(nil, &fuse.FsyncIn{}),
		"IOCTL": f.Ioctl(nil, &fuse.IoctlIn{}, nil, &fuse.IoctlOut{}, nil),
	} {
		if st != fuse.ENOSYS {
			t.Errorf("%s: %v, want %v", name, st, fuse.ENOSYS)
		}
	}
	if _, st := f.Readlink(nil, h); st != fuse.EINVAL {
		t.Errorf("READLINK: %v", st)
	}
}

func second(_ uint32, st fuse.Status) fuse.Status { return st }
