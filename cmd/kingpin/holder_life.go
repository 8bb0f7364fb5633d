package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// life is one worker's, from its start to its end.
type life struct {
	*supervisor
	worker *process
	end    ending

	messages <-chan message // the worker's; nil when there are no more
	serveBy  *alarm         // when it must serve, if readers wait for it
	serving  chan struct{}  // closed when it serves the mounts
	beats    chan error     // whether it answers; see watchBeats
	pongs    chan struct{}  // one slot
	failure  *workerError   // what it said before it ended; nil if nothing
}

// workerError is why a worker found that it can't do its work.
type workerError struct {
	text string
	code int // the exit code that tells it
}

func (e *workerError) Error() string { return e.text }

// live starts a worker and returns when it is dead. The error is that of the
// first worker of all, if it couldn't do its work.
func (s *supervisor) live(ctx context.Context) (ending, error) {
	w, err := s.startWorker(ctx)
	switch {
	case ctx.Err() != nil && err != nil:
		return ending{}, nil
	case err != nil && !s.worked:
		return ending{}, err
	case err != nil:
		return ending{how: err.Error(), code: killed}, nil
	}
	defer w.leave()
	l := &life{
		supervisor: s, worker: w, messages: w.messages, end: ending{pid: w.Pid},
		serveBy: newAlarm(), serving: make(chan struct{}), beats: make(chan error), pongs: make(chan struct{}, 1),
	}
	err = l.run(ctx)
	l.end.lasted = time.Since(w.started)
	if l.end.served {
		s.served = time.Now()
	}
	return l.end, err
}

func (l *life) run(ctx context.Context) error {
	defer l.watchBeats()()
	children := make(chan os.Signal, 1)
	signal.Notify(children, syscall.SIGCHLD)
	defer signal.Stop(children)
	stopped := newAlarm()
	defer stopped.stop()
	retry := newAlarm()
	defer retry.stop()
	defer l.serveBy.stop()
	if l.isWaitedFor() {
		l.serveBy.at(l.serveLimit())
	}
	for {
		retry.at(l.nextRetry())
		select {
		case <-ctx.Done():
			l.finish(errors.Is(context.Cause(ctx), errHandOver))
			return nil
		case <-l.worker.dead:
			return l.bury()
		case m, ok := <-l.messages:
			if !ok {
				l.messages = nil // the end is near
				continue
			}
			if err := l.handle(m); err != nil {
				l.finish(false)
				return err
			}
		case <-l.serveBy.c():
			l.kill("it didn't serve in time")
		case err := <-l.beats:
			if err == nil {
				l.hangs = 0
				continue
			}
			l.end.hung = true
			l.kill(err.Error())
		case <-children:
			if l.worker.isStopped() {
				stopped.at(time.Now().Add(l.pace.stopped))
			}
		case <-stopped.c():
			if l.worker.isStopped() {
				l.end.hung = true
				l.kill("it was stopped")
			}
		case h := <-l.gone:
			l.lost(h)
		case <-retry.c():
			if l.connect(ctx) {
				l.end.replaced, l.end.how = true, "it was ended to make a mount again"
				l.retire()
				return nil
			}
		case <-l.reload:
			l.resync()
		case <-l.alive:
		}
	}
}

// serveLimit is when the worker must serve.
func (l *life) serveLimit() time.Time {
	limit := l.served.Add(l.pace.serve)
	if early := l.worker.started.Add(l.pace.attempt); early.Before(limit) && !isOwnImage(l.worker.path) {
		return early
	}
	return limit
}

// nextRetry is when a session that is missing is to be tried again; zero if none
// is.
func (l *life) nextRetry() time.Time {
	var next time.Time
	for _, h := range l.volumes {
		if !h.retryAt.IsZero() && (next.IsZero() || h.retryAt.Before(next)) {
			next = h.retryAt
		}
	}
	return next
}

// handle does what the worker says. An error ends the monitor.
func (l *life) handle(m message) error {
	switch m.Kind {
	case sayServing:
		if !l.end.served {
			l.end.served = true
			close(l.serving)
			l.serveBy.stop()
			l.endStandIn()
		}
	case sayLoaded:
		return l.show()
	case sayReady:
		l.ready(m.Ready)
		giveMemoryBack()
	case sayWake:
		if k := l.wakers[m.Volume]; k != nil && m.Wakeup != nil {
			k.add(wakeRequest{l.worker, m.ID, *m.Wakeup})
		}
	case sayRefresh:
		if k := l.wakers[m.Volume]; k != nil {
			k.refresh()
		}
	case sayEnded:
		for _, h := range l.volumes {
			if h.name == m.Volume && !h.holding.Connected() {
				l.lost(h)
			}
		}
	case sayPong:
		fill(l.pongs)
	case sayKill:
		l.stop()
	case sayFailed:
		l.failure = &workerError{m.Error, m.Code}
	}
	return nil
}

// show makes visible what the worker has loaded. A mount that can't be had is
// tried again later, unless it was demanded.
func (l *life) show() error {
	l.end.loaded = true
	for _, h := range l.volumes {
		if err := h.show(l.hello.KeptElsewhere); err != nil {
			err = fmt.Errorf("mounting at %q: %w", h.dir, err)
			h.abort(err.Error())
			if l.required && !l.worked {
				return err
			}
			h.retryAt = time.Now().Add(h.retries.next(time.Now()))
			l.log.Warn("serving plain files instead of a FUSE mount, until it can be had", "dir", h.dir, "reason", err)
		}
		h.watch(l.gone)
	}
	l.worked = true
	l.answer(message{Kind: sayShown})
	return nil
}

// answer sends a message to a worker that waits for it, unless it is dead.
func (l *life) answer(m message) {
	if err := l.worker.control.send(m); err != nil {
		l.log.Debug("the worker can't be answered", "pid", l.worker.Pid, "error", err)
	}
}

// lost deals with a session that somebody has taken away.
func (l *life) lost(h *held) {
	if !h.holding.Shown() {
		return // that is known
	}
	delay := h.retries.next(time.Now())
	h.abandon("the mount was taken away by somebody; it is made again after a while")
	h.retryAt = time.Now().Add(delay)
	l.log.Warn("the mount was taken away by somebody: plain files serve until it is made again", "dir", h.dir, "next_attempt_in", delay)
}

// kill ends a worker that can't be left at work.
func (l *life) kill(why string) {
	l.log.Error("killing the worker", "pid", l.worker.Pid, "why", why)
	l.end.how = why
	l.worker.kill()
}

// bury finds out how the worker ended. The error is that of a first worker that
// can't do its work.
func (l *life) bury() error {
	grace := make(chan struct{})
	defer time.AfterFunc(exitGrace, func() { close(grace) }).Stop()
	l.lastWords(grace)
	how, code := l.worker.exited(grace)
	if l.failure != nil {
		how = l.failure.text
	}
	if l.end.how != "" {
		how = l.end.how + "; " + how
	}
	l.end.how, l.end.code = strings.ReplaceAll(how, "\n", "; "), code
	if (!l.end.served || !l.end.loaded && code >= exitDone) && l.program.distrust(l.worker.path, l.worker.file) {
		l.log.Warn("what is installed didn't come to serve: the next worker runs the build that the holder runs, until another is installed", "path", l.worker.path)
	}
	switch {
	case l.worked:
		return nil
	case l.failure != nil:
		return l.failure
	case code < exitDone:
		return nil
	}
	return fmt.Errorf("the worker ended before it served anything: %s", how)
}

// lastWords hears what the worker said before it died, but for what it wanted.
func (l *life) lastWords(grace <-chan struct{}) {
	for {
		select {
		case m, ok := <-l.messages:
			if !ok {
				return
			}
			if m.Kind == sayServing || m.Kind == sayReady || m.Kind == sayFailed {
				_ = l.handle(m) // none of these fails
			}
		case <-grace:
			return
		}
	}
}
