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
	s.blank, s.abandoned, s.last = false, false, in.InHeader
	if !w.writer.AtOnce(joinName(d.name, name)) {
		defer s.mu.Unlock()
		s.written, s.modTime = true, time.Now()
		return s.spoil(s.put(data, in.Offset, w.limit))
	}
	next, errno := s.with(data, in.Offset, w.limit)
	base := s.base
	if errno == 0 {
		s.spoilt = 0
	}
	s.mu.Unlock()
	if errno != 0 {
		return errno
	}
	return w.publish(s, d, name, next, base, &in.InHeader)
}

// cut changes the size of a file of the writers' session. Nobody has it open if it
// is a truncate(2), which is published at once.
func (w *writes) cut(s *scratch, size uint64, h *fuse.InHeader) syscall.Errno {
	s.publishing.Lock()
	defer s.publishing.Unlock()
	d, name := s.place()
	s.mu.Lock()
	s.last = *h
	if size > uint64(w.limit) {
		defer s.mu.Unlock()
		return s.spoil(syscall.EFBIG)
	}
	if len(s.openers) == 0 {
		next := make([]byte, size)
		copy(next, s.content)
		base := s.base
		s.spoilt = 0
		s.mu.Unlock()
		defer s.empty()
		return w.publish(s, d, name, next, base, h)
	}
	defer s.mu.Unlock()
	if errno := s.spoil(s.resize(int64(size), w.limit)); errno != 0 {
		return errno
	}
	// What is cut to nothing is about to be written, or else published when it is
	// released.
	s.blank, s.written = size == 0, size > 0
	if size == 0 {
		s.spoilt = 0
	}
	s.modTime = time.Now()
	return 0
}

// flush publishes what has been written to a file of the writers' session and
// isn't published yet, unless a part of it was refused. Who is killed has its files
// closed as well, whatever it would still have written. So has a command that ends,
// or a child that executes another program, while the process that has opened the
// file is about to write more.
func (w *writes) flush(s *scratch, h *fuse.InHeader) syscall.Errno {
	killed := isKilled(h.Pid)
	s.mu.Lock()
	s.abandoned = killed
	unpublished := killed && s.written
	s.mu.Unlock()
	if !killed {
		if s.isOthers(h.Pid) {
			return 0
		}
		return w.finish(s, h)
	}
	if unpublished {
		d, name := s.place()
		w.log.Warn("what a process has written that was killed is not published",
			"name", joinName(d.name, name), "thread", h.Pid, "command", commandOf(h.Pid))
	}
	return 0
}

// release publishes what a file of the writers' session holds when what somebody has
// opened, which has that number, is closed for good, and nobody has opened it
// otherwise, if that hasn't been. The kernel doesn't tell who closes it.
func (w *writes) release(s *scratch, number uint64) {
	s.publishing.Lock()
	defer s.publishing.Unlock()
	d, name := s.place()
	s.mu.Lock()
	delete(s.openers, number)
	content, base, last := s.content, s.base, s.last
	due := len(s.openers) == 0 && (s.blank || s.written) && s.spoilt == 0 && !s.abandoned
	s.mu.Unlock()
	defer s.empty()
	if !due {
		return
	}
	if errno := w.publish(s, d, name, content, base, &last); errno != 0 {
		w.log.Warn("what a file holds that is closed is not published, of which nobody can be told any more", "name", joinName(d.name, name), "error", errno)
	}
}

// empty gives up the content of a file that nobody has open. The kernel may
// remember the file until its name is looked up again, but nobody can reach it.
func (s *scratch) empty() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.openers) > 0 {
		return
	}
	s.gone = true
	s.discard()
}
