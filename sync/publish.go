package sync

import (
	"crypto/sha256"
	"time"
)

// So many publications in a second, and in a burst, are logged one by one.
const (
	chatterRate  = 10
	chatterBurst = 50
)

// confirm notes that what is served is what the znode says.
func (e *Engine) confirm(it *item, zxid int64, znodeVersion int32) {
	if r, newer := e.confirmed(it, zxid, znodeVersion); newer {
		e.save(r)
	}
}

func (e *Engine) confirmed(it *item, zxid int64, znodeVersion int32) (r record, newer bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if zxid <= it.serving.Zxid {
		return record{}, false
	}
	it.serving.Zxid, it.serving.ZnodeVersion = zxid, znodeVersion
	return it.record()
}

// publish serves a new content that was looked for when before was served. It
// does nothing if something newer has been written meanwhile.
func (e *Engine) publish(it *item, before *served, content []byte, next served) error {
	it.sinking.Lock()
	defer it.sinking.Unlock()
	if e.isOvertaken(it, before, &next) {
		e.add(it.key)
		return errNotNow
	}
	return e.serve(it, content, next)
}

// serve publishes a content. The record of it is on disk before readers can see
// it, and names what was served before as well, so that whichever of the two a
// crash leaves in place is known for what it is. sinking must be held.
func (e *Engine) serve(it *item, content []byte, next served) error {
	start := time.Now()
	next.Sum, next.Size, next.Changed = sha256.Sum256(content), len(content), start
	r, justLearned := e.beginPublishing(it, &next)
	e.save(r)
	entry := next.entry(content)
	if justLearned {
		e.cfg.Sink.Adopt(it.key.fileType(), it.key.name, entry)
		e.endPublishing(it, nil)
		e.log.Debug("what was found is what the fleet says", "name", it.key.name, "version", next.Version)
		return nil
	}
	err := e.cfg.Sink.Publish(it.key.fileType(), it.key.name, entry)
	quiet := e.endPublishing(it, err)
	if err != nil {
		e.stats.PublishErrors.Add(1)
		return publishError{advisePublish(err, e.ownerOf(it))}
	}
	e.passed(StagePublish)
	e.stats.Published.Add(1)
	if quiet {
		e.log.Debug("serving", "name", it.key.name, "version", next.Version, "bytes", next.Size)
	} else {
		e.log.Info("published", "name", it.key.name, "version", next.Version, "bytes", next.Size, "took", time.Since(start))
	}
	return nil
}

// beginPublishing returns the record to save. justLearned says that the content
// is served already, and only its version wasn't known.
func (e *Engine) beginPublishing(it *item, next *served) (r record, justLearned bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	before := &it.serving
	next.ModTime, next.Order = modTime(before, next), order(before, next)
	if !before.isZero() && next.Sum == before.Sum {
		next.Changed = before.Changed
	}
	it.pending = next
	r, _ = it.record()
	return r, before.isUnknown() && next.Sum == before.Sum
}

// endPublishing notes the outcome. It says whether it is one of so many that
// nobody wants to read of each.
func (e *Engine) endPublishing(it *item, err error) (quiet bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err == nil {
		it.serving = *it.pending
		it.dropWritten()
	}
	it.pending = nil
	if it.guardState != nil {
		if err == nil {
			it.accepted = nil
		} else {
			it.unjudge()
		}
	}
	return !e.isReady || !e.chatter.Allow()
}

// ownerOf returns the metaconfig that asks for a file; "" if none does any more.
func (e *Engine) ownerOf(it *item) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !it.wanted {
		return ""
	}
	return it.sub().Metaconfig
}

// abandon ends a publication that was interrupted by a panic.
func (e *Engine) abandon(it *item, err error) {
	e.mu.Lock()
	publishing := it.key.isFile() && it.pending != nil
	e.mu.Unlock()
	if publishing {
		e.endPublishing(it, err)
	}
}

// entry is what the sink is given.
func (s *served) entry(content []byte) Entry {
	return Entry{Content: content, ModTime: s.ModTime, Version: s.Version, ZKPath: s.ZKPath, Order: s.Order}
}

// order is next's place among the versions of a file: its zxid, unless that
// says nothing because it is another value's, or an ensemble's that has been
// restored from a backup.
func order(before, next *served) int64 {
	known := !before.isZero() && !before.isUnknown()
	if known && (before.ZKPath != next.ZKPath || before.Prefix != next.Prefix || next.Zxid < before.Zxid) {
		return 0
	}
	return next.Zxid
}

// modTime is the time that stat shows for next: the version's own, but the
// earlier content's if it is the same, and never the earlier one's if it isn't,
// because readers look at nothing else.
func modTime(before, next *served) time.Time {
	if !before.isZero() && before.Sum == next.Sum {
		return before.ModTime
	}
	t := next.ModTime
	if t.IsZero() {
		t = next.Changed
	}
	if t.Equal(before.ModTime) {
		t = t.Add(time.Millisecond)
	}
	return t
}
