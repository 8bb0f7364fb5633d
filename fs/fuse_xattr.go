package fs

import (
	"strconv"
	"strings"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// The extended attributes of a file, and of the root.
const (
	attrPrefix   = "user.kingpin."
	attrVersion  = attrPrefix + "version"
	attrZKPath   = attrPrefix + "zk_path"
	attrState    = attrPrefix + "state"
	attrSyncedAt = attrPrefix + "synced_at"
	attrError    = attrPrefix + "error"
	attrPID      = attrPrefix + "pid"
)

type xattr struct{ name, value string }

// xattrs returns the extended attributes of an inode, in the order in which they
// are listed. A superseded version has those of the version alone. Only the root
// has the daemon's process id, by which another daemon knows that the mount is
// alive and whose it is.
func (f *fuseFace) xattrs(id uint64) []xattr {
	if id == rootID {
		return []xattr{{attrPID, strconv.Itoa(f.pid)}}
	}
	v := f.tree.version(id)
	if v == nil {
		return nil
	}
	all := []xattr{{attrVersion, v.version}, {attrZKPath, v.zkPath}}
	if status, current := f.tree.statusOf(v); current {
		all = append(all, xattr{attrState, status.State})
		if !status.SyncedAt.IsZero() {
			all = append(all, xattr{attrSyncedAt, status.SyncedAt.UTC().Format(time.RFC3339Nano)})
		}
		all = append(all, xattr{attrError, status.Err})
	}
	present := all[:0]
	for _, a := range all {
		if a.value != "" {
			present = append(present, a)
		}
	}
	return present
}

// GetXAttr implements fuse.RawFileSystem. An answer of ENOSYS would keep the
// kernel from ever asking again, for ours too; EOPNOTSUPP keeps ls from asking
// for the security labels and access lists of every other file.
func (f *fuseFace) GetXAttr(_ cancelled, h *fuse.InHeader, name string, dest []byte) (uint32, fuse.Status) {
	for _, a := range f.xattrs(h.NodeId) {
		if a.name == name {
			return fillXAttr(dest, a.value)
		}
	}
	if strings.HasPrefix(name, "user.") {
		return 0, fuse.ENODATA
	}
	return 0, fuse.ENOTSUP
}

// ListXAttr implements fuse.RawFileSystem.
func (f *fuseFace) ListXAttr(_ cancelled, h *fuse.InHeader, dest []byte) (uint32, fuse.Status) {
	var list strings.Builder
	for _, a := range f.xattrs(h.NodeId) {
		list.WriteString(a.name)
		list.WriteByte(0)
	}
	return fillXAttr(dest, list.String())
}

// fillXAttr copies what was asked for. The kernel asks for the size alone with
// no room at all.
func fillXAttr(dest []byte, value string) (uint32, fuse.Status) {
	if len(dest) < len(value) {
		return uint32(len(value)), fuse.ERANGE
	}
	return uint32(copy(dest, value)), fuse.OK
}
