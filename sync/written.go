package sync

import (
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/kingpinfs/kingpin/store"
)

// What this process writes to the fleet it serves by itself: who writes a file
// reads its own write, at once, and S3 isn't asked for it. To the rest of the
// engine it is a version like any other, which happens to be known before
// ZooKeeper's watch speaks of it; zxids order it among those that are read.

// offer is a version that this process is about to write to the fleet: if the
// pointer names it, S3 need not be asked for it.
type offer struct {
	version store.Version
	content []byte
}

// written is a version that this process has written to the fleet and not
// served yet.
type written struct {
	served

	content []byte
}

// Source is what a config's file is made of.
type Source struct {
	store.Ref

	// Inline says that the content is the data of the znode Path itself, which
	// has no versions.
	Inline bool
}

// Source returns what the file of a config is made of; false if nothing asks
// for a config of that name.
func (e *Engine) Source(name string) (Source, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	it := e.items[key{configItem, name}]
	if it == nil || !it.wanted {
		return Source{}, false
	}
	return Source{source(it.sub()), it.sub().KeyPrefix == ""}, true
}

// OfferVersion says that a version of a config, which this process is writing,
// may soon be the one that counts. Its content becomes the engine's. NoteWritten
// or WithdrawVersion must follow.
func (e *Engine) OfferVersion(name string, v store.Version, content []byte) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if it := e.items[key{configItem, name}]; it != nil {
		it.offered = &offer{v, content}
	}
}

// WithdrawVersion says that a version that was offered won't be known from this
// process: it has failed, or its outcome isn't known.
func (e *Engine) WithdrawVersion(name string, v store.Version) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if it := e.items[key{configItem, name}]; it != nil {
		it.withdraw(v)
	}
}

// withdraw ends the offer of a version. mu must be held.
func (it *item) withdraw(v store.Version) {
	if it.offered != nil && it.offered.version == v {
		it.offered = nil
	}
}

// takeOffer returns the content of a version if it was offered.
func (e *Engine) takeOffer(it *item, v store.Version) ([]byte, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if it.offered == nil || it.offered.version != v {
		return nil, false
	}
	return it.offered.content, true
}

// NoteWritten says that this process has just written a version of a config to
// the fleet, and returns as what it will be served, unless a newer one is served
// by then. ref is the config's Source, and value has the pointer's stat; its
// content becomes the engine's. No older version is served from now on. It waits
// for nothing but the journal: a worker serves it soon.
func (e *Engine) NoteWritten(name string, ref store.Ref, value store.Value) Entry {
	next := served{
		Version: string(value.Version), Zxid: value.Stat.Mzxid, ZnodeVersion: value.Stat.Version,
		ZKPath: ref.Path, Prefix: ref.Prefix, ModTime: value.Version.Time(),
		Sum: sha256.Sum256(value.Content), Size: len(value.Content), Changed: time.Now(),
	}
	entry, r, news := e.note(key{configItem, name}, next, value.Content)
	if news {
		e.save(r)
		e.add(key{configItem, name})
	}
	return entry
}

// note returns the record to save if the version is news.
func (e *Engine) note(k key, next served, content []byte) (entry Entry, r record, news bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	it := e.items[k]
	if it == nil || !it.wanted || !next.isOf(source(it.sub())) {
		next.Order = next.Zxid
		return next.entry(content), record{}, false
	}
	it.withdraw(store.Version(next.Version))
	if newest := it.newest(); newest.isOf(source(it.sub())) && next.Zxid <= newest.Zxid {
		if next.Version == newest.Version {
			next = *newest
		} else {
			next.Order = next.Zxid
		}
		return next.entry(content), record{}, false
	}
	next.ModTime, next.Order = modTime(&it.serving, &next), order(&it.serving, &next)
	it.written = &written{next, content}
	r, _ = it.record()
	return next.entry(content), r, true
}

// newest is the newest version that is known with its content. mu must be held.
func (it *item) newest() *served {
	if it.written != nil {
		return &it.written.served
	}
	return &it.serving
}

func (it *item) hasWritten() bool { return it.key.isFile() && it.written != nil }

// dropWritten forgets what was written if it is served, or something newer is. mu
// must be held.
func (it *item) dropWritten() {
	if it.written != nil && it.written.isOf(store.Ref{Path: it.serving.ZKPath, Prefix: it.serving.Prefix}) && it.written.Zxid <= it.serving.Zxid {
		it.written = nil
	}
}

// ServeWritten serves what NoteWritten was told last of a config, or something
// newer, before it returns, whatever else is being done for that config. Where
// that fails it is tried again like everything else.
func (e *Engine) ServeWritten(name string) error {
	k := key{configItem, name}
	e.mu.Lock()
	it := e.items[k]
	e.mu.Unlock()
	if it == nil {
		return nil // the subscription has ended
	}
	err := e.serveWritten(it)
	e.mu.Lock()
	defer e.mu.Unlock()
	if err != nil {
		e.add(k)
		return fmt.Errorf("serving config %q, which this machine has written: %w", name, err)
	}
	if e.items[k] == it && it.wanted && !it.serving.isZero() {
		e.markCurrent(it)
	}
	return nil
}

// serveWritten serves what this process has written, if anything.
func (e *Engine) serveWritten(it *item) error {
	if e.writtenOf(it) == nil {
		return nil
	}
	it.sinking.Lock()
	defer it.sinking.Unlock()
	for w := e.writtenOf(it); w != nil; w = e.writtenOf(it) {
		if err := e.serve(it, w.content, w.served); err != nil {
			return err
		}
	}
	return nil
}

// writtenOf returns what this process has written of a file; nil if there is
// nothing to be served of it.
func (e *Engine) writtenOf(it *item) *written {
	e.mu.Lock()
	defer e.mu.Unlock()
	if it.written != nil && (!it.wanted || !it.written.isOf(source(it.sub()))) {
		it.written = nil
	}
	return it.written
}

// park puts a file off that can't be read before ZooKeeper is back.
func (e *Engine) park(it *item) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	it.parked = it.parked || !e.connected
	return it.parked
}

// markCurrent notes that what is served is what the fleet says now, whatever
// went wrong before. mu must be held.
func (e *Engine) markCurrent(it *item) {
	failed := it.err != nil
	it.err, it.failures, it.unread, it.synced = nil, 0, false, momentOf(time.Now())
	e.stopWaiting(it.key)
	if failed {
		e.logOutcome(it)
	}
	e.showStatus(it)
}

// isOvertaken says whether next was looked for when before was served, but is
// older than what is known by now.
func (e *Engine) isOvertaken(it *item, before, next *served) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if it.written == nil && it.serving.Zxid == before.Zxid && it.serving.isOf(store.Ref{Path: before.ZKPath, Prefix: before.Prefix}) {
		return false
	}
	return next.Zxid <= it.newest().Zxid
}
