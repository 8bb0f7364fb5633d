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

// trouble is what kind of failure an attempt ended in. A retry that ends in the
// same is no news.
type trouble struct {
	stage Stage
	kind  store.Kind
}

func troubleOf(err error) trouble { return trouble{stageOf(err), store.KindOf(err)} }

// trouble is what kind of failure the last attempt ended in. mu must be held.
func (it *item) trouble() trouble { return troubleOf(it.err) }

// isDefinite says that repeating the read doesn't change the answer, as long as
// everybody keeps to the rules: a change of the znode can, and its watch will
// tell.
func (t trouble) isDefinite() bool {
	switch {
	case t.stage == StagePublish:
		return t.kind == store.Invalid
	case t.stage == StageZooKeeper && t.kind == store.NotFound:
		return true
	default:
		return t.kind == store.Invalid || t.kind == store.TooLarge
	}
}

const (
	firstRetry   = 100 * time.Millisecond
	quickRetry   = 5 * time.Second  // the longest wait for what may heal any moment
	patientRetry = 30 * time.Second // the longest wait for what somebody must mend
)

// After so many attempts without an answer an item no longer keeps the monitor
// from being ready; after so long without one, of any item, none does.
const (
	settledAttempts = 3
	goneAfter       = 3 * time.Second
)

// conclude draws the consequences of an attempt: the file's status, the next
// attempt, readiness.
func (e *Engine) conclude(it *item, began beginning, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := time.Now()
	if e.items[it.key] != it {
		return // it has been retired
	}
	t := troubleOf(err)
	if t == (trouble{StageZooKeeper, store.Unavailable}) {
		switch {
		case !e.connected:
			it.parked = true // it failed with the connection, and will be read when that is back
			return
		case it.failures == 0 && now.Sub(began.at) < disconnectGrace:
			// Perhaps the connection is lost, and we don't know it yet.
			it.failures++
			e.addAfter(it.key, firstRetry)
			return
		}
	}
	news := t != it.trouble() || (err == nil) != (it.err == nil)
	it.err = err
	it.processed, it.changed = momentOf(now), false
	if err == nil {
		it.succeed(now)
		e.stopWaiting(it.key)
	} else {
		it.failures++
		e.planRetry(it, t, now)
	}
	if !it.key.isFile() {
		e.answerDoubt(it, began.seq)
	}
	if news {
		e.logOutcome(it)
	}
	e.showStatus(it)
	e.settleTried(it)
	if h := e.stages[t.stage]; err != nil && !h.gone && h.isSilentFor(now, goneAfter) {
		h.gone = true
		for k := range h.waiting {
			e.settleTried(e.items[k])
		}
	}
}

// succeed notes that what is served is what ZooKeeper says. mu must be held.
func (it *item) succeed(now time.Time) {
	it.failures = 0
	if !it.wanted {
		return
	}
	it.unread = false
	if !it.isHeld() {
		it.synced = momentOf(now)
	}
}

// isTried says that waiting for the item any longer is pointless for who waits
// for the monitor to be ready. mu must be held.
func (e *Engine) isTried(it *item) bool {
	t := it.trouble()
	if t.kind != store.Unavailable {
		return true
	}
	return e.connected && (it.failures >= settledAttempts || e.stages[t.stage].gone)
}

// logOutcome says how the item stands now. mu must be held.
func (e *Engine) logOutcome(it *item) {
	if it.err == nil {
		if it.reported {
			e.log.Info("recovered", "name", it.key.name, "zk_path", it.path)
		}
		it.reported = false
		return
	}
	if it.key.isFile() && it.serving.isZero() && errors.Is(it.err, errNeverWritten) {
		e.log.Info("nothing to serve yet", "name", it.key.name, "zk_path", it.path, "error", it.err)
		return
	}
	level := slog.LevelWarn
	if e.isHushed(it.trouble().stage, it.err) {
		level = slog.LevelDebug
	} else {
		it.reported = true
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

// planRetry makes the item due again, if trying again can help. mu must be held.
func (e *Engine) planRetry(it *item, t trouble, now time.Time) {
	e.stopWaiting(it.key)
	h := e.stages[t.stage]
	h.note(t, now)
	if t.isDefinite() {
		if t.stage != StageZooKeeper {
			// Somebody may mend an object in its place.
			wait := patientRetry << min(it.failures-1, 4)
			e.addAfter(it.key, wait-rand.N(wait/2))
		}
		return
	}
	h.waiting[it.key] = struct{}{}
	e.addAfter(it.key, retryIn(it.failures, t, len(h.waiting)))
}

// retryIn says how long to wait before the next attempt after so many failures
// in a row, of an item that is one of so many that wait.
func retryIn(failures int, t trouble, waiting int) time.Duration {
	limit := patientRetry
	if t.stage == StagePublish || t.kind == store.Unavailable {
		limit = quickRetry
	}
	wait := min(limit, firstRetry<<min(failures-1, 10))
	wait = wait/2 + rand.N(wait/2)
	// However many items wait, one box asks no more often than awayRate, but
	// also if all of them were put off at the same moment it soon asks again.
	turn := time.Duration(waiting) * time.Second / awayRate
	return max(wait, rand.N(2*turn))
}

// settleTried notes that the first load of an item is over, if it is. mu must
// be held.
func (e *Engine) settleTried(it *item) {
	if it.wanted && !it.settled && e.isTried(it) {
		it.settled = true
		e.unsettled--
		e.checkReady()
	}
}

// checkReady notices the end of the first load. mu must be held.
func (e *Engine) checkReady() {
	if !e.loaded && e.unsettled == 0 {
		e.loaded = true
		e.findLeaving()
		e.retryRetiring()
	}
	if e.loaded && !e.isReady && len(e.leaving) == 0 {
		e.isReady = true
		close(e.ready)
	}
}
