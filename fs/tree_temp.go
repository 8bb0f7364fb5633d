package fs

import "syscall"

// dir returns the directory of that id, or nil.
func (t *tree) dir(id uint64) *directory {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.dirs[id]
}

// newID returns an inode number that has never been given out.
func (t *tree) newID() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lastID++
	t.ledger.header.lastID.Store(t.lastID)
	return t.lastID
}

// link puts a temporary file under a name. It is EEXIST if the name is in use.
func (t *tree) link(d *directory, name string, temp *scratch) syscall.Errno {
	t.mu.Lock()
	defer t.mu.Unlock()
	if d.slots[name] != nil {
		return syscall.EEXIST
	}
	t.linkLocked(d, name, temp)
	return 0
}

// linkLocked puts a temporary file under a name that isn't in use. mu must be
// held.
func (t *tree) linkLocked(d *directory, name string, temp *scratch) {
	d.cookies++
	d.add(&slot{name: name, dir: d, cookie: d.cookies, temp: temp})
	d.touch()
}

// unlink takes a temporary file away. It does nothing if the name holds another
// file by now.
func (t *tree) unlink(d *directory, name string, temp *scratch) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s := d.slots[name]; s != nil && s.temp == temp {
		d.remove(s)
		d.touch()
	}
}

// move gives a temporary file another name, and returns the temporary file that
// was there before. It is EEXIST if the name holds something else.
func (t *tree) move(d *directory, name string, to *directory, newName string, temp *scratch) (old *scratch, errno syscall.Errno) {
	t.mu.Lock()
	defer t.mu.Unlock()
	from := d.slots[name]
	if from == nil || from.temp != temp {
		return nil, syscall.ENOENT
	}
	if s := to.slots[newName]; s != nil {
		if s.temp == nil {
			return nil, syscall.EEXIST
		}
		old = s.temp
		if old == temp {
			return nil, 0
		}
		to.remove(s)
	}
	d.remove(from)
	d.touch()
	t.linkLocked(to, newName, temp)
	return old, 0
}

// tempOf returns the temporary file of that name, or nil.
func (t *tree) tempOf(d *directory, name string) *scratch {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if s := d.slots[name]; s != nil {
		return s.temp
	}
	return nil
}

// nameOf returns the name that a version is or was of.
func (t *tree) nameOf(v *version) (d *directory, name string) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return v.slot.dir, v.slot.name
}

// idOf returns the id of the version that a name holds; 0 if there is none.
func (t *tree) idOf(d *directory, name string) uint64 {
	if v := t.versionOf(d, name); v != nil {
		return v.id
	}
	return 0
}

// subdirectory returns the directory of that name in another one, or nil.
func (t *tree) subdirectory(d *directory, name string) *directory {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if s := d.slots[name]; s != nil {
		return s.sub
	}
	return nil
}
