package integration

import (
	"fmt"
	"math"
	"sync"
	"time"
)

// record is what was done to the fleet in a test, by whom it is all the same, and
// what was answered.
type record struct {
	began time.Time

	mu      sync.Mutex // guards the rest
	adds    []addition
	sets    []setting
	lists   []listReading
	tables  []tableReading
	writes  int           // how many have ended
	changed chan struct{} // closed when another one has
}

func newRecord() *record { return &record{began: time.Now(), changed: make(chan struct{})} }

// never is when an operation has returned whose outcome nobody knows: it may
// still happen.
const never = math.MaxInt64

// span is when an operation was called and when it returned, in nanoseconds since
// the record began.
type span struct{ call, end int64 }

// answer is what a writer was told.
type answer uint8

const (
	done    answer = iota // it has happened
	refused               // it hasn't, and never will
	unknown               // it may have happened, or happen yet
)

func (a answer) String() string { return [...]string{"done", "refused", "unknown"}[a] }

// outcome is an answer and, if the writer was told, the version that the write
// made.
type outcome struct {
	answer  answer
	version string
}

// addition is the writing of entries to the list, all or none.
type addition struct {
	span
	outcome

	entries []string
}

// setting is the writing of one decider.
type setting struct {
	span
	outcome

	name  string
	value int
}

// listReading is what somebody read of the list. A reading of this machine's
// file may be of the past: its call is when the record began.
type listReading struct {
	span

	entries []string
	version string // "" if the reader isn't told
}

// tableReading is what somebody read of the deciders. If it is of one alone, only
// is its name.
type tableReading struct {
	span

	values  map[string]int
	version string
	only    string
}

func (r *record) now() int64 { return int64(time.Since(r.began)) }

// until returns the span of what was called then and returns now.
func (r *record) until(call int64) span { return span{call, r.now()} }

// wrote keeps a write, and tells those who wait for writers to get on.
func wrote[T any](r *record, to *[]T, write T) {
	r.mu.Lock()
	defer r.mu.Unlock()
	*to = append(*to, write)
	r.writes++
	close(r.changed)
	r.changed = make(chan struct{})
}

// read keeps a reading.
func read[T any](r *record, to *[]T, reading T) {
	r.mu.Lock()
	defer r.mu.Unlock()
	*to = append(*to, reading)
}

// progress returns how many writes have ended, and what is closed when another
// one has.
func (r *record) progress() (writes int, changed <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.writes, r.changed
}

// awaitProgress returns when that many more writes have ended; false if nothing
// more is to come.
func (r *record) awaitProgress(more int, over <-chan struct{}) bool {
	writes, changed := r.progress()
	for goal := writes + more; writes < goal; writes, changed = r.progress() {
		select {
		case <-changed:
		case <-over:
			return false
		}
	}
	return true
}

// summary says how much was done, and how it went.
func (r *record) summary() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var adds, sets [3]int
	for _, a := range r.adds {
		adds[a.answer]++
	}
	for _, s := range r.sets {
		sets[s.answer]++
	}
	return fmt.Sprintf("in %v: additions %d done, %d refused, %d unknown; settings %d done, %d refused, %d unknown; %d readings of the list, %d of deciders",
		time.Since(r.began).Round(time.Millisecond), adds[done], adds[refused], adds[unknown], sets[done], sets[refused], sets[unknown], len(r.lists), len(r.tables))
}
