package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/kingpinfs/kingpin/internal/sdnotify"
)

// pace is how patient a holder is.
type pace struct {
	serve   time.Duration // without a worker that serves the mounts, before plain files do
	attempt time.Duration // of that, for a build that isn't the holder's own
	beat    time.Duration // between two looks at whether the worker answers
	answer  time.Duration // for the answer
	stopped time.Duration // for a worker that somebody stopped to go on
	copied  time.Duration // for the plain files to be brought up to date before the mounts go
	stop    time.Duration // for a worker to save everything and end
	proven  time.Duration // after which a worker's death is no sign that it can't work
	backoff [2]time.Duration
	// strikes is how many workers in a row may fail before plain files serve.
	strikes int
}

func defaultPace() pace {
	return pace{
		serve: 5 * time.Second, attempt: time.Second, beat: 5 * time.Second, answer: 2 * time.Second,
		stopped: time.Second, copied: time.Second, stop: 10 * time.Second, proven: 10 * time.Second,
		backoff: [2]time.Duration{time.Second, time.Minute}, strikes: 3,
	}
}

// supervisor keeps a worker at work on the holdings: it replaces one that dies
// or doesn't answer. If none can be kept running it takes the mounts away, so
// that the plain files beneath serve, and tries again later.
//
// All fields but the callbacks are set before run, and are its goroutine's.
type supervisor struct {
	volumes  []*held
	program  *program
	listener *os.File // workers answer admin requests on it
	stderr   io.Writer
	log      *slog.Logger
	pace     pace
	hello    hello // what is the same for all workers

	// required says that the first session must become visible: plain files
	// won't do.
	required bool
	// reload is where it is heard that everything is to be read again.
	reload <-chan os.Signal
	// ready is called when everything that can be served is served, by each
	// worker; stop when the monitor is to stop.
	ready func(line string)
	stop  func()
	// reloading is called when everything is to be read again, and the function
	// that it returns when that is under way.
	reloading func() (done func())
	// alive is received from by run all the time, which shows that it isn't stuck.
	alive <-chan struct{}
	// standIn answers admin requests, telling why no worker does, until the
	// function that it returns is called.
	standIn func(why string, facts holderFacts) (end func())

	wakers     map[string]*waker
	stopWakers func()
	gone       chan *held // sessions that somebody else has ended

	started  bool      // a worker has been
	worked   bool      // a worker has loaded what was served last
	served   time.Time // when a worker served the mounts last
	strikes  int       // workers that failed in a row
	hangs    int       // workers that didn't answer in a row
	fallback backoff
	endStand func() // ends standIn; nil if it doesn't answer
}

// errHandOver is the cause for which run ends when the service manager keeps
// the mounts for the next holder: they stay.
var errHandOver = errors.New("handing the mounts over")

// run keeps a worker at work until ctx is done, and then takes the mounts away,
// unless the cause is errHandOver, and ends the worker. It fails if the first
// worker finds that it can't do what the options say.
func (s *supervisor) run(ctx context.Context) error {
	s.served = time.Now()
	s.gone = make(chan *held)
	s.fallback = backoff{least: s.pace.backoff[0], most: s.pace.backoff[1]}
	s.stopWakers = s.runWakers()
	defer s.stopWakers()
	defer s.endStandIn()
	defer func() {
		for _, h := range s.volumes {
			h.release()
		}
	}()
	for {
		end, err := s.live(ctx)
		if err != nil || ctx.Err() != nil {
			return err
		}
		s.hello.Holder.LastExit = end.how
		if end.replaced {
			continue
		}
		why := s.judge(end)
		if why == "" {
			s.log.Warn("the worker has ended and is replaced", "pid", end.pid, "how", end.how, "after", end.lasted.Round(time.Millisecond))
			continue
		}
		if !s.giveUp(ctx, why) {
			return nil
		}
	}
}

// wakePatience is how long a wakeup that is under way is waited for. If nobody
// serves the mount any more it lasts until somebody does.
const wakePatience = time.Second

// runWakers starts the wakers. The function that it returns ends them.
func (s *supervisor) runWakers() (end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	s.wakers = map[string]*waker{}
	var all sync.WaitGroup
	for _, h := range s.volumes {
		k := newWaker(h.holding, s.log)
		s.wakers[h.name] = k
		all.Go(func() { k.run(ctx) })
	}
	return sync.OnceFunc(func() {
		cancel()
		ended := make(chan struct{})
		go func() {
			all.Wait()
			close(ended)
		}()
		select {
		case <-ended:
		case <-time.After(wakePatience):
			s.log.Warn("somebody who watches files isn't told of a change before the monitor ends")
		}
	})
}

// ending is how a worker's life ended.
type ending struct {
	pid      int
	how      string
	code     int // its exit code, killed or isEnding
	lasted   time.Duration
	served   bool
	loaded   bool
	hung     bool // it was killed because it didn't answer
	replaced bool // it was ended to be replaced by one with more sessions
}

// judge returns why no further worker should be started now; "" if one should.
func (s *supervisor) judge(end ending) (why string) {
	if s.isWaitedFor() && !end.served && s.served.Add(s.pace.serve).Before(time.Now()) {
		return fmt.Sprintf("no worker has served for %v, the last: %s", s.pace.serve, end.how)
	}
	switch {
	case end.hung:
		s.hangs++
		if s.hangs > 1 {
			return "two workers in a row have ceased to answer"
		}
	case !end.served, end.code >= exitDone && end.lasted < s.pace.proven:
		s.strikes++
	case end.code != isEnding:
		s.strikes = 0
	}
	if s.strikes >= s.pace.strikes {
		return fmt.Sprintf("%d workers in a row have failed, the last: %s", s.strikes, end.how)
	}
	return ""
}

// isWaitedFor tells whether readers may be waiting for a worker.
func (s *supervisor) isWaitedFor() bool {
	for _, h := range s.volumes {
		if h.holding.Shown() {
			return true
		}
	}
	return false
}

// giveUp has the plain files serve for a while, and then starts new sessions. It
// returns false if ctx is done first.
func (s *supervisor) giveUp(ctx context.Context, why string) bool {
	for _, h := range s.volumes {
		h.settle()
		h.abort(why)
	}
	s.strikes, s.hangs = 0, 0
	s.program.trust()
	delay := s.fallback.next(time.Now())
	s.log.Error("no worker can be kept running: the plain files serve what was served last, until one can", "why", why, "next_attempt_in", delay)
	s.tell("STATUS=serving plain files without a worker: " + why)
	if s.endStand == nil {
		s.endStand = s.standIn(why, s.hello.Holder)
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-s.gone: // of a session that was just taken away
		case <-s.alive:
		case <-timer.C:
			s.served = time.Now()
			s.connect(ctx)
			return true
		}
	}
}

// connect starts the sessions that are missing, and reports whether it started
// any. What fails is tried again later.
func (s *supervisor) connect(ctx context.Context) bool {
	started := false
	for _, h := range s.volumes {
		if !h.wanted || h.holding.Connected() {
			continue
		}
		if err := h.connect(ctx); err != nil {
			delay := h.retries.next(time.Now())
			h.retryAt = time.Now().Add(delay)
			s.log.Warn("the mount can't be made again: plain files serve meanwhile", "dir", h.dir, "error", err, "next_attempt_in", delay)
			continue
		}
		started = true
	}
	return started
}

// endStandIn leaves the admin requests to a worker.
func (s *supervisor) endStandIn() {
	if s.endStand != nil {
		s.endStand()
		s.endStand = nil
	}
}

// tell tells the service manager how the monitor stands.
func (s *supervisor) tell(state string) {
	if err := sdnotify.Notify(state); err != nil {
		s.log.Warn("the service manager can't be told how the monitor stands", "error", err)
	}
}
