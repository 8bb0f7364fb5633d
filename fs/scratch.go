package fs

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// scratch is a file that somebody writes: an inode of its own, with a content
// that is nobody else's until it is published.
type scratch struct {
	id   uint64 // the kernel's node id, never used again
	kind scratchKind
	room *room
	// whole says that what is written from the beginning on is all that the file
	// is to hold: it is a value, and no part of the older one is left behind it.
	whole bool

	mu      sync.Mutex // guards all below, but not while a change is published
	dir     *directory
	name    string // in its directory
	ino     uint64 // what stat shows; that of the version that it is a copy of
	content []byte
	base    string // the version that the name held when the file was opened
	perm    uint32
	owner   fuse.Owner
	modTime time.Time
	// blank says that the file was created or truncated and that nothing has been
	// written since; written, that something has and isn't published.
	blank, written bool
	// last is the request that has changed the content last: whose doing it is when
	// it is published later, for which no request of theirs comes.
	last fuse.InHeader
	// spoilt is why something that was written, and isn't published, lacks what
	// was to be written with it; 0 if it lacks nothing. What lacks something isn't
	// published.
	spoilt syscall.Errno
	// told says that it has been logged why something can't be written.
	told bool
	// abandoned says that the last one who has closed the file was killed.
	abandoned bool
	// openers are the processes that have opened the file, by the number of what
	// they opened, as long as anybody has that open. Only the writers' session has
	// any.
	openers  map[uint64]uint32
	lastOpen uint64
	// rewriting says that the content is being replaced from its beginning, and is
	// published when that has come to its end.
	rewriting bool
	// gone says that the file has become a version, or was removed.
	gone bool
	// calls are the system calls that have brought a part of what they write, by
	// thread.
	calls map[uint32]progress
	// unsettled says that the kernel may still take a version for this file.
	unsettled bool

	publishing sync.Mutex // held while a change is published; taken before mu
	lookups    uint64     // references of the kernel's; guarded by the table that it is in
	linked     bool       // a name leads to it; guarded as well
}

// progress is how far a system call has come that writes.
type progress struct{ done, next uint64 }

// scratchKind says what a scratch is published by.
type scratchKind int

const (
	private   scratchKind = iota // of the writers' session: when it is flushed
	temporary                    // in the tree: when it is renamed
	created                      // in the tree, under a name to be published: by each write
	inPlace                      // a version that its writer has taken over: by each write
)

// room is how many bytes of scratches there may still be.
type room struct {
	size int64 // of all there is
	left atomic.Int64
}

func newRoom(bytes int64) *room {
	r := &room{size: bytes}
	r.left.Store(bytes)
	return r
}

// take takes n bytes, which may be negative. It reports whether there were as
// many.
func (r *room) take(n int64) bool {
	if r.left.Add(-n) < 0 && n > 0 {
		r.left.Add(n)
		return false
	}
	return true
}

// put changes the content from an offset on. mu must be held. limit is how large
// the content may be, in bytes. After an error nothing has changed.
func (s *scratch) put(data []byte, from uint64, limit int64) syscall.Errno {
	end := from + uint64(len(data))
	if end < from || end > uint64(limit) {
		return syscall.EFBIG
	}
	if end > uint64(len(s.content)) {
		if errno := s.resize(int64(end), limit); errno != 0 {
			return errno
		}
	}
	copy(s.content[from:], data)
	return 0
}

// spoil keeps what has been written from being published, because a part of it was
// refused. It returns why. mu must be held.
func (s *scratch) spoil(errno syscall.Errno) syscall.Errno {
	if errno != 0 {
		s.spoilt = errno
	}
	return errno
}

// resize cuts the content, or fills it up with zeros. mu must be held. limit and
// errors are put's.
func (s *scratch) resize(size, limit int64) syscall.Errno {
	was := int64(len(s.content))
	if size < 0 || size > limit {
		return syscall.EFBIG
	}
	if !s.room.take(size - was) {
		return syscall.ENOSPC
	}
	switch {
	case size == 0:
		s.content = nil
	case size <= was:
		s.content = s.content[:size]
	default:
		grown := slices.Grow(s.content, int(size-was))[:size]
		clear(grown[was:])
		s.content = grown
	}
	return 0
}

// replace gives the scratch a content, which it takes over. mu must be held.
func (s *scratch) replace(content []byte) syscall.Errno {
	if !s.room.take(int64(len(content)) - int64(len(s.content))) {
		return syscall.ENOSPC
	}
	s.content = content
	return 0
}

// with returns the content as it would be with data written from an offset on. mu
// must be held.
func (s *scratch) with(data []byte, from uint64, limit int64) ([]byte, syscall.Errno) {
	end := from + uint64(len(data))
	if end < from || end > uint64(limit) {
		return nil, syscall.EFBIG
	}
	before := s.content
	if s.whole && from == 0 {
		before = nil
	}
	next := make([]byte, max(end, uint64(len(before))))
	copy(next, before)
	copy(next[from:], data)
	return next, 0
}

// read fills dst with the content from an offset on, and returns how much there
// was.
func (s *scratch) read(dst []byte, from uint64) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if from >= uint64(len(s.content)) {
		return 0
	}
	return copy(dst, s.content[from:])
}

// place is what the file is called now.
func (s *scratch) place() (d *directory, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dir, s.name
}

// open notes that a process has opened the file, and returns the number of what it
// opened. mu must be held.
func (s *scratch) open(process uint32) uint64 {
	if s.openers == nil {
		s.openers = map[uint64]uint32{}
	}
	s.lastOpen++
	s.openers[s.lastOpen] = process
	return s.lastOpen
}

// isOthers reports whether a process that has opened the file is still there, and
// isn't that of a thread. It may well go on writing, as a shell does of whose
// commands one has just ended.
func (s *scratch) isOthers(thread uint32) bool {
	process := processOf(thread)
	s.mu.Lock()
	openers := slices.Collect(maps.Values(s.openers))
	s.mu.Unlock()
	return slices.ContainsFunc(openers, func(opener uint32) bool { return opener != process && !hasEnded(opener) })
}

// end notes that the file has become a version, or was removed.
func (s *scratch) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gone = true
}

// copy returns the content as it is now.
func (s *scratch) copy() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.content)
}

// attr fills in what stat shows.
func (s *scratch) attr(a *fuse.Attr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	size := uint64(len(s.content))
	*a = fuse.Attr{
		Ino: s.ino, Size: size, Blocks: (size + 511) / 512, Blksize: blockSize,
		Mode: syscall.S_IFREG | s.perm, Nlink: 1, Owner: s.owner,
	}
	if s.kind == created {
		a.Blksize = wholeFile
	}
	setTimes(a, s.modTime)
}

// wholeFile is the block size of files that are published by each write: cp and
// others write as much at once.
const wholeFile = 16 << 20

// setAttr changes what a SETATTR asks for, but for the size. Nothing of it is
// published.
func (s *scratch) setAttr(in *fuse.SetAttrIn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if mode, ok := in.GetMode(); ok {
		s.perm = mode & 0o777
	}
	if uid, ok := in.GetUID(); ok {
		s.owner.Uid = uid
	}
	if gid, ok := in.GetGID(); ok {
		s.owner.Gid = gid
	}
	if t, ok := in.GetMTime(); ok {
		s.modTime = t
	}
}

// drop gives a scratch's room back, if nobody uses it any more. What is being
// rewritten is to be published yet.
func (s *scratch) drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.rewriting {
		s.discard()
	}
}

// discard is drop with mu held.
func (s *scratch) discard() {
	s.room.take(-int64(len(s.content)))
	s.content = nil
}
