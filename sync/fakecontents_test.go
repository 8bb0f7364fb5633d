package sync

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/kingpinfs/kingpin/store"
)

// fakeContents is an S3 of which every fault can be had.
type fakeContents struct {
	mu      sync.Mutex // guards all below
	objects map[string][]byte
	fault   func(key string) error // asked before an object is looked for
	delay   func(key string) time.Duration
	hang    func(key string) bool
	fetched map[string]int
	times   []time.Time // of all attempts
	busy    int
	maxBusy int
}

func newFakeContents() *fakeContents {
	return &fakeContents{objects: map[string][]byte{}, fetched: map[string]int{}}
}

func (c *fakeContents) put(ref store.Ref, v store.Version, content string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.objects[ref.Key(v)] = []byte(content)
}

// setFault makes every fetch of a key for which fault returns an error fail.
// nil ends it.
func (c *fakeContents) setFault(fault func(key string) error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fault = fault
}

func (c *fakeContents) setDelay(delay func(key string) time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.delay = delay
}

func (c *fakeContents) setHang(hang func(key string) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hang = hang
}

func unavailable(key string) error {
	return &store.Error{Op: "reading object", Subject: key, Kind: store.Unavailable, Err: errors.New("503 Slow Down")}
}

func (c *fakeContents) count(ref store.Ref, v store.Version) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.fetched[ref.Key(v)]
}

// attempts counts the fetches tried since a moment.
func (c *fakeContents) attempts(since time.Time) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, t := range c.times {
		if !t.Before(since) {
			n++
		}
	}
	return n
}

// GetVersion implements Contents.
func (c *fakeContents) GetVersion(ctx context.Context, ref store.Ref, v store.Version) (store.Value, error) {
	key := ref.Key(v)
	c.mu.Lock()
	c.fetched[key]++
	c.times = append(c.times, time.Now())
	c.busy++
	c.maxBusy = max(c.maxBusy, c.busy)
	hangs := c.hang != nil && c.hang(key)
	var delay time.Duration
	if c.delay != nil {
		delay = c.delay(key)
	}
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		c.busy--
		c.mu.Unlock()
	}()
	fail := func(kind store.Kind, err error) (store.Value, error) {
		return store.Value{}, &store.Error{Op: "reading object", Subject: key, Kind: kind, Err: err}
	}
	if hangs {
		<-ctx.Done()
		return fail(store.Unavailable, ctx.Err())
	}
	if delay > 0 {
		select {
		case <-ctx.Done():
			return fail(store.Unavailable, ctx.Err())
		case <-time.After(delay):
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fault != nil {
		if err := c.fault(key); err != nil {
			return store.Value{}, err
		}
	}
	content, ok := c.objects[key]
	if !ok {
		return fail(store.NotFound, errors.New("NoSuchKey"))
	}
	return store.Value{Version: v, Content: append([]byte(nil), content...)}, nil
}
