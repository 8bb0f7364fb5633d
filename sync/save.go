package sync

import (
	"context"
	"errors"
	"iter"
	"maps"
	"slices"
	"time"
)

const (
	// flushDelay is how long published versions may be lost to a power failure.
	flushDelay = time.Second
	// saveRetry is how long the state waits to be saved again after that
	// failed.
	saveRetry = 5 * time.Second
)

// flushLoop makes what has been published durable, a moment later and many at
// once: a disk flush for each would make a cold start take minutes.
func (e *Engine) flushLoop(ctx context.Context) {
	delay := flushDelay
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.flushNow:
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(delay):
		}
		err := e.flush()
		e.noteSaved(err)
		if delay = flushDelay; err != nil {
			delay = saveRetry
			e.flushSoon()
		}
	}
}

// flush makes what has been published durable, and writes the journal anew if
// it is time.
func (e *Engine) flush() error {
	if e.journal.WantsRewrite(e.size()) {
		return e.journal.Rewrite(e.records(), e.cfg.Sink.Flush)
	}
	// The contents first: a record must not survive what it speaks of.
	return errors.Join(e.cfg.Sink.Flush(), e.journal.Sync())
}

// flushSoon makes the flushLoop run, if it doesn't already.
func (e *Engine) flushSoon() {
	select {
	case e.flushNow <- struct{}{}:
	default:
	}
}

// save appends a record. Serving goes on if it can't be saved: an old state on
// disk only matters at the next start. mu must not be held.
func (e *Engine) save(r record) {
	if err := e.journal.Append(r); err != nil {
		e.noteSaved(err)
	}
	e.flushSoon()
}

// stateAdvice is what an administrator must know when the state can't be saved.
const stateAdvice = "the state can't be saved: after a restart older content is served until ZooKeeper and S3 answer; free or mend the state directory"

// noteSaved says once that the state can't be saved, and once that it can
// again.
func (e *Engine) noteSaved(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err != nil {
		e.stats.StateErrors.Add(1)
	}
	was := e.stateErr
	if !errors.Is(err, errBroken) || was == nil { // which only follows from something else
		e.stateErr = err
	}
	switch {
	case (was != nil) == (err != nil):
	case err != nil:
		e.log.Warn(stateAdvice,
			"state_dir", e.cfg.StateDir, "error", err)
	default:
		e.log.Info("the state is saved again", "state_dir", e.cfg.StateDir)
	}
}

// records yields what must survive a restart. It takes the items one by one, so
// that nobody has to wait, and not all records are in memory at once.
func (e *Engine) records() iter.Seq[record] {
	return func(yield func(record) bool) {
		for _, k := range e.keys() {
			if r, ok := e.recordOf(k); ok && !yield(r) {
				return
			}
		}
	}
}

// size returns how many items there are.
func (e *Engine) size() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.items)
}

func (e *Engine) keys() []key {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Collect(maps.Keys(e.items))
}

func (e *Engine) recordOf(k key) (record, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	it := e.items[k]
	if it == nil {
		return record{}, false
	}
	return it.record()
}
