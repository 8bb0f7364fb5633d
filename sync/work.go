package sync

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync/atomic"
	"time"
)

// lane is a queue and the workers on it. What needs S3 and what needs ZooKeeper
// alone have a lane each, so that an S3 that doesn't answer holds up no
// serverset and no dependency.
type lane struct {
	queue *queue
	// slots has room for as many workers as may work at once. A worker whose
	// download takes long gives its slot away, so that a few slow objects don't
	// hold up the others.
	slots chan struct{}
	spare int // workers beyond the slots
}

const (
	fetchLane = 0
	znodeLane = 1
)

func newLane(slots, spare int) *lane {
	return &lane{queue: newQueue(), slots: make(chan struct{}, slots), spare: spare}
}

func (l *lane) workers() int { return cap(l.slots) + l.spare }

// queueOf returns the queue that an item waits in.
func (e *Engine) queueOf(k key) *queue {
	if k.kind == serversetItem || k.kind == dependencyItem {
		return e.lanes[znodeLane].queue
	}
	return e.lanes[fetchLane].queue
}

func (e *Engine) add(k key)                       { e.queueOf(k).Add(k) }
func (e *Engine) addAfter(k key, d time.Duration) { e.queueOf(k).AddAfter(k, d) }

// slot is a worker's right to work.
type slot struct {
	lane *lane
	held atomic.Bool
}

// take waits for a slot, unless there is one already. It returns false if ctx
// ended first.
func (s *slot) take(ctx context.Context) bool {
	if s.held.Load() {
		return true
	}
	select {
	case <-ctx.Done():
		return false
	case s.lane.slots <- struct{}{}:
		s.held.Store(true)
		return true
	}
}

// give lets another worker go on.
func (s *slot) give() {
	if s.held.CompareAndSwap(true, false) {
		<-s.lane.slots
	}
}

// work does what the lane's queue says until it is closed.
func (e *Engine) work(ctx context.Context, l *lane) {
	s := &slot{lane: l}
	defer s.give()
	for s.take(ctx) {
		k, ok := l.queue.Get()
		if !ok {
			return
		}
		e.attempt(ctx, k, s)
		l.queue.Done(k)
	}
}

// errNotNow ends an attempt that is given up without a result, because the item
// will be due again when there is something to do.
var errNotNow = errors.New("not now")

// attempt brings one item up to date, once.
func (e *Engine) attempt(ctx context.Context, k key, s *slot) {
	it, began := e.begin(k, s)
	if it == nil || ctx.Err() != nil {
		return
	}
	err := e.bringUpToDate(ctx, it)
	if ctx.Err() != nil || errors.Is(err, errNotNow) {
		return // after a shutdown, what failed failed because of it
	}
	e.conclude(it, began, err)
}

// beginning is when an attempt began.
type beginning struct {
	at  time.Time
	seq uint64 // the engine's then
}

// begin returns the item to work on, and when that begins; nil if there is
// nothing to do now.
func (e *Engine) begin(k key, s *slot) (*item, beginning) {
	e.mu.Lock()
	defer e.mu.Unlock()
	it := e.items[k]
	if it == nil {
		return nil, beginning{}
	}
	if it.wanted && !e.connected && !it.hasWritten() {
		it.parked = true
		return nil, beginning{}
	}
	it.slot = s
	return it, beginning{time.Now(), e.seq}
}

// bringUpToDate makes a panic an error: one poisonous value must not take away
// all others.
func (e *Engine) bringUpToDate(ctx context.Context, it *item) (err error) {
	defer func() {
		if p := recover(); p != nil {
			e.stats.WorkerPanics.Add(1)
			err = fmt.Errorf("a defect of the monitor: %v", p)
			e.abandon(it, err)
			e.log.Error("panic while bringing up to date; please report it",
				"name", it.key.name, "panic", p, "stack", string(debug.Stack()))
		}
	}()
	if !e.isWanted(it) {
		return e.retire(it)
	}
	switch it.key.kind {
	case dependencyItem:
		return e.syncDependency(ctx, it)
	case metaconfigItem:
		return e.syncMetaconfig(ctx, it)
	case configItem:
		return e.syncConfig(ctx, it)
	default:
		return e.syncServerset(ctx, it)
	}
}

func (e *Engine) isWanted(it *item) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return it.wanted
}
