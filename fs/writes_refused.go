package fs

import (
	"encoding/binary"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// setsSize reports whether a SETATTR changes the size.
func setsSize(request []byte) bool {
	return len(request) >= requestHeader+4 && binary.NativeEndian.Uint32(request[requestHeader:])&fuse.FATTR_SIZE != 0
}

// miss notes that a request to a file is refused because too many wait. Whoever
// wrote is told so, and looks at it or doesn't: what lacks something isn't
// published, nor is that of which somebody was told that it isn't.
func (w *writes) miss(s *scratch, request []byte) {
	s.mu.Lock()
	spoils := false
	switch op := operationOf(request); op {
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
