package thriftpool

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/apache/thrift/lib/go/thrift"
)

// errBusy is why a hedge isn't made: it would have to wait for a connection.
var errBusy = errors.New("no connection is free")

// hedge is a second attempt that runs beside the first.
type hedge struct {
	pool *Pool
	task *task  // of the first
	stop func() // cancels the first

	done   chan struct{}
	answer answer
	result thrift.TStruct // filled by the answer
	won    bool
	sent   bool // a server may have received it
}

// hedged makes a call; and a second attempt, if the first takes longer than the
// delay. The first answer counts.
func (p *Pool) hedged(ctx context.Context, t *task, delay time.Duration) (answer, *fault) {
	t.shared = true
	firstCtx, stopFirst := context.WithCancel(ctx)
	defer stopFirst()
	secondCtx, stopSecond := context.WithCancel(ctx)
	defer stopSecond()
	h := &hedge{pool: p, task: t, stop: stopFirst, done: make(chan struct{})}
	timer := time.AfterFunc(delay, func() {
		defer close(h.done)
		h.run(secondCtx)
	})
	a, f := p.persist(firstCtx, t)
	if timer.Stop() {
		return a, f
	}
	if f == nil {
		stopSecond()
	}
	// Even then: it reads the arguments, which are the caller's again afterwards.
	<-h.done
	t.sent = t.sent || h.sent
	if f == nil || !h.won {
		return a, f
	}
	reflect.ValueOf(t.result).Elem().Set(reflect.ValueOf(h.result).Elem())
	return h.answer, nil
}

// run asks a host that the first attempt doesn't.
func (h *hedge) run(ctx context.Context) {
	exclude, ok := h.task.beside()
	if !ok || !h.pool.budget.spend() {
		return
	}
	// Its time is that of the call, of which a hedge that comes late leaves little.
	second := task{message: h.task.message, begun: h.task.begun, deadline: h.task.deadline, dead: exclude, first: h.task}
	second.result = blank(h.task.result)
	a, f := h.pool.attempt(ctx, &second)
	if f != nil {
		h.sent = f.sent
		if f.kind == unserved {
			h.pool.budget.restore()
		}
		return
	}
	h.pool.metrics.hedgeWon()
	h.answer, h.result, h.won = a, second.result, true
	h.stop()
}

// beside returns the hosts that a hedge isn't to ask. It isn't made while the
// first attempt has no host, which means that it waits for a connection.
func (t *task) beside() (exclude []string, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.asking == "" {
		return nil, false
	}
	return append(slices.Clip(t.dead), t.asking), true
}

// hedgeable tells whether a result can be filled by either of two attempts.
func hedgeable(result thrift.TStruct) bool {
	v := reflect.ValueOf(result)
	return v.Kind() == reflect.Pointer && !v.IsNil() && v.Elem().Kind() == reflect.Struct
}

// blank returns a result of the same type as another, which is hedgeable.
func blank(result thrift.TStruct) thrift.TStruct {
	b, _ := reflect.New(reflect.TypeOf(result).Elem()).Interface().(thrift.TStruct)
	return b
}

// hedging decides when calls are hedged.
type hedging struct {
	after      time.Duration
	percentile float64
	byMethod   map[string]*latencies // by the names that are known to be idempotent
	others     latencies
}

func newHedging(options *Options) *hedging {
	if options.HedgeAfter == 0 && options.HedgePercentile == 0 {
		return nil
	}
	h := &hedging{after: options.HedgeAfter, percentile: options.HedgePercentile, byMethod: make(map[string]*latencies)}
	for _, method := range options.Idempotent {
		h.byMethod[method] = new(latencies)
	}
	return h
}

func (h *hedging) of(method string) *latencies {
	if l := h.byMethod[method]; l != nil {
		return l
	}
	return &h.others
}

// delay returns how long to wait for the first answer, and whether it is known.
func (h *hedging) delay(method string) (time.Duration, bool) {
	delay := h.after
	if h.percentile > 0 {
		delay = max(delay, time.Duration(h.of(method).threshold.Load()))
	}
	return delay, delay > 0
}

func (h *hedging) observe(method string, took time.Duration) {
	if h.percentile > 0 {
		h.of(method).observe(took, h.percentile)
	}
}

const (
	keptLatencies = 256
	// So many are needed before they say anything, and until they are looked at
	// again.
	newLatencies = 32
)

// latencies knows how long the last calls took. It is safe for concurrent use.
type latencies struct {
	threshold atomic.Int64 // the percentile of the last calls; 0: not known yet

	mu   sync.Mutex // guards the rest
	last [keptLatencies]time.Duration
	n    int // ever
}

func (l *latencies) observe(took time.Duration, percentile float64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last[l.n%keptLatencies] = took
	l.n++
	if l.n%newLatencies != 0 {
		return
	}
	sorted := slices.Sorted(slices.Values(l.last[:min(l.n, keptLatencies)]))
	l.threshold.Store(int64(sorted[int(float64(len(sorted))*percentile/100)]))
}
