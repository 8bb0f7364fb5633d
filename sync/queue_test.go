package sync

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func queueKey(i int) key { return key{configItem, strconv.Itoa(i)} }

func mustGet(t *testing.T, q *queue) key {
	t.Helper()
	k, ok := q.Get()
	if !ok {
		t.Fatal("the queue is closed")
	}
	return k
}

// idle says whether nothing can be had from the queue now.
func idle(q *queue) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.ready) == 0
}

func TestQueueHandsOutInOrderAndOnce(t *testing.T) {
	q := newQueue()
	for _, i := range []int{3, 1, 3, 2, 1, 3} {
		q.Add(queueKey(i))
	}
	var got []key
	for range 3 {
		k := mustGet(t, q)
		got = append(got, k)
		q.Done(k)
	}
	if want := []key{queueKey(3), queueKey(1), queueKey(2)}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if !idle(q) {
		t.Error("a key is left")
	}
}

func TestQueueKeepsWhatIsAddedDuringWork(t *testing.T) {
	q := newQueue()
	q.Add(queueKey(1))
	k := mustGet(t, q)
	for range 5 {
		q.Add(k)
	}
	if !idle(q) {
		t.Error("the key is handed out while it is worked on")
	}
	q.Done(k)
	if mustGet(t, q) != k {
		t.Error("another key came")
	}
	q.Done(k)
	if !idle(q) {
		t.Error("five additions during one work made more than one")
	}
}

func TestQueueDelays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		start := time.Now()
		q.AddAfter(queueKey(1), 3*time.Second)
		q.AddAfter(queueKey(2), 2*time.Second)
		q.AddAfter(queueKey(3), time.Second)
		q.AddAfter(queueKey(1), time.Second/2) // sooner counts
		q.AddAfter(queueKey(3), time.Hour)     // later doesn't
		for _, want := range []struct {
			key int
			at  time.Duration
		}{{1, time.Second / 2}, {3, time.Second}, {2, 2 * time.Second}} {
			k := mustGet(t, q)
			if at := time.Since(start); k != queueKey(want.key) || at != want.at {
				t.Errorf("%v came after %v, want %d after %v", k, at, want.key, want.at)
			}
			q.Done(k)
		}
		<-time.After(2 * time.Hour)
		if !idle(q) {
			t.Error("a delayed addition that was overtaken is still there")
		}
	})
}

func TestQueueAddOvertakesDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		q.AddAfter(queueKey(1), time.Minute)
		q.Add(queueKey(1))
		k := mustGet(t, q)
		q.Done(k)
		q.Add(queueKey(2))
		q.AddAfter(queueKey(2), time.Minute) // it is due already
		q.Done(mustGet(t, q))
		<-time.After(2 * time.Minute)
		if !idle(q) {
			t.Error("the key is due a second time")
		}
	})
}

func TestQueueDelayDuringWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		q.Add(queueKey(1))
		k := mustGet(t, q)
		q.AddAfter(k, time.Second)
		<-time.After(2 * time.Second)
		if !idle(q) {
			t.Error("the key is handed out while it is worked on")
		}
		q.Done(k)
		if idle(q) {
			t.Error("what became due during the work is lost")
		}
	})
}

func TestQueueClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		q.AddAfter(queueKey(1), time.Second)
		var waiting sync.WaitGroup
		var closed atomic.Int32
		for range 3 {
			waiting.Go(func() {
				if _, ok := q.Get(); !ok {
					closed.Add(1)
				}
			})
		}
		synctest.Wait()
		q.Close()
		q.Close()
		waiting.Wait()
		if closed.Load() != 3 {
			t.Errorf("%d of 3 were told", closed.Load())
		}
		q.Add(queueKey(2))
		q.AddAfter(queueKey(3), time.Second)
		<-time.After(2 * time.Second)
		if k, ok := q.Get(); ok {
			t.Errorf("the closed queue handed out %v", k)
		}
		q.Done(queueKey(2))
	})
}

// Whatever is added is worked on afterwards, by one worker at a time.
func TestQueueLosesNothing(t *testing.T) {
	const keys, workers, adders, rounds = 8, 4, 4, 2000
	q := newQueue()
	var added, seen [keys]atomic.Int64
	var busy [keys]atomic.Bool
	var work sync.WaitGroup
	for range workers {
		work.Go(func() {
			for {
				k, ok := q.Get()
				if !ok {
					return
				}
				i, _ := strconv.Atoi(k.name)
				if busy[i].Swap(true) {
					t.Errorf("two workers on %v", k)
				}
				seen[i].Store(added[i].Load())
				busy[i].Store(false)
				q.Done(k)
			}
		})
	}
	var add sync.WaitGroup
	for range adders {
		add.Go(func() {
			for range rounds {
				i := rand.IntN(keys)
				added[i].Add(1)
				if rand.IntN(4) == 0 {
					q.AddAfter(queueKey(i), rand.N(time.Millisecond))
				} else {
					q.Add(queueKey(i))
				}
			}
		})
	}
	add.Wait()
	for i := range keys {
		q.Add(queueKey(i))
	}
	isIdle := func() bool {
		q.mu.Lock()
		defer q.mu.Unlock()
		return len(q.states) == 0 && len(q.later) == 0
	}
	for !isIdle() {
		<-time.After(time.Millisecond)
	}
	q.Close()
	work.Wait()
	for i := range keys {
		if seen[i].Load() != added[i].Load() {
			t.Errorf("key %d was worked on after %d of %d additions", i, seen[i].Load(), added[i].Load())
		}
	}
}
