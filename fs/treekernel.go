package fs

import (
	"slices"
	"time"
)

// Cookies of the entries that every directory has.
const (
	dotCookie = iota + 1
	dotdotCookie
	lastDotCookie = dotdotCookie
)

// answer is what the kernel is told of a name: a version, a directory or a
// temporary file, or nothing if there is no such name.
type answer struct {
	version *version
	dir     *directory
	temp    *scratch
	// settled says that the kernel may remember the answer: nobody is about
	// to change it.
	settled bool
}

// listed is one line of a directory's listing.
type listed struct {
	answer
	name   string
	cookie uint64 // where the listing goes on after it
}

// dirInfo is what stat shows of a directory.
type dirInfo struct {
	id      uint64
	subdirs int
	modTime time.Time
}

// lookup answers for a name in the directory parent, and counts the reference
// that the kernel gets to a version. ok is false if parent is no directory.
func (t *tree) lookup(parent uint64, name string) (a answer, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	d := t.dirs[parent]
	if d == nil {
		return answer{}, false
	}
	s := d.slots[name]
	if s == nil {
		changing := d.changing[name] > 0
		if !changing {
			d.denied = time.Now()
		}
		return answer{settled: !changing}, true
	}
	a = d.answer(s)
	if a.version != nil {
		t.refer(a.version)
	}
	return a, true
}

// answer returns the answer for a slot. tree.mu must be held.
func (d *directory) answer(s *slot) answer {
	return answer{version: s.current, dir: s.sub, temp: s.temp, settled: d.changing[s.name] == 0 && s.temp == nil}
}

// list hands emit the entries of a directory that come after the cookie, until
// it returns false: that entry was not taken. Names may be added and removed
// between two parts of a listing: the others are listed once all the same. If
// counted, the kernel gets a reference to every settled version that was taken.
// ok is false if id is no directory.
func (t *tree) list(id, after uint64, counted bool, emit func(listed) bool) (ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	d := t.dirs[id]
	if d == nil {
		return false
	}
	for _, dot := range []listed{{name: ".", cookie: dotCookie}, {name: "..", cookie: dotdotCookie}} {
		dot.dir = d
		if dot.name == ".." {
			dot.dir = t.root
		}
		if after < dot.cookie && !emit(dot) {
			return true
		}
	}
	i, _ := slices.BinarySearchFunc(d.order, after+1, compareCookie)
	for _, s := range d.order[i:] {
		e := listed{answer: d.answer(s), name: s.name, cookie: s.cookie}
		if !emit(e) {
			return true
		}
		if counted && e.settled && e.version != nil {
			t.refer(e.version)
		}
	}
	return true
}

// forget takes back n of the kernel's references to a version. The last one
// frees it, unless it is what its name holds.
func (t *tree) forget(id, n uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	v := t.versions[id]
	if v == nil {
		return
	}
	s := &t.ledger.table[v.at]
	s.lookups -= min(n, s.lookups)
	if s.lookups == 0 && v.slot.current != v {
		delete(t.versions, id)
		t.ledger.release(v.at)
	}
}

// version returns the version of that id, current or not, or nil.
func (t *tree) version(id uint64) *version {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.versions[id]
}

// dirInfo returns what stat shows of a directory.
func (t *tree) dirInfo(id uint64) (dirInfo, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	d := t.dirs[id]
	if d == nil {
		return dirInfo{}, false
	}
	info := dirInfo{id: d.id, modTime: d.modTime}
	if d == t.root {
		info.subdirs = len(t.dirs) - 1
	}
	return info, true
}

// statusOf returns the status of the name that holds v; false if it holds
// another version by now.
func (t *tree) statusOf(v *version) (Status, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return v.slot.status, v.slot.current == v
}

// deniedFor is how long an answer that a name doesn't exist may be on its way
// into the kernel's cache.
const deniedFor = time.Minute

// mayBeTold reports whether an answer about the name that the kernel remembers
// may be on its way to it.
func (t *tree) mayBeTold(d *directory, name string) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if s := d.slots[name]; s != nil && s.current != nil {
		return t.lookups(s.current) > 0
	}
	return time.Since(d.denied) < deniedFor
}
