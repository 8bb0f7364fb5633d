package fs

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// Entry is one version of one file.
type Entry struct {
	Content []byte    // the tree keeps it: nobody may modify it afterwards
	ModTime time.Time // what stat shows; it changes exactly when the content does, which the caller sees to
	Version string    // the extended attribute user.kingpin.version
	ZKPath  string    // the extended attribute user.kingpin.zk_path
}

// Status is what may change of a file without a new version of it. Each field
// is an extended attribute; an empty one is none.
type Status struct {
	State    string    // fresh, stale or held
	SyncedAt time.Time // when the file was last known to be current
	Err      string    // what is wrong with the newest version, if it isn't served
}

// Inode numbers, which are the kernel's node ids as well. Those between the root
// and the first subdirectory are kept for directories that users don't see.
const (
	rootID       = 1
	firstSubID   = 16
	firstVersion = 1 << 16
)

// version is one version of a file: an inode. All but lookups is immutable.
type version struct {
	id    uint64 // never used again
	entry Entry
	slot  *slot // the name that it is or was a version of

	lookups uint64 // how many references to it the kernel holds; guarded by tree.mu
}

// slot is a name in a directory: of a subdirectory or of a file.
type slot struct {
	name   string
	cookie uint64     // its place in listings; grows from one slot to the next
	sub    *directory // nil for a file

	current *version // nil for a subdirectory, and once the name has been removed
	status  Status
}

// directory is the root or a subdirectory. id and name are immutable.
type directory struct {
	id   uint64
	name string // "" for the root

	slots    map[string]*slot
	order    []*slot             // by cookie
	cookies  uint64              // the last one given out
	changing map[string]struct{} // names between begin and commit
	modTime  time.Time           // later after every change
	denied   time.Time           // when the kernel was last told, to remember, that a name doesn't exist
}

// tree holds every version that is served or that the kernel still refers to. It
// knows nothing of how they are served. It is safe for concurrent use, except
// that one name may be changed by only one caller at a time.
type tree struct {
	root *directory

	mu       sync.RWMutex // guards all below, and what isn't immutable of what they lead to
	dirs     map[uint64]*directory
	versions map[uint64]*version
	lastID   uint64
}

// newTree returns a tree with a root and the given subdirectories, all empty.
func newTree(subdirs []string) *tree {
	t := &tree{
		root:     newDirectory(rootID, ""),
		dirs:     map[uint64]*directory{},
		versions: map[uint64]*version{},
		// A restarted daemon must not give a number to one content that its
		// predecessor gave to another: readers that compare st_dev and st_ino
		// would take them for the same file, since device numbers are reused.
		lastID: firstVersion + rand.Uint64N(1<<30),
	}
	t.dirs[rootID] = t.root
	for i, name := range subdirs {
		d := newDirectory(firstSubID+uint64(i), name)
		t.dirs[d.id] = d
		t.root.add(&slot{name: name, sub: d})
	}
	return t
}

func newDirectory(id uint64, name string) *directory {
	return &directory{
		id: id, name: name,
		slots: map[string]*slot{}, changing: map[string]struct{}{},
		cookies: lastDotCookie, modTime: time.Now(),
	}
}

// add gives a slot its place. tree.mu must be held.
func (d *directory) add(s *slot) {
	d.cookies++
	s.cookie = d.cookies
	d.slots[s.name] = s
	d.order = append(d.order, s)
}

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

// begin announces that a name will get another version, its first or none.
// Until commit, answers about the name are still the old ones, but are marked as
// not to be remembered.
func (t *tree) begin(d *directory, name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	d.changing[name] = struct{}{}
}

// commit gives a name the version e, or takes it away if e is nil, and ends what
// begin began.
func (t *tree) commit(d *directory, name string, e *Entry) {
	if e != nil {
		e = t.sharing(d, name, e)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(d.changing, name)
	s := d.slots[name]
	if s == nil && e == nil {
		return
	}
	d.touch()
	if s == nil {
		s = &slot{name: name}
		d.add(s)
	}
	old := s.current
	if e == nil {
		s.current = nil
		d.remove(s)
	} else {
		t.lastID++
		s.current = &version{id: t.lastID, entry: *e, slot: s}
		t.versions[t.lastID] = s.current
	}
	if old != nil && old.lookups == 0 {
		delete(t.versions, old.id)
	}
}

// sharing returns e with the content that the name has already, if it is the
// same, so that it is kept once.
func (t *tree) sharing(d *directory, name string, e *Entry) *Entry {
	old, _, ok := t.get(d, name)
	if !ok || !bytes.Equal(old.Content, e.Content) {
		return e
	}
	shared := *e
	shared.Content = old.Content
	return &shared
}

// get returns what a name holds now.
func (t *tree) get(d *directory, name string) (Entry, Status, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	s := d.slots[name]
	if s == nil || s.current == nil {
		return Entry{}, Status{}, false
	}
	return s.current.entry, s.status, true
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
			if s.sub == nil {
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
