package fs

import (
	"errors"
	"hash/maphash"
	"slices"
	"sync"
	"time"
)

// ReadLast returns what an earlier process left of a file, and the time that stat
// shows for it: what it served of a session that goes on, or else the plain file,
// which is not served before it is adopted. The error wraps fs.ErrNotExist if
// there is no such file.
func (v *Volume) ReadLast(name string) ([]byte, time.Time, error) {
	sub, base, done, err := v.enter(name)
	if err != nil {
		return nil, time.Time{}, err
	}
	defer done()
	if e, _, ok := v.tree.get(v.tree.directory(sub), base); ok {
		return e.Content, e.ModTime, nil
	}
	content, info, err := v.plain.read(sub, base)
	if err != nil {
		return nil, time.Time{}, err
	}
	return content, info.ModTime(), nil
}

// Adopt serves e without writing its plain file, because e is what ReadLast
// returned. Nothing changes if it is served already. For a name that ReadLast
// refuses it does nothing.
func (v *Volume) Adopt(name string, e Entry) error {
	sub, base, done, err := v.enter(name)
	if err != nil {
		return err
	}
	defer done()
	if d := v.tree.directory(sub); !v.tree.holds(d, base, e) {
		next, err := v.tree.stage(d, base, e)
		if err != nil {
			return err
		}
		v.swap(sub, base, next)
	}
	v.notForeign(name)
	return nil
}

// Disown ends serving a file, and leaves its plain file alone: it is foreign from
// then on. It does nothing if there is no such file.
func (v *Volume) Disown(name string) {
	sub, base, done, err := v.enter(name)
	if err != nil {
		return
	}
	defer done()
	v.swap(sub, base, nil)
	if _, _, err := v.plain.read(sub, base); err == nil {
		v.foreignMu.Lock()
		defer v.foreignMu.Unlock()
		v.foreign[name] = struct{}{}
	}
}

// Publish serves e under a name. When it returns, every later open sees it.
//
// In the plain face an error means that readers still see what they saw, and
// that the caller must try again. In the FUSE face it means a name that can't
// be served, no memory, a closed volume, or a mount that has just been taken
// away: if the plain file can't be written, the mount serves the entry all the
// same; see CopyErr.
func (v *Volume) Publish(name string, e Entry) error {
	sub, base, done, err := v.enter(name)
	if err != nil {
		return err
	}
	defer done()
	next, err := v.tree.stage(v.tree.directory(sub), base, e)
	if err != nil {
		return err
	}
	write := func() error { return v.plain.write(sub, base, e) }
	if v.face.Load().mode == FUSE && !v.copyFirst.Load() {
		// Readers needn't wait for the disk. If this process dies between the
		// two, the next one makes up for it; see compareCopies.
		v.swap(sub, base, next)
		v.notForeign(name)
		return v.copy(name, write)
	}
	if err := v.copy(name, write); err != nil {
		v.tree.discard(next)
		return err
	}
	v.swap(sub, base, next)
	v.notForeign(name)
	return nil
}

// Remove ends serving a file and deletes it, whether this process published it
// or an earlier one. It is no error if there is none. Errors are as Publish's.
func (v *Volume) Remove(name string) error {
	sub, base, done, err := v.enter(name)
	if err != nil {
		return err
	}
	defer done()
	if err := v.copy(name, func() error { return v.plain.remove(sub, base) }); err != nil {
		return err
	}
	v.swap(sub, base, nil)
	v.notForeign(name)
	return nil
}

// copy makes a change to the plain files. If the FUSE face does without, the
// change is put off until it works.
func (v *Volume) copy(name string, change func() error) error {
	err := change()
	if err == nil {
		v.copies.caughtUp(name)
		return nil
	}
	if v.face.Load().mode == Plain {
		return err
	}
	v.copies.putOff(name, err)
	return nil
}

// CopyFirst brings the plain files up to date, but for those that CopyErr tells of,
// and has each change reach them before the mount from then on: for a mount that is
// about to be taken away, so that nobody finds an older version beneath it than
// somebody has seen. It returns when changes under way are done, which takes as long
// as the filesystem's disk needs. It does nothing unless the volume is mounted.
func (v *Volume) CopyFirst() {
	v.life.RLock()
	mounted, compared := v.phase == isMounted, v.compared
	v.life.RUnlock() // for Close, for which compareCopies would wait
	if !mounted {
		return
	}
	v.copyFirst.Store(true)
	for i := range v.names {
		// Whoever changes a name now may have looked before.
		v.names[i].Lock()
		v.names[i].Unlock() //nolint:staticcheck // it is only waited for
	}
	if compared != nil {
		<-compared
	}
}

// compareCopies brings the plain files up to date that a predecessor couldn't
// change, or not any more.
func (v *Volume) compareCopies() {
	defer close(v.compared)
	for _, name := range v.Names() {
		if v.closing.Load() {
			return
		}
		sub, base, done, err := v.enter(name)
		if err != nil {
			return
		}
		now := v.tree.versionOf(v.tree.directory(sub), base)
		same := now == nil || v.plain.holds(sub, base, now)
		done()
		if !same {
			v.tryCopy(name)
		}
	}
}

// tryCopy makes a name's plain file what is served.
func (v *Volume) tryCopy(name string) {
	sub, base, done, err := v.enter(name)
	if err != nil {
		return
	}
	defer done()
	if e, _, ok := v.tree.get(v.tree.directory(sub), base); ok {
		err = v.plain.write(sub, base, e)
	} else {
		err = v.plain.remove(sub, base)
	}
	if err != nil {
		v.copies.putOff(name, err)
		return
	}
	v.copies.caughtUp(name)
}

// swap gives a name the version that was staged, or none.
//
// No reader may see the new version and another, later, the old one. So the
// kernel's memory of the name is emptied before, while answers about it are
// such that the kernel doesn't keep them: if it were emptied after, an answer
// still on its way could put the old version back in the place of the new one
// that somebody has seen.
func (v *Volume) swap(sub, base string, next *version) {
	if old, told := v.replace(sub, base, next); told {
		v.waker.changed(joinName(sub, base), old)
	}
}

// replace is swap without telling those who watch. It returns what the name held,
// if the kernel refers to that still, and whether there is a kernel to tell.
func (v *Volume) replace(sub, base string, next *version) (old *version, told bool) {
	d := v.tree.directory(sub)
	v.tree.begin(d, base)
	was := v.tree.versionOf(d, base)
	conn := v.face.Load().conn
	if conn != nil {
		conn.dropName(d.id, base, func() bool { return v.tree.mayBeTold(d, base) })
	}
	old = v.tree.commit(d, base, was, next)
	if conn != nil {
		conn.dropListing(d.id)
		v.refresher.changed()
	}
	return old, conn != nil
}

// enter checks a name and keeps the volume open, and the name from others'
// changes, until done is called.
func (v *Volume) enter(name string) (sub, base string, done func(), err error) {
	return v.enterBy(name, func(mu *sync.Mutex) bool {
		mu.Lock()
		return true
	})
}

// errNameBusy is enterWithin's error if others change the name all the time.
var errNameBusy = errors.New("the name is being changed")

// enterWithin is enter, but waits so long at most for those who change the name.
func (v *Volume) enterWithin(name string, limit time.Duration) (sub, base string, done func(), err error) {
	return v.enterBy(name, func(mu *sync.Mutex) bool {
		late := time.NewTimer(limit)
		defer late.Stop()
		again := time.NewTicker(time.Millisecond)
		defer again.Stop()
		for !mu.TryLock() {
			select {
			case <-again.C:
			case <-late.C:
				return false
			}
		}
		return true
	})
}

// enterBy is enter, with the name's lock taken by a function, which may fail.
func (v *Volume) enterBy(name string, lock func(*sync.Mutex) bool) (sub, base string, done func(), err error) {
	sub, base, err = splitName(name, v.cfg.Subdirs)
	if err != nil {
		return "", "", nil, err
	}
	v.life.RLock()
	if v.phase != isOpen && v.phase != isMounted {
		v.life.RUnlock()
		return "", "", nil, ErrClosed
	}
	mu := &v.names[maphash.String(v.nameSeed, name)%uint64(len(v.names))]
	if !lock(mu) {
		v.life.RUnlock()
		return "", "", nil, errNameBusy
	}
	return sub, base, func() {
		mu.Unlock()
		v.life.RUnlock()
	}, nil
}

// SetStatus says how a file stands. It does nothing if there is no such file.
func (v *Volume) SetStatus(name string, s Status) {
	sub, base, err := splitName(name, v.cfg.Subdirs)
	if err != nil {
		return
	}
	v.life.RLock()
	defer v.life.RUnlock()
	if v.tree != nil {
		v.tree.setStatus(v.tree.directory(sub), base, s)
	}
}

// Names returns the names of all files that are served, sorted; none if the
// volume isn't open.
func (v *Volume) Names() []string {
	v.life.RLock()
	defer v.life.RUnlock()
	if v.tree == nil {
		return nil
	}
	return v.tree.names()
}

// Get returns what is served under a name; nothing if the volume isn't open.
func (v *Volume) Get(name string) (Entry, Status, bool) {
	sub, base, err := splitName(name, v.cfg.Subdirs)
	if err != nil {
		return Entry{}, Status{}, false
	}
	v.life.RLock()
	defer v.life.RUnlock()
	if v.tree == nil {
		return Entry{}, Status{}, false
	}
	return v.tree.get(v.tree.directory(sub), base)
}

// Foreign returns the names of what Open found in the directory and nobody has
// adopted, published or removed since, and of what was disowned, sorted. They are left alone; behind a
// mount they can't be seen.
func (v *Volume) Foreign() []string {
	v.foreignMu.Lock()
	defer v.foreignMu.Unlock()
	names := make([]string, 0, len(v.foreign))
	for name := range v.foreign {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (v *Volume) notForeign(name string) {
	v.foreignMu.Lock()
	defer v.foreignMu.Unlock()
	delete(v.foreign, name)
}
