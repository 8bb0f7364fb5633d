package sync

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/kingpinfs/kingpin/store"
)

// publishError marks what the sink, not a backend, refused.
type publishError struct{ error }

func (e publishError) Unwrap() error { return e.error }

// fetchError marks what S3 answered, or didn't.
type fetchError struct{ error }

func (e fetchError) Unwrap() error { return e.error }

// Stage is the step in which bringing a file up to date failed.
type Stage string

// The stages.
const (
	StageNone      Stage = ""          // it didn't fail, or what was read is not valid
	StageZooKeeper Stage = "zookeeper" // reading the znode
	StageS3        Stage = "s3"        // fetching the content
	StagePublish   Stage = "publish"   // handing it to the sink
)

func stageOf(err error) Stage {
	kind := store.KindOf(err)
	switch {
	case err == nil:
		return StageNone
	case errors.As(err, new(publishError)):
		return StagePublish
	case errors.As(err, new(fetchError)):
		return StageS3
	case kind == store.NotFound || kind == store.Unavailable || kind == store.Denied:
		return StageZooKeeper
	default:
		return StageNone
	}
}

const (
	firstRetry   = 100 * time.Millisecond
	quickRetry   = 5 * time.Second  // the longest wait for what may heal any moment
	patientRetry = 30 * time.Second // the longest wait for what somebody must mend
	slowestRetry = time.Minute
)

// After this many attempts without an answer from S3 an item no longer keeps
// the monitor from being ready.
const settledAttempts = 3

// conclude draws the consequences of an attempt: the file's status, the next
// attempt, readiness. mu must not be held.
func (e *Engine) conclude(it *item, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := time.Now()
	it.processed = now
	if e.items[it.key] != it {
		return // it has been retired
	}
	news := errorText(err) != errorText(it.err)
	it.err = err
	if err == nil {
		if it.wanted {
			it.synced = now
		}
		it.failures = 0
		delete(e.failing, it.key)
	} else {
		it.failures++
		e.failing[it.key] = store.KindOf(err)
		if wait := e.retryIn(it.failures, err); wait > 0 {
			e.queue.AddAfter(it.key, wait)
		}
	}
	if news {
		e.logOutcome(it)
	}
	e.showStatus(it)
	if it.wanted && !it.settled && (store.KindOf(err) != store.Unavailable || e.connected && it.failures >= settledAttempts) {
		e.settle(it)
	}
}

func (e *Engine) logOutcome(it *item) {
	if it.err == nil {
		e.log.Info("recovered", "name", it.key.name, "zk_path", it.path)
		return
	}
	level := slog.LevelWarn
	if !e.connected && store.KindOf(it.err) == store.Unavailable {
		level = slog.LevelDebug // said once, for ZooKeeper as a whole
	}
	e.log.Log(context.Background(), level, "can't bring up to date; what was served before stays",
		"name", it.key.name, "zk_path", it.path, "error", it.err)
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// retryIn says how long to wait before the next attempt after so many failures
// in a row; 0 if only a change of the znode can help. mu must be held.
func (e *Engine) retryIn(failures int, err error) time.Duration {
	limit := patientRetry
	switch {
	case errors.As(err, new(publishError)):
		limit = quickRetry
	default:
		switch store.KindOf(err) {
		case store.Invalid, store.TooLarge:
			return 0
		case store.Unavailable:
			// However many items wait for a backend, one box asks it at most
			// twenty times a second.
			limit = min(max(quickRetry, time.Duration(len(e.failing))*50*time.Millisecond), slowestRetry)
		}
	}
	wait := limit
	if failures < 12 {
		wait = min(limit, firstRetry<<(failures-1))
	}
	return wait/2 + rand.N(wait/2)
}

// settle notes that the first load of an item is over. mu must be held.
func (e *Engine) settle(it *item) {
	it.settled = true
	e.unsettled--
	e.checkReady()
}

// checkReady notices the end of the first load. mu must be held.
func (e *Engine) checkReady() {
	if e.isReady || e.unsettled > 0 {
		return
	}
	e.isReady = true
	// What an earlier process served and nothing asks for any more was kept
	// until now, when that is certain.
	for k, it := range e.items {
		if !it.wanted {
			e.queue.Add(k)
		}
	}
	close(e.ready)
}

// A fetch from S3 has come to an end. When S3 is back after it was away,
// whoever waits for it is woken, instead of each by its own timer.
func (e *Engine) noteFetch(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if store.KindOf(err) == store.Unavailable {
		e.s3Failures++
		return
	}
	if e.s3Failures > settledAttempts {
		e.wakeFailing()
	}
	e.s3Failures = 0
}

// wakeFailing makes due, within a second, all that a backend kept from being
// read. mu must be held.
func (e *Engine) wakeFailing() {
	for k, kind := range e.failing {
		if kind == store.Unavailable {
			e.queue.AddAfter(k, jitter(time.Second))
		}
	}
}
