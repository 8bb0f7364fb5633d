package main

import "context"

// finish takes the mounts away, while the worker goes on serving those who are
// in the middle of reading, and ends the worker. With handOver the mounts stay.
func (l *life) finish(handOver bool) {
	// First, while the worker serves: later nobody may answer a wakeup.
	l.stopWakers()
	if !handOver {
		l.copyFirst()
		l.unmount()
	}
	l.retire()
}

// copyFirst waits until no plain file is older than what a mount serves, and none
// gets older any more.
func (l *life) copyFirst() {
	if !l.isWaitedFor() {
		return // there are no mounts
	}
	ctx, cancel := context.WithTimeout(context.Background(), l.pace.copied)
	defer cancel()
	l.answer(message{Kind: sayUnmounting})
	l.listenUntil(ctx.Done(), sayAhead)
}

func (l *life) unmount() {
	select {
	case <-l.worker.dead: // nobody would be served
		for _, h := range l.volumes {
			h.settle()
			h.abort("the monitor is ending")
		}
		return
	default:
	}
	var err error
	unmounted := make(chan struct{})
	go func() {
		defer close(unmounted)
		err = errorsOf(l.volumes, func(h *held) error { return h.unmount(context.Background()) })
	}()
	l.listenUntil(unmounted, "")
	<-unmounted
	if err != nil {
		l.log.Error("unmounting", "error", err)
	}
}

// listenUntil keeps the worker, which is about to end, from waiting for the holder:
// until done is closed, the worker has said what is awaited, or it is dead.
func (l *life) listenUntil(done <-chan struct{}, awaited messageKind) {
	for {
		select {
		case <-done:
			return
		case <-l.worker.dead:
			return
		case m, ok := <-l.messages:
			switch {
			case !ok:
				l.messages = nil
			case m.Kind == awaited:
				return
			case m.Kind == sayWake:
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
	ctx, cancel := context.WithTimeout(context.Background(), l.pace.stop)
	defer cancel()
	l.listenUntil(ctx.Done(), "")
	select {
	case <-l.worker.dead:
	default:
		l.log.Error("the worker doesn't end and is killed", "pid", l.worker.Pid)
		l.worker.kill()
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
