package register

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// functionLimit is what a function that is a check is given to return when nobody
// wants to know any more.
const functionLimit = time.Second

// rounds makes rounds of checks until ctx is done, and hands to judged what each
// says. A check that isn't over at the timeout has failed.
func (r *Registration) rounds(ctx context.Context, endpoint string) {
	defer r.awaitFunctions()
	judge := newJudge(r.cfg.Rise, r.cfg.Fall)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		next := time.Now().Add(r.cfg.Interval)
		err := r.round(ctx, endpoint)
		if ctx.Err() != nil {
			return // whatever it said
		}
		changed := judge.observe(err == nil)
		r.judged(judge, changed, err)
		timer.Reset(time.Until(next))
	}
}

// awaitFunctions waits for the functions that are checks, which may use what their
// owner closes next, but not for those that hang.
func (r *Registration) awaitFunctions() {
	ctx, cancel := context.WithTimeout(context.Background(), functionLimit)
	defer cancel()
	for _, check := range r.cfg.Checks {
		if f, ok := check.(*funcCheck); ok {
			f.await(ctx)
		}
	}
}

// round makes each check once, all at the same time, and returns what is wrong.
func (r *Registration) round(ctx context.Context, endpoint string) error {
	limit := fmt.Errorf("no answer within %v", r.cfg.Timeout)
	ctx, cancel := context.WithTimeoutCause(ctx, r.cfg.Timeout, limit)
	defer cancel()
	errs := make([]error, len(r.cfg.Checks))
	var all sync.WaitGroup
	for i, check := range r.cfg.Checks {
		all.Go(func() {
			start := time.Now()
			err := check.Check(ctx, endpoint)
			if err != nil && ctx.Err() != nil && !errors.Is(err, limit) {
				err = limit // rather than that something was closed, or cancelled
			}
			if err != nil {
				errs[i] = fmt.Errorf("check %s: %w", check, err)
			}
			r.record(ctx, i, start, err)
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// record keeps and logs what a check said.
func (r *Registration) record(ctx context.Context, i int, start time.Time, err error) {
	if errors.Is(context.Cause(ctx), context.Canceled) {
		return // it was called off
	}
	r.mu.Lock()
	c := &r.status.Checks[i]
	first, passed := c.LastAt.IsZero(), c.Passing
	c.LastAt, c.LastTook = time.Now(), time.Since(start)
	c.Took += c.LastTook
	c.Passing, c.Error = err == nil, ""
	if err == nil {
		c.Passed++
	} else {
		c.Failed++
		c.Error = err.Error()
	}
	name := c.Name
	r.mu.Unlock()
	switch {
	case err != nil && (first || passed):
		r.log.Warn("the check fails", "check", name, "error", err)
	case err == nil && (first || !passed):
		r.log.Info("the check passes", "check", name)
	}
}

// judged acts on a round.
func (r *Registration) judged(j *judge, changed bool, err error) {
	if changed {
		r.log.Info("the service is "+string(j.health), "endpoint", r.Status().Endpoint)
	}
	r.update(func(s *Status) {
		s.Health, r.failing = j.health, err
		r.describe(s)
	})
	if changed {
		r.poke()
	}
}
