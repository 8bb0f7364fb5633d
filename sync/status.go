package sync

import (
	"errors"
	"fmt"
)

// State says how what is served relates to what the fleet says.
type State string

// The states of a file.
const (
	Fresh  State = "fresh"  // the newest version, as far as ZooKeeper has told us
	Stale  State = "stale"  // the last good version: the newest can't be had, or isn't known
	Held   State = "held"   // a suspicious serverset is held back, the one before is served
	Absent State = "absent" // there is nothing to serve, or nothing could be had yet
)

// standing derives the state of a file, and why it isn't fresh. mu must be held.
func (e *Engine) standing(it *item) (State, error) {
	problem := e.problem(it)
	switch {
	case it.serving.isZero():
		return Absent, problem
	case it.isHeld():
		return Held, problem
	case problem != nil:
		return Stale, problem
	default:
		return Fresh, nil
	}
}

func (it *item) isHeld() bool { return it.guardState != nil && it.held }

// problem says why what is served may not be the newest. mu must be held.
func (e *Engine) problem(it *item) error {
	switch {
	case it.err != nil && it.isHeld():
		return fmt.Errorf("held back: %s; %w", it.heldReason, it.err)
	case it.err != nil:
		return it.err
	case e.away:
		return errDisconnected
	case it.unread:
		return errUnread
	case it.isHeld():
		return errors.New("held back: " + it.heldReason)
	case it.fetch != nil && it.fetch.slow:
		return errSlow
	case it.serving.isUnknown():
		return errFound
	case it.wanted && !it.serving.isZero() && !it.serving.isOf(source(it.sub())):
		return errOtherSource
	}
	return nil
}

// showStatus tells the sink how a file stands. mu must be held.
func (e *Engine) showStatus(it *item) {
	if !it.key.isFile() || it.serving.isZero() {
		return
	}
	state, problem := e.standing(it)
	e.cfg.Sink.SetStatus(it.key.fileType(), it.key.name, Status{State: state, SyncedAt: it.synced.time(), Err: errorText(problem)})
}
