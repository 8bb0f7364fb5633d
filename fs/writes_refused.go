package fs

import (
	"encoding/binary"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// nodeOf returns the inode that a request is about.
func nodeOf(request []byte) uint64 { return binary.NativeEndian.Uint64(request[16:]) }

// userIn returns the user that a request comes from.
func userIn(request []byte) uint32 { return binary.NativeEndian.Uint32(request[24:]) }

// threadIn returns the thread that a request comes from.
func threadIn(request []byte) uint32 { return binary.NativeEndian.Uint32(request[32:]) }

// setsSize reports whether a SETATTR changes the size.
func setsSize(request []byte) bool {
	return len(request) >= requestHeader+4 && binary.NativeEndian.Uint32(request[requestHeader:])&fuse.FATTR_SIZE != 0
}

// attrSize makes the reply to a GETXATTR that asks for the size of an attribute
// alone.
func attrSize(request []byte, size uint32, out []byte) []byte {
	const length = 16 + 8 // of the header and struct fuse_getxattr_out
	b := binary.NativeEndian.AppendUint32(out[:0], length)
	b = append(b, 0, 0, 0, 0)       // no error
	b = append(b, request[8:16]...) // whose request it answers
	b = binary.NativeEndian.AppendUint32(b, size)
	return append(b, 0, 0, 0, 0) // padding
}

// miss notes that a request to a file is refused because too many wait. Whoever
// wrote is told so, and looks at it or doesn't: what lacks something isn't
// published, nor is that of which somebody was told that it isn't.
func (w *writes) miss(s *scratch, request []byte) {
	s.mu.Lock()
	spoils := false
	switch op := binary.NativeEndian.Uint32(request[4:]); op {
	case opWrite:
		spoils = true
		delete(s.calls, threadIn(request)) // it ends with less
	case opSetAttr:
		spoils = setsSize(request)
	case opFlush, opFsync:
		// Shells flush what they have cut to nothing before they write.
		spoils, s.blank = s.written && s.kind != temporary, false
	}
	if spoils {
		s.spoilt = syscall.EAGAIN
	}
	d, name := s.dir, s.name
	s.mu.Unlock()
	if spoils && w.tells(nameOf{userIn(request), d.id, name}) {
		w.log.Warn("what is written to a file is not published, because too many others write at once; write it again",
			"name", joinName(d.name, name), "thread", threadIn(request), "uid", userIn(request))
	}
}
