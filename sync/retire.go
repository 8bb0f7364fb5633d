package sync

import (
	"math"
	"slices"

	"github.com/kingpinfs/kingpin/metaconfig"
	"github.com/kingpinfs/kingpin/store"
)

// What nothing asks for any more is taken away when that is certain. A
// metaconfig that moves from one dependency to another is added here and
// removed there, and both are read at the same time by different workers, in
// any order: if the removal is seen first, what comes of the addition must be
// waited for. The same holds for a file that moves between metaconfigs.
//
// So the engine counts moments (seq). An item has been in doubt since the
// moment at which ZooKeeper spoke of a change of it, until an attempt has ended
// that began after that, in success or not. What became unwanted at a moment
// stays until no dependency and no metaconfig has been in doubt for longer.

// raiseDoubt notes that a dependency or a metaconfig may ask for something else
// than is known of it. mu must be held.
func (e *Engine) raiseDoubt(it *item) {
	it.doubted = e.seq
	if it.doubt == 0 {
		it.doubt = e.seq
		e.doubts[it.doubt]++
	}
}

// dropDoubt ends the doubt in an item. mu must be held.
func (e *Engine) dropDoubt(it *item) {
	if it.key.isFile() || it.doubt == 0 {
		return
	}
	if e.doubts[it.doubt]--; e.doubts[it.doubt] == 0 {
		delete(e.doubts, it.doubt)
	}
	it.doubt = 0
}

// answerDoubt notes that an attempt that began at since has ended, and whether
// it told what the item asks for. mu must be held.
func (e *Engine) answerDoubt(it *item, since uint64) {
	wasBlind := e.isBlind(it.key)
	gone := it.trouble() == trouble{StageZooKeeper, store.NotFound}
	if it.wanted && it.err != nil && (!gone || e.isRoot(it.key)) {
		e.blind[it.key] = struct{}{}
	} else {
		delete(e.blind, it.key)
	}
	hadDoubt := it.doubt != 0
	again := it.wanted && it.doubted > since
	e.dropDoubt(it)
	if again {
		it.doubt = it.doubted
		e.doubts[it.doubt]++
	}
	if hadDoubt || wasBlind {
		e.retryRetiring()
	}
}

// isRoot tells the dependencies that the box was told to follow. If one of them
// doesn't exist, its name may be mistaken, or the ensemble.
func (e *Engine) isRoot(k key) bool {
	return k.kind == dependencyItem && slices.Contains(e.cfg.Dependencies, k.name)
}

func (e *Engine) isBlind(k key) bool {
	_, blind := e.blind[k]
	return blind
}

// oldestDoubt is the moment since which any item has been in doubt. mu must be
// held.
func (e *Engine) oldestDoubt() uint64 {
	oldest := uint64(math.MaxUint64)
	for since := range e.doubts {
		oldest = min(oldest, since)
	}
	return oldest
}

// mayRetire says whether it is certain that nothing asks for an unwanted item.
// mu must be held.
func (e *Engine) mayRetire(it *item) bool {
	switch {
	case e.oldestDoubt() <= it.unwantedAt:
		return false
	case (it.key.isFile() || it.restored) && !e.loaded:
		return false
	case !it.restored:
		return true
	case it.key.isFile() && it.adopted:
		// Whatever can't be read may ask for it.
		return len(e.blind) == 0
	}
	// Whatever asked for it before the restart may do so still, where that
	// can't be read.
	if it.key.isFile() && e.isBlind(key{metaconfigItem, it.savedFor}) {
		return false
	}
	for k := range e.blind {
		if k.kind == dependencyItem {
			return false
		}
	}
	return true
}

// retryRetiring makes due what may have become certain enough to be taken away.
// mu must be held.
func (e *Engine) retryRetiring() {
	for k := range e.lingering {
		if it := e.items[k]; it == nil || it.wanted || e.mayRetire(it) {
			delete(e.lingering, k)
			e.add(k)
		}
	}
}

// unwant makes the item one that is taken away when that is certain. mu must be
// held.
func (e *Engine) unwant(it *item) {
	if !it.wanted {
		return
	}
	it.wanted = false
	it.unwantedAt = e.seq
	e.dropDoubt(it)
	delete(e.blind, it.key)
	e.stopWaiting(it.key)
	e.add(it.key)
	if !it.settled {
		e.unsettled--
		e.checkReady()
	}
	if !it.key.isFile() {
		e.retryRetiring()
	}
}

// retire takes away what nothing asks for any more.
func (e *Engine) retire(it *item) error {
	if it.key.isFile() {
		it.sinking.Lock()
		defer it.sinking.Unlock()
	}
	adopted, ok := e.beginRetiring(it)
	switch {
	case !ok:
		return errNotNow
	case adopted:
		e.cfg.Sink.Disown(it.key.fileType(), it.key.name)
	case it.key.isFile():
		if err := e.cfg.Sink.Remove(it.key.fileType(), it.key.name); err != nil {
			e.stats.PublishErrors.Add(1)
			return publishError{err}
		}
		e.passed(StagePublish)
	}
	if e.endRetiring(it) {
		e.save(record{Kind: recordKind(it.key.kind), Name: it.key.name, Dropped: true})
	}
	return nil
}

// beginRetiring says whether the item may be taken away, and whether it is a
// file that was only found in the directory, and stays there.
func (e *Engine) beginRetiring(it *item) (adopted, ok bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if it.wanted || !e.mayRetire(it) {
		e.lingering[it.key] = struct{}{}
		e.notLeaving(it.key)
		return false, false
	}
	return it.key.isFile() && it.adopted, true
}

// endRetiring forgets the item, and returns true, unless something asks for it
// again meanwhile; then it will be read anew.
func (e *Engine) endRetiring(it *item) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if it.key.isFile() {
		switch {
		case it.adopted:
			e.log.Debug("found in the directory, and nothing asks for it; no longer served", "name", it.key.name)
		case !it.serving.isZero():
			e.log.Info("no longer subscribed; removed", "name", it.key.name)
		}
		it.forgetServed()
	}
	if it.wanted {
		return it.key.isFile()
	}
	if it.key.kind == metaconfigItem {
		e.setSubs(it, nil)
	}
	e.setPath(it, "")
	e.stopWaiting(it.key)
	delete(e.lingering, it.key)
	delete(e.items, it.key)
	e.notLeaving(it.key)
	return true
}

// forgetServed notes that a file's readers see nothing. mu must be held.
func (it *item) forgetServed() {
	// A server that lags behind must not bring back what has been taken away.
	it.zxid = max(it.zxid, it.serving.Zxid+1)
	it.serving, it.pending, it.written = served{}, nil, nil
	if it.guardState != nil {
		it.guardState = &guardState{}
	}
}

// setSubs claims the files that a metaconfig asks for and releases those that
// it doesn't ask for any more. mu must be held.
func (e *Engine) setSubs(it *item, subs []*metaconfig.Subscription) {
	old := it.subs
	it.subs = subs
	kept := make(map[key]bool, len(subs))
	for _, sub := range subs {
		kept[fileKey(sub.Type, sub.File)] = true
		e.claim(sub)
	}
	for _, sub := range old {
		if k := fileKey(sub.Type, sub.File); !kept[k] {
			e.release(sub.Metaconfig, k)
		}
	}
}
