package fs

import (
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// writePrivate writes to a file of the writers' session.
func (w *writes) writePrivate(s *scratch, in *fuse.WriteIn, data []byte) syscall.Errno {
	s.publishing.Lock()
	defer s.publishing.Unlock()
	d, name := s.place()
	s.mu.Lock()
	s.blank = false
	if !w.writer.AtOnce(joinName(d.name, name)) {
		defer s.mu.Unlock()
		s.written, s.modTime = true, time.Now()
		return s.put(data, in.Offset, w.limit)
	}
	next, errno := s.with(data, in.Offset, w.limit)
	base := s.base
	s.mu.Unlock()
	if errno != 0 {
		return errno
	}
	return w.publish(s, d, name, next, base, &in.InHeader)
}

// cut changes the size of a file of the writers' session. Nobody has it open if it
// is a truncate(2), which is published at once.
func (w *writes) cut(s *scratch, size uint64, h *fuse.InHeader) syscall.Errno {
	if size > uint64(w.limit) {
		return syscall.EFBIG
	}
	s.publishing.Lock()
	defer s.publishing.Unlock()
	d, name := s.place()
	s.mu.Lock()
	if s.opens == 0 {
		next := make([]byte, size)
		copy(next, s.content)
		base := s.base
		s.mu.Unlock()
		defer s.empty()
		return w.publish(s, d, name, next, base, h)
	}
	defer s.mu.Unlock()
	if errno := s.resize(int64(size), w.limit); errno != 0 {
		return errno
	}
	// What is cut to nothing is about to be written, or else published when it is
	// released.
	s.blank, s.written = size == 0, size > 0
	s.modTime = time.Now()
	return 0
}

// release publishes what a file of the writers' session holds when it is closed
// for good, if that hasn't been.
func (w *writes) release(s *scratch, h *fuse.InHeader) {
	s.publishing.Lock()
	defer s.publishing.Unlock()
	d, name := s.place()
	s.mu.Lock()
	s.opens--
	content, base, due := s.content, s.base, s.opens <= 0 && (s.blank || s.written)
	s.mu.Unlock()
	defer s.empty()
	if !due {
		return
	}
	if errno := w.publish(s, d, name, content, base, h); errno != 0 {
		w.log.Warn("a file that was created or cut to nothing is not published", "name", joinName(d.name, name), "error", errno)
	}
}

// empty gives up the content of a file that nobody has open. The kernel may
// remember the file until its name is looked up again, but nobody can reach it.
func (s *scratch) empty() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.opens > 0 {
		return
	}
	s.gone = true
	s.discard()
}
