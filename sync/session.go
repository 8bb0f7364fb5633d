package sync

import (
	"errors"
	"time"
)

// disconnectGrace is how long ZooKeeper may be away before what is served
// counts as stale: changing servers takes a moment, and is no news.
const disconnectGrace = 2 * time.Second

var (
	errDisconnected = errors.New("ZooKeeper can't be reached; what was served before stays")
	errUnread       = errors.New("not read yet since the ZooKeeper session began")
	errOtherSource  = errors.New("the metaconfig names another source now, from which nothing could be served yet")
	errFound        = errors.New("found in the directory; the fleet hasn't been asked yet what it should be")
	errSlow         = errors.New("fetching a newer version takes long")
)

// Connected says that there is a ZooKeeper session; newSession, that no watch
// of an earlier one is left, so that everything must be read again. It doesn't
// wait for that.
func (e *Engine) Connected(newSession bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.stopped {
		return
	}
	first := !e.everSeen
	e.connected, e.everSeen, e.away = true, true, false
	if newSession {
		e.sessions++
	}
	if e.lostTimer != nil {
		e.lostTimer.Stop()
	}
	e.seq++
	for k, it := range e.items {
		if newSession {
			it.unread = true
			if it.wanted && !k.isFile() {
				e.raiseDoubt(it)
			}
		}
		switch {
		case it.parked && (first || it.changed || !it.settled):
			e.add(k)
		case first && newSession:
			e.add(k)
		case it.parked || newSession:
			// All boxes were away together; they must not come back at once.
			e.addAfter(k, jitter(e.cfg.SessionSpread))
		}
		it.parked = false
		e.showStatus(it)
	}
	for k := range e.stages[StageZooKeeper].waiting {
		e.addAfter(k, jitter(time.Second))
	}
}

// Disconnected says that ZooKeeper can't be reached. Nothing is read until it
// can.
func (e *Engine) Disconnected() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.connected || e.stopped {
		return
	}
	e.connected, e.lostAt = false, time.Now()
	if e.lostTimer == nil {
		e.lostTimer = time.AfterFunc(disconnectGrace, e.markAway)
	} else {
		e.lostTimer.Reset(disconnectGrace)
	}
}

// markAway makes what is served stale when ZooKeeper has been away for long.
func (e *Engine) markAway() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.connected || e.stopped || time.Since(e.lostAt) < disconnectGrace {
		return
	}
	e.away = true
	for _, it := range e.items {
		e.showStatus(it)
	}
}

func (e *Engine) stopSession() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.stopped = true
	if e.lostTimer != nil {
		e.lostTimer.Stop()
	}
}

// SessionExpired counts a lost session. Connected(true) follows when there is a
// new one.
func (e *Engine) SessionExpired() { e.stats.SessionsExpired.Add(1) }
