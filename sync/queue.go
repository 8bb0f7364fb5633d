package sync

import (
	"container/heap"
	"sync"
	"time"
)

// queue hands out keys of items that need work: each key to one worker at a
// time, in the order of their arrival, and once however often it was added
// while it waited. A key that is added while it is worked on is handed out
// again afterwards. So twenty changes of one znode cost as few reads as the
// worker manages, and the last one is never lost.
type queue struct {
	mu      sync.Mutex         // guards all below
	states  map[key]queueState // no entry: idle
	ready   []key              // waiting for a worker, oldest first
	later   delayHeap          // waiting for their time
	timers  map[key]*delayed   // the entries of later
	waiting []chan key         // idle workers
	timer   *time.Timer        // fires when the first of later is due
	crowded bool               // more than a crowd have been waiting, and some still are
	closed  bool
}

// crowd is how many keys wait at once only when everything is read.
const crowd = 1000

type queueState uint8

const (
	waiting queueState = iota + 1
	working
	workingDirty // added again meanwhile
)

func newQueue() *queue {
	return &queue{states: map[key]queueState{}, timers: map[key]*delayed{}}
}

// Add makes k due now.
func (q *queue) Add(k key) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.cancelDelay(k)
	q.add(k)
}

// AddAfter makes k due in d, unless it is due sooner already.
func (q *queue) AddAfter(k key, d time.Duration) {
	if d <= 0 {
		q.Add(k)
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || q.states[k] == waiting {
		return
	}
	due := time.Now().Add(d)
	if old := q.timers[k]; old != nil {
		if !due.Before(old.due) {
			return
		}
		q.cancelDelay(k)
	}
	entry := &delayed{key: k, due: due}
	q.timers[k] = entry
	heap.Push(&q.later, entry)
	q.setTimer()
}

// Get waits for a key and hands it to the caller, who must call Done with it.
// It returns false when the queue is closed.
func (q *queue) Get() (key, bool) {
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		return key{}, false
	}
	if len(q.ready) > 0 {
		k := q.ready[0]
		if q.ready = q.ready[1:]; len(q.ready) == 0 {
			q.ready = nil
		}
		q.states[k] = working
		q.mu.Unlock()
		return k, true
	}
	turn := make(chan key, 1)
	q.waiting = append(q.waiting, turn)
	q.mu.Unlock()
	k, ok := <-turn
	return k, ok
}

// Done says that the work on k is over.
func (q *queue) Done(k key) {
	q.mu.Lock()
	defer q.mu.Unlock()
	dirty := q.states[k] == workingDirty
	delete(q.states, k)
	if dirty {
		q.add(k)
	}
	if len(q.states) == 0 && q.crowded {
		// A map keeps the room for all that has ever been in it at once.
		q.states, q.crowded = map[key]queueState{}, false
	}
}

// Close makes every Get return false. Adding does nothing from then on.
func (q *queue) Close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return
	}
	q.closed = true
	if q.timer != nil {
		q.timer.Stop()
	}
	for _, turn := range q.waiting {
		close(turn)
	}
	q.waiting = nil
}

// add makes k due. mu must be held.
func (q *queue) add(k key) {
	switch {
	case q.closed:
	case q.states[k] == working:
		q.states[k] = workingDirty
	case q.states[k] != 0:
	case len(q.waiting) > 0:
		// The worker that waits for the shortest time has the warmest stack.
		turn := q.waiting[len(q.waiting)-1]
		q.waiting = q.waiting[:len(q.waiting)-1]
		q.states[k] = working
		turn <- k
	default:
		q.states[k] = waiting
		q.ready = append(q.ready, k)
		q.crowded = q.crowded || len(q.ready) > crowd
	}
}

// cancelDelay drops k's delayed entry. mu must be held.
func (q *queue) cancelDelay(k key) {
	if entry := q.timers[k]; entry != nil {
		heap.Remove(&q.later, entry.index)
		delete(q.timers, k)
	}
}

// setTimer wakes the queue when the first delayed entry is due. mu must be held.
func (q *queue) setTimer() {
	if len(q.later) == 0 {
		return
	}
	wait := time.Until(q.later[0].due)
	if q.timer == nil {
		q.timer = time.AfterFunc(wait, q.release)
		return
	}
	q.timer.Reset(wait)
}

// release makes due what has waited long enough.
func (q *queue) release() {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := time.Now()
	for len(q.later) > 0 && !q.later[0].due.After(now) {
		entry := q.later[0]
		heap.Remove(&q.later, 0)
		delete(q.timers, entry.key)
		q.add(entry.key)
	}
	if !q.closed {
		q.setTimer()
	}
}

type delayed struct {
	key   key
	due   time.Time
	index int // in the heap
}

// delayHeap implements heap.Interface.
type delayHeap []*delayed

func (h delayHeap) Len() int           { return len(h) }
func (h delayHeap) Less(i, j int) bool { return h[i].due.Before(h[j].due) }
func (h delayHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *delayHeap) Push(x any) {
	entry := x.(*delayed) //nolint:errcheck // the queue pushes nothing else
	entry.index = len(*h)
	*h = append(*h, entry)
}

func (h *delayHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return last
}
