package sync

import (
	"time"

	"github.com/kingpinfs/kingpin/store"
)

const (
	// awayAfter is how many failures in a row, of any items, make a backend
	// one that is away.
	awayAfter = 5
	// awayRate and awayBurst bound how often, in a second, a box asks a backend
	// that is away.
	awayRate  = 15
	awayBurst = 5
	// wakeAtOnce is how many items each success wakes after a backend was away:
	// few, so that it isn't thrown over again, but ever more.
	wakeAtOnce = 4
)

// stageHealth is how one stage of bringing files up to date has gone lately.
// The engine's mu guards it.
type stageHealth struct {
	failures int       // in a row, of any items
	silent   int       // of these, since the backend last gave an answer
	since    time.Time // of the first of the silent ones
	gone     bool      // it has been silent for so long that nobody need wait for it
	waiting  map[key]struct{}
	waking   []key // what waited when the stage began to work again, and hasn't been woken yet
	hushed   bool  // failures aren't logged one by one any more
}

func newStages() map[Stage]*stageHealth {
	stages := map[Stage]*stageHealth{}
	for _, s := range []Stage{StageNone, StageZooKeeper, StageS3, StagePublish} {
		stages[s] = &stageHealth{waiting: map[key]struct{}{}}
	}
	return stages
}

// isAway says that the backend doesn't answer, or refuses everybody.
func (h *stageHealth) isAway() bool { return h.silent >= awayAfter }

func (h *stageHealth) isSilentFor(now time.Time, d time.Duration) bool {
	return h.isAway() && now.Sub(h.since) >= d
}

// note counts a failure.
func (h *stageHealth) note(t trouble, now time.Time) {
	if t.stage == StageZooKeeper && t.isDefinite() {
		return // an answer like any other
	}
	h.failures++
	if t.kind == store.Unavailable || t.kind == store.Denied {
		if h.silent++; h.silent == 1 {
			h.since = now
		}
	} else {
		h.silent, h.gone = 0, false
	}
}

// passed notes that a stage worked, and wakes a few of those that wait for it
// after it failed for some time, instead of each by its own timer.
func (e *Engine) passed(s Stage) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.nowPassed(s)
}

// nowPassed is passed. mu must be held.
func (e *Engine) nowPassed(s Stage) {
	h := e.stages[s]
	if h.failures >= awayAfter && len(h.waking) == 0 {
		for k := range h.waiting {
			h.waking = append(h.waking, k)
		}
	}
	h.failures, h.silent, h.gone = 0, 0, false
	if h.hushed {
		h.hushed = false
		e.log.Info("what failed for file after file works again", "stage", string(s), "waiting", len(h.waiting))
	}
	for woken := 0; woken < wakeAtOnce && len(h.waking) > 0; {
		last := len(h.waking) - 1
		k := h.waking[last]
		h.waking = h.waking[:last]
		if _, ok := h.waiting[k]; ok {
			e.add(k)
			woken++
		}
	}
}

// stopWaiting notes that an item doesn't wait for a stage any more. mu must be
// held.
func (e *Engine) stopWaiting(k key) {
	for _, h := range e.stages {
		delete(h.waiting, k)
	}
}

// isHushed says whether a failure need not be logged, because so many failed
// before it in the same way; that is logged instead, once. mu must be held.
func (e *Engine) isHushed(s Stage, err error) bool {
	h := e.stages[s]
	if s == StageNone || h.failures <= awayAfter || len(h.waiting) <= awayAfter {
		return false
	}
	if !h.hushed {
		h.hushed = true
		e.log.Warn("file after file can't be brought up to date; further ones are logged when it works again; what was served before stays",
			"stage", string(s), "error", err)
	}
	return true
}
