package main

import (
	"context"
	"time"
)

// finish takes the mounts away, while the worker goes on serving those who are
// in the middle of reading, and ends the worker. With handOver the mounts stay.
func (l *life) finish(handOver bool) {
	// First, while the worker serves: later nobody may answer a wakeup.
	l.stopWakers()
	if !handOver {
		l.unmount()
	}
	l.retire()
}

func (l *life) unmount() {
	select {
	case <-l.worker.dead: // nobody would be served
		for _, h := range l.volumes {
			h.abort("the monitor is ending")
		}
		return
	default:
	}
	unmounted := make(chan error, 1)
	go func() {
		unmounted <- errorsOf(l.volumes, func(h *held) error { return h.unmount(context.Background()) })
	}()
	l.listenUntil(unmounted)
}

// listenUntil keeps the worker from waiting for the holder while the mounts are
// taken away.
func (l *life) listenUntil(unmounted <-chan error) {
	for {
		select {
		case err := <-unmounted:
			if err != nil {
				l.log.Error("unmounting", "error", err)
			}
			return
		case m, ok := <-l.messages:
			if !ok {
				l.messages = nil
			} else if m.Kind == sayWake {
				l.answer(message{Kind: sayWoken, ID: m.ID, Error: "the monitor is ending"})
			}
		case <-l.beats:
		case <-l.gone:
		}
	}
}

// retire has the worker save everything and end.
func (l *life) retire() {
	l.answer(message{Kind: sayStop})
	timeout := time.NewTimer(l.pace.stop)
	defer timeout.Stop()
	for {
		select {
		case <-l.worker.dead:
			return
		case _, ok := <-l.messages:
			if !ok {
				l.messages = nil
			}
		case <-l.beats:
		case <-l.gone:
		case <-timeout.C:
			l.log.Error("the worker doesn't end and is killed", "pid", l.worker.Pid)
			l.worker.kill()
			return
		}
	}
}

// resync has the worker read everything again.
func (l *life) resync() {
	l.log.Info("SIGHUP: reading everything again")
	defer l.reloading()()
	if err := l.worker.control.send(message{Kind: sayResync}); err != nil {
		l.log.Warn("the worker can't be told to read everything again; the next one does", "error", err)
	}
}
