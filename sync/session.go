package sync

import (
	"errors"
	"time"
)

// How long ZooKeeper may be away before what is served counts as stale:
// changing servers takes a moment, and is no news.
const disconnectGrace = 2 * time.Second

var errDisconnected = errors.New("ZooKeeper can't be reached; what was served before stays")

// Connected says that there is a ZooKeeper session; newSession, that no watch
// of an earlier one is left, so that everything must be read again. It doesn't
// block.
func (e *Engine) Connected(newSession bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.connected = true
	if e.lostTimer != nil {
		e.lostTimer.Stop()
		e.lostTimer = nil
	}
	spread := time.Duration(0)
	if e.everSeen {
		spread = e.cfg.SessionSpread
	}
	e.everSeen = true
	for k, it := range e.items {
		if newSession && !it.parked {
			e.queue.AddAfter(k, jitter(spread))
		}
		if it.parked {
			// Somebody waits for it, or it changed while we were away.
			it.parked = false
			e.queue.Add(k)
		}
		e.showStatus(it)
	}
	e.wakeFailing()
}

// Disconnected says that ZooKeeper can't be reached. Nothing is read until it
// can. It doesn't block.
func (e *Engine) Disconnected() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.connected = false
	if e.lostTimer == nil {
		e.lostTimer = time.AfterFunc(disconnectGrace, e.markDisconnected)
	}
}

func (e *Engine) markDisconnected() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.connected {
		return
	}
	for _, it := range e.items {
		e.showStatus(it)
	}
}

// SessionExpired counts a lost session. Connected(true) follows when there is a
// new one.
func (e *Engine) SessionExpired() { e.stats.SessionsExpired.Add(1) }

// showStatus tells the sink how a file stands. mu must be held.
func (e *Engine) showStatus(it *item) {
	if !it.key.isFile() || it.serving.isZero() {
		return
	}
	status := Status{State: it.state(e.connected), SyncedAt: it.synced, Err: errorText(it.err)}
	if !e.connected && status.Err == "" {
		status.Err = errDisconnected.Error()
	}
	e.cfg.Sink.SetStatus(it.key.fileType(), it.key.name, status)
}
