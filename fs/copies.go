package fs

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// How long until changes that were put off are tried again: the first time, and
// at most.
const (
	firstRetry = time.Second
	lastRetry  = time.Minute
)

// copies keeps account of the plain files that aren't what the mount serves,
// because they couldn't be written, and has them written once they can be. Its
// goroutine sleeps while there are none.
type copies struct {
	log   *slog.Logger
	ended sync.WaitGroup

	behindSome chan struct{} // has one when behind isn't empty any more
	writable   chan struct{} // has one when another file could be written

	mu     sync.Mutex // guards all below
	behind map[string]struct{}
	cause  error // why a change was put off last
	cancel context.CancelFunc
	closed bool
}

func newCopies(log *slog.Logger) *copies {
	return &copies{
		log: log, behind: map[string]struct{}{},
		behindSome: make(chan struct{}, 1), writable: make(chan struct{}, 1),
	}
}

// start begins to try again. try brings the plain file of a name up to date; it
// calls caughtUp or putOff.
func (c *copies) start(try func(name string)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	c.cancel = cancel
	c.ended.Go(func() { c.run(ctx, try) })
}

// stop ends the trying and waits for it.
func (c *copies) stop() {
	c.mu.Lock()
	c.closed = true
	if c.cancel != nil {
		c.cancel()
	}
	c.mu.Unlock()
	c.ended.Wait()
}

func (c *copies) run(ctx context.Context, try func(name string)) {
	for wait(ctx, c.behindSome) {
		for delay := firstRetry; ; delay = min(2*delay, lastRetry) {
			// The delay passing is as good a reason as the other one.
			retry, cancel := context.WithTimeout(ctx, delay)
			wait(retry, c.writable)
			cancel()
			names := c.names()
			for _, name := range names {
				if ctx.Err() != nil {
					return
				}
				try(name)
			}
			if len(c.names()) == 0 {
				break
			}
		}
	}
}

// wait returns whether something came before ctx was done.
func wait(ctx context.Context, c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	case <-ctx.Done():
		return false
	}
}

func (c *copies) names() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	names := make([]string, 0, len(c.behind))
	for name := range c.behind {
		names = append(names, name)
	}
	return names
}

// putOff notes that a plain file couldn't be changed.
func (c *copies) putOff(name string, cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.behind) == 0 {
		c.log.Warn("a file beneath the mount couldn't be changed; the mount serves it, but a restarted monitor wouldn't until this is mended", "error", cause)
		signal(c.behindSome)
	}
	c.behind[name] = struct{}{}
	c.cause = cause
}

// caughtUp notes that a plain file is what the mount serves.
func (c *copies) caughtUp(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.behind) == 0 {
		return
	}
	delete(c.behind, name)
	if len(c.behind) == 0 {
		c.cause = nil
		c.log.Info("the files beneath the mount are up to date again")
		return
	}
	signal(c.writable)
}

// err returns why plain files are out of date, or nil.
func (c *copies) err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.behind) == 0 {
		return nil
	}
	return fmt.Errorf("%d of the files beneath the mount are out of date: %w", len(c.behind), c.cause)
}

// signal fills a channel's only place, if it is free.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
