package sync

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/kingpinfs/kingpin/store"
)

const (
	// outdatedGrace is how long a download may go on when a newer version is
	// known: one that is about to succeed is better finished.
	outdatedGrace = time.Second
	// slowFetch is after how long a download no longer counts as work in
	// progress.
	slowFetch = time.Second
	// firstFetchTimeout bounds the first download of an item. Each failure in a
	// row doubles it.
	firstFetchTimeout = 5 * time.Second
)

var errRationed = errors.New("S3 has not answered for some time and is asked only now and then")

// fetchContent downloads a version's content. Items that need the same object
// at the same time share one download.
func (e *Engine) fetchContent(ctx context.Context, it *item, ref store.Ref, v store.Version) ([]byte, error) {
	ctx, f, err := e.beginFetch(ctx, it, v)
	if err != nil {
		return nil, fetchError{err}
	}
	slow := time.AfterFunc(slowFetch, func() { e.markSlow(it, f) })
	defer slow.Stop()
	defer e.endFetch(it, f)
	content, err, shared := e.flights.Do(ref.Key(v), func() (any, error) {
		e.stats.Fetches.Add(1)
		value, err := e.cfg.Contents.GetVersion(ctx, ref, v)
		return value.Content, err
	})
	switch {
	case err == nil:
		e.fetched(f)
		return content.([]byte), nil //nolint:errcheck // it is what the function above returns
	case e.isEnded(f):
		return nil, errNotNow
	case shared && errors.Is(err, context.Canceled) && ctx.Err() == nil:
		// Another item's download was ended, not ours.
		e.add(it.key)
		return nil, errNotNow
	}
	e.stats.FetchErrors.Add(1)
	return nil, fetchError{it.key.adviseFetch(err)}
}

// beginFetch notes a download. The error says that S3 isn't to be asked now.
func (e *Engine) beginFetch(ctx context.Context, it *item, v store.Version) (context.Context, *fetching, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.stages[StageS3].isAway() && !e.ration.Allow() {
		return nil, nil, &store.Error{Op: "fetching version", Subject: string(v), Kind: store.Unavailable, Err: errRationed}
	}
	timeout := e.fetchTimeout(it)
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("not done within %v", timeout))
	f := &fetching{key: it.key, started: time.Now(), timeout: timeout, cancel: cancel, patient: it.gaveUp}
	it.fetch = f
	e.fetches[f] = struct{}{}
	return ctx, f, nil
}

// fetchTimeout says how long a download may take: longer after each failure, as
// it may be slow rather than dead. But while S3 is away there must always be
// workers to find out soon that it is back. mu must be held.
func (e *Engine) fetchTimeout(it *item) time.Duration {
	timeout := min(e.cfg.FetchTimeout, firstFetchTimeout<<min(it.failures, 10))
	if timeout <= firstFetchTimeout || !e.stages[StageS3].isAway() {
		return timeout
	}
	long := 0
	for f := range e.fetches {
		if f.timeout > firstFetchTimeout {
			long++
		}
	}
	if long >= max(1, e.cfg.Workers/2) {
		return firstFetchTimeout
	}
	return timeout
}

// endFetch notes the end of a download.
func (e *Engine) endFetch(it *item, f *fetching) {
	e.mu.Lock()
	defer e.mu.Unlock()
	f.cancel()
	if f.deadline != nil {
		f.deadline.Stop()
	}
	delete(e.fetches, f)
	it.fetch = nil
	it.gaveUp = f.ended
}

// fetched notes that a download succeeded, even if it was to be ended.
func (e *Engine) fetched(f *fetching) {
	e.mu.Lock()
	defer e.mu.Unlock()
	f.ended = false
	if e.stages[StageS3].isAway() {
		e.restartFetches(f.started)
	}
	e.nowPassed(StageS3)
}

func (e *Engine) isEnded(f *fetching) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return f.ended
}

// markSlow lets another item be worked on beside a download that takes long,
// and says so of the file.
func (e *Engine) markSlow(it *item, f *fetching) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if it.fetch != f {
		return
	}
	f.slow = true
	it.slot.give()
	e.showStatus(it)
}

// hurryFetch sees to it that a download that a newer version has made pointless
// doesn't hold up that version: it gets a moment to end. But never twice in a
// row, or a value that changes faster than it can be downloaded would never
// arrive. mu must be held.
func (e *Engine) hurryFetch(it *item, grace time.Duration) {
	if f := it.fetch; f != nil && f.deadline == nil && !f.patient {
		f.deadline = time.AfterFunc(grace, func() { e.endEarly(f) })
	}
}

func (e *Engine) endEarly(f *fetching) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, ok := e.fetches[f]; ok {
		f.end()
	}
}

// end ends a download. The item must be due again. mu must be held.
func (f *fetching) end() {
	f.ended = true
	f.cancel()
}

// restartFetches begins the downloads again that began before the one that
// shows that S3 is back: they may be waiting for an answer that got lost while
// it was away. mu must be held.
func (e *Engine) restartFetches(before time.Time) {
	for f := range e.fetches {
		if !f.patient && !f.ended && f.started.Before(before) {
			f.end()
			e.add(f.key)
		}
	}
}
