package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// watchBeats asks the worker now and then whether it answers, and sends what
// comes of it to beats: nil, or why it has to be killed. The function that it
// returns ends that.
func (l *life) watchBeats() (end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	atOnce := l.hangs > 0 // the worker before didn't answer
	go func() {
		defer close(done)
		l.beatLoop(ctx, atOnce)
	}()
	return func() {
		cancel()
		<-done
	}
}

func (l *life) beatLoop(ctx context.Context, atOnce bool) {
	tick := time.NewTicker(l.pace.beat)
	defer tick.Stop()
	serving := l.serving
	if !atOnce {
		serving = nil
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-serving:
			serving = nil
		case <-tick.C:
		}
		serves := l.serves()
		err := l.ask(ctx)
		if err == nil && !serves {
			continue // which says nothing of whether it will answer readers
		}
		select {
		case <-ctx.Done():
			return
		case l.beats <- err:
		}
		if err != nil {
			return
		}
	}
}

// serves reports whether the worker serves the mounts.
func (l *life) serves() bool {
	select {
	case <-l.serving:
		return true
	default:
		return false
	}
}

// ask asks the worker for one answer on each mount, as any reader would, or on
// its socket while there is no mount to be served.
func (l *life) ask(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, l.pace.answer)
	defer cancel()
	probed := false
	select {
	case <-l.serving:
		for _, h := range l.volumes {
			if !h.holding.Shown() {
				continue
			}
			probed = true
			if err := h.holding.Probe(ctx); errors.Is(err, context.DeadlineExceeded) {
				return fmt.Errorf("it hasn't answered on the mount at %q for %v", h.dir, l.pace.answer)
			} else if err != nil && !h.holding.Connected() {
				select { // it has been taken away
				case l.gone <- h:
				case <-ctx.Done():
				}
			}
		}
	default:
	}
	if probed {
		return nil
	}
	return l.ping(ctx)
}

func (l *life) ping(ctx context.Context) error {
	if err := l.worker.control.send(message{Kind: sayPing}); err != nil {
		l.log.Debug("asking the worker whether it is there", "pid", l.worker.Pid, "error", err)
		return nil // it is dead, which shows by itself, or reads nothing, which the next try tells
	}
	select {
	case <-l.pongs:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("it hasn't answered for %v", l.pace.answer)
	}
}

// alarm is a timer that can be set anew, or not be set.
type alarm struct{ timer *time.Timer }

func newAlarm() *alarm {
	a := &alarm{time.NewTimer(time.Hour)}
	a.stop()
	return a
}

// at sets the alarm; the zero time stops it.
func (a *alarm) at(t time.Time) {
	if t.IsZero() {
		a.stop()
		return
	}
	a.timer.Reset(time.Until(t))
}

func (a *alarm) stop()               { a.timer.Stop() }
func (a *alarm) c() <-chan time.Time { return a.timer.C }
