package fs

import (
	"sync"
	"syscall"
)

// scratches are the scratches of one session that the kernel refers to, by id. It
// is safe for concurrent use.
type scratches struct {
	mu  *sync.Mutex
	all map[uint64]*scratch
}

func newScratches() scratches { return scratches{&sync.Mutex{}, map[uint64]*scratch{}} }

// add adds a scratch to which the kernel has so many references. One that is linked
// stays without any.
func (t scratches) add(s *scratch, lookups uint64, linked bool) syscall.Errno {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.all) >= maxScratches {
		return syscall.ENFILE
	}
	s.lookups, s.linked = lookups, linked
	t.all[s.id] = s
	return 0
}

// get returns the scratch of that id, or nil.
func (t scratches) get(id uint64) *scratch {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.all[id]
}

// refer counts another reference.
func (t scratches) refer(s *scratch) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s.lookups++
	t.all[s.id] = s
}

// forget takes back n references to the scratch of that id, if there is one.
func (t scratches) forget(id, n uint64) {
	t.mu.Lock()
	s := t.all[id]
	if s != nil {
		s.lookups -= min(n, s.lookups)
	}
	t.mu.Unlock()
	if s != nil {
		t.sweep(s)
	}
}

// unlink ends that a scratch is linked.
func (t scratches) unlink(s *scratch) {
	t.mu.Lock()
	s.linked = false
	t.mu.Unlock()
	t.sweep(s)
}

// sweep drops a scratch that nothing leads to any more.
func (t scratches) sweep(s *scratch) {
	t.mu.Lock()
	over := s.lookups == 0 && !s.linked
	if over {
		delete(t.all, s.id)
	}
	t.mu.Unlock()
	if over {
		s.drop()
	}
}

// created returns a file that is being created under a name, or nil.
func (t scratches) created(d *directory, name string) *scratch {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range t.all {
		if s.kind != created {
			continue
		}
		if in, called := s.place(); in == d && called == name {
			return s
		}
	}
	return nil
}
