package fs

import (
	"cmp"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// Entry is one version of one file.
type Entry struct {
	Content []byte
	ModTime time.Time // what stat shows; it changes exactly when the content does, which the caller sees to
	Version string    // the extended attribute user.kingpin.version
	ZKPath  string    // the extended attribute user.kingpin.zk_path
	// Order is greater in newer versions of the same name, which decides where two
	// are published at once. 0 is unknown.
	Order int64
}

// Status is what may change of a file without a new version of it. Each field
// is an extended attribute; an empty one is none.
type Status struct {
	State    string    // fresh, stale or held
	SyncedAt time.Time // when the file was last known to be current
	Err      string    // what is wrong with the newest version, if it isn't served
}

// Inode numbers, which are the kernel's node ids as well. Those between the root
// and the first subdirectory are kept for what users don't see.
const (
	rootID       = 1
	stageID      = 2
	ghostID      = 3
	writersID    = 4
	firstSubID   = 16
	firstVersion = 1 << 16
)

// version is one version of a file: an inode. It is immutable. Its content, its
// state and how often the kernel refers to it are in the ledger.
type version struct {
	id   uint64 // never used again
	slot *slot  // the name that it is or was a version of

	at      uint32 // its place in the ledger
	size    uint32 // of the content, in bytes
	modTime time.Time
	version string
	zkPath  string
	order   int64 // the Entry's; 0 if a predecessor made it
}

// slot is a name in a directory: of a subdirectory or of a file.
type slot struct {
	name   string
	dir    *directory
	cookie uint64     // its place in listings; grows from one slot to the next
	sub    *directory // nil for a file

	current *version // nil for a subdirectory, and once the name has been removed
	temp    *scratch // a temporary file; nil if there is a version
	status  Status
}

// directory is the root or a subdirectory. id and name are immutable.
type directory struct {
	id   uint64
	name string // "" for the root

	slots    map[string]*slot
	order    []*slot        // by cookie
	cookies  uint64         // the last one given out
	changing map[string]int // names between begin and commit, and how often
	modTime  time.Time      // later after every change
	denied   time.Time      // when the kernel was last told, to remember, that a name doesn't exist
}

// tree holds every version that is served or that the kernel still refers to. It
// knows nothing of how they are served. It is safe for concurrent use, except
// that one name may be changed by only one caller at a time, but for commitNewer.
type tree struct {
	root   *directory
	ledger *ledger
	// displaced is told, with mu held, of a temporary file whose name is given to a
	// version.
	displaced func(*scratch)

	mu       sync.RWMutex // guards all below, what isn't immutable of what they lead to, and the ledger's slots
	dirs     map[uint64]*directory
	versions map[uint64]*version
	lastID   uint64
}

// newTree returns a tree with a root and the given subdirectories, and what a
// predecessor left of them. It takes the ledger over.
func newTree(subdirs []string, l *ledger, left []recovered) *tree {
	t := &tree{
		root:     newDirectory(rootID, ""),
		ledger:   l,
		dirs:     map[uint64]*directory{},
		versions: make(map[uint64]*version, len(left)),
		lastID:   l.header.lastID.Load(),
	}
	if t.lastID == 0 {
		// A new session must not give a number to one content that an earlier
		// one gave to another: readers that compare st_dev and st_ino would take
		// them for the same file, since device numbers are used again.
		t.lastID = firstVersion + rand.Uint64N(1<<30)
		l.header.woken.Store(t.lastID)
	}
	t.dirs[rootID] = t.root
	for i, name := range subdirs {
		d := newDirectory(firstSubID+uint64(i), name)
		t.dirs[d.id] = d
		t.root.cookies++
		t.root.add(&slot{name: name, dir: t.root, sub: d, cookie: t.root.cookies})
	}
	t.restore(left)
	return t
}

// restore puts back what a predecessor left.
func (t *tree) restore(left []recovered) {
	for i := range left {
		r := &left[i]
		d := t.dirs[uint64(r.dir)]
		if d == nil {
			t.ledger.release(r.slot)
			continue
		}
		v := &version{id: r.id, at: r.slot, size: r.size, modTime: r.modTime, version: r.version, zkPath: r.zkPath}
		v.slot = d.slots[r.name]
		if v.slot == nil {
			v.slot = &slot{name: r.name, dir: d, cookie: r.cookie}
		}
		d.cookies = max(d.cookies, r.cookie)
		t.versions[v.id] = v
		if !r.current {
			continue
		}
		switch old := v.slot.current; {
		case old == nil:
			v.slot.current = v
			v.slot.cookie = r.cookie
			d.add(v.slot)
		case old.id < v.id: // the predecessor died between two steps of a commit
			v.slot.current = v
			t.supersede(old)
		default:
			t.supersede(v)
		}
	}
}

func newDirectory(id uint64, name string) *directory {
	return &directory{
		id: id, name: name,
		slots: map[string]*slot{}, changing: map[string]int{},
		cookies: lastDotCookie, modTime: time.Now(),
	}
}

// add gives a slot its place. tree.mu must be held.
func (d *directory) add(s *slot) {
	d.slots[s.name] = s
	i, _ := slices.BinarySearchFunc(d.order, s.cookie, compareCookie)
	d.order = slices.Insert(d.order, i, s)
}

func compareCookie(s *slot, cookie uint64) int { return cmp.Compare(s.cookie, cookie) }

// remove takes a slot away. tree.mu must be held.
func (d *directory) remove(s *slot) {
	delete(d.slots, s.name)
	if i, ok := slices.BinarySearchFunc(d.order, s.cookie, compareCookie); ok {
		d.order = slices.Delete(d.order, i, i+1)
	}
}

// touch makes the directory's time a later one. tree.mu must be held.
func (d *directory) touch() {
	if now := time.Now(); now.After(d.modTime) {
		d.modTime = now
	} else {
		d.modTime = d.modTime.Add(1)
	}
}

// directory returns the directory of that name, "" for the root, or nil.
func (t *tree) directory(name string) *directory {
	if name == "" {
		return t.root
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	if s := t.root.slots[name]; s != nil {
		return s.sub
	}
	return nil
}

// dirIDs returns the ids of all directories.
func (t *tree) dirIDs() []uint64 {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return slices.Sorted(maps.Keys(t.dirs))
}

// begin announces that a name will get another version, its first or none.
// Until commit or settle, answers about the name are still the old ones, but are
// marked as not to be remembered.
func (t *tree) begin(d *directory, name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	d.changing[name]++
}

// settle ends what begin began, and nothing has changed.
func (t *tree) settle(d *directory, name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	d.settled(name)
}

// settled ends one of the changes of a name. tree.mu must be held.
func (d *directory) settled(name string) {
	if d.changing[name]--; d.changing[name] <= 0 {
		delete(d.changing, name)
	}
}

// stage makes a version of a name that nobody sees before it is given to commit
// or discard.
func (t *tree) stage(d *directory, name string, e Entry) (*version, error) {
	t.mu.Lock()
	t.lastID++
	v := &version{
		id: t.lastID, size: uint32(len(e.Content)), modTime: e.ModTime, version: e.Version, zkPath: e.ZKPath, order: e.Order,
	}
	v.slot = d.slots[name]
	if v.slot == nil {
		d.cookies++
		v.slot = &slot{name: name, dir: d, cookie: d.cookies}
	}
	t.mu.Unlock()
	r := &record{
		id: v.id, dir: uint32(d.id), cookie: v.slot.cookie, modTime: e.ModTime, name: name, version: e.Version, zkPath: e.ZKPath,
	}
	if err := t.ledger.add(r, e.Content); err != nil {
		return nil, err
	}
	v.at = r.slot
	return v, nil
}

// discard gives up what stage made.
func (t *tree) discard(v *version) { t.ledger.release(v.at) }

// commit gives a name the version that stage made, or takes the name away if v
// is nil, and ends what begin began. It returns what the name held before, if
// the kernel refers to that still. A version that is newer than v stays. was is what
// the name held at the beginning: what has come in between by commitNewer isn't
// taken away.
func (t *tree) commit(d *directory, name string, was, v *version) (referred *version) {
	t.mu.Lock()
	defer t.mu.Unlock()
	d.settled(name)
	if s := d.slots[name]; s != nil && s.current != nil && (v == nil && s.current != was || v != nil && v.order != 0 && s.current.order > v.order) {
		if v != nil {
			t.ledger.release(v.at)
		}
		return nil
	}
	return t.put(d, name, v)
}

// commitNewer is begin and commit at once, for a name that nobody can look up
// meanwhile. Others may be changing the name. A version that is newer than v
// stays.
func (t *tree) commitNewer(d *directory, name string, v *version) (referred *version) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s := d.slots[name]; v != nil && s != nil && s.current != nil && s.current.order > v.order && v.order != 0 {
		t.ledger.release(v.at)
		return nil
	}
	return t.put(d, name, v)
}

// put gives a name a version, or none, and returns what it held before, if the
// kernel refers to that still. mu must be held.
func (t *tree) put(d *directory, name string, v *version) (referred *version) {
	s := d.slots[name]
	if s == nil && v == nil || v == nil && s.temp != nil {
		return nil
	}
	d.touch()
	if s == nil {
		s = v.slot
		d.add(s)
	}
	old := s.current
	s.current = v
	if v == nil {
		d.remove(s)
	} else {
		v.slot = s
		if s.temp != nil {
			t.displaced(s.temp)
			s.temp = nil
		}
		t.versions[v.id] = v
		t.ledger.table[v.at].state.Store(slotCurrent)
	}
	if old != nil && t.supersede(old) {
		return old
	}
	return nil
}

// supersede ends a version's time as the current one. It reports whether it is
// kept, because the kernel refers to it. mu must be held.
func (t *tree) supersede(v *version) (kept bool) {
	s := &t.ledger.table[v.at]
	if s.lookups > 0 {
		s.state.Store(slotSuperseded)
		return true
	}
	delete(t.versions, v.id)
	t.ledger.release(v.at)
	return false
}

// refer counts a reference of the kernel's to a version. mu must be held.
func (t *tree) refer(v *version) { t.ledger.table[v.at].lookups++ }

// lookups returns how many references to a version the kernel holds. mu must be
// held.
func (t *tree) lookups(v *version) uint64 { return t.ledger.table[v.at].lookups }

// content returns the content of a version, which must be kept meanwhile: the
// kernel has a reference to it, or mu is held.
func (t *tree) content(v *version) ([]byte, error) {
	b := make([]byte, v.size)
	n, err := t.ledger.read(v.at, b, 0)
	return b[:n], err
}

// entry is what a version was made of. mu must be held.
func (t *tree) entry(v *version) (Entry, error) {
	content, err := t.content(v)
	return Entry{Content: content, ModTime: v.modTime, Version: v.version, ZKPath: v.zkPath, Order: v.order}, err
}

// get returns what a name holds now.
func (t *tree) get(d *directory, name string) (Entry, Status, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	s := d.slots[name]
	if s == nil || s.current == nil {
		return Entry{}, Status{}, false
	}
	e, err := t.entry(s.current)
	return e, s.status, err == nil
}

// holds reports whether a name holds an entry, in every respect.
func (t *tree) holds(d *directory, name string, e Entry) bool {
	old, _, ok := t.get(d, name)
	return ok && old.Version == e.Version && old.ZKPath == e.ZKPath && old.ModTime.Equal(e.ModTime) && string(old.Content) == string(e.Content)
}

// setStatus says how a name stands. It does nothing if there is no such file.
func (t *tree) setStatus(d *directory, name string, status Status) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s := d.slots[name]; s != nil && s.sub == nil {
		s.status = status
	}
}

// names returns all names of files, those in subdirectories with their
// directory's name before them, sorted.
func (t *tree) names() []string {
	t.mu.RLock()
	defer t.mu.RUnlock()
	var names []string
	for _, d := range t.dirs {
		for name, s := range d.slots {
			if s.current != nil {
				names = append(names, joinName(d.name, name))
			}
		}
	}
	slices.Sort(names)
	return names
}

// inodes returns how many versions are kept.
func (t *tree) inodes() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return len(t.versions)
}
