package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/kingpinfs/kingpin/internal/ledger"
)

// result is what a client did, the middle one of its rounds for each number.
type result struct {
	Client     string `json:"client"`
	Transport  string `json:"transport"`
	Goroutines int    `json:"goroutines"`

	CallsPerSecond float64 `json:"calls_per_second"`
	P50            float64 `json:"p50"` // seconds, as all times
	P99            float64 `json:"p99"`
	CPU            float64 `json:"cpu"`    // of this process, for a call
	Allocs         float64 `json:"allocs"` // for a call
	Bytes          float64 `json:"bytes"`  // allocated for a call
}

// text is what is sent and comes back.
var text = strings.Repeat("x", 100)

// measure gives the clients their turns. The first round warms up.
func measure(ctx context.Context, o *options, t target) (results []result, err error) {
	callers := make(map[string]*callers)
	for _, name := range o.clients {
		c, err := openers[name](ctx, t)
		if err != nil {
			return nil, fmt.Errorf("connecting %s: %w", name, err)
		}
		defer func() { err = errors.Join(err, c.close()) }()
		callers[name] = newCallers(c, o.round)
	}
	rounds := make(map[string][]result)
	for round := range o.rounds + 1 {
		for _, name := range o.clients {
			r, err := callers[name].run(ctx, o.round)
			if err != nil {
				return nil, fmt.Errorf("calling by %s: %w", name, err)
			}
			if round > 0 {
				rounds[name] = append(rounds[name], r)
			}
		}
	}
	for _, name := range o.clients {
		middle := func(number func(r *result) *float64) float64 {
			slices.SortFunc(rounds[name], func(a, b result) int { return cmp.Compare(*number(&a), *number(&b)) })
			return *number(&rounds[name][len(rounds[name])/2])
		}
		results = append(results, result{
			Client: name, Transport: t.transport, Goroutines: t.goroutines,
			CallsPerSecond: middle(func(r *result) *float64 { return &r.CallsPerSecond }),
			P50:            middle(func(r *result) *float64 { return &r.P50 }),
			P99:            middle(func(r *result) *float64 { return &r.P99 }),
			CPU:            middle(func(r *result) *float64 { return &r.CPU }),
			Allocs:         middle(func(r *result) *float64 { return &r.Allocs }),
			Bytes:          middle(func(r *result) *float64 { return &r.Bytes }),
		})
	}
	return results, nil
}

// callers call, each in a goroutine of its own.
type callers struct {
	clients []*ledger.LedgerClient
	took    [][]time.Duration // by each, with room for a round
}

func newCallers(c *clients, round time.Duration) *callers {
	const most = 200_000 // calls a second
	all := &callers{took: make([][]time.Duration, len(c.each))}
	for i, client := range c.each {
		all.clients = append(all.clients, ledger.NewLedgerClient(client))
		// Some get more turns than others.
		all.took[i] = make([]time.Duration, 0, 4*int(most*round.Seconds())/len(c.each)+100)
	}
	return all
}

// run calls for a while. Each goroutine has a context with a deadline, as a
// server's request has, which makes several calls with it.
func (c *callers) run(ctx context.Context, round time.Duration) (result, error) {
	runtime.GC() // what others left isn't collected at this one's cost
	var (
		running sync.WaitGroup
		stop    atomic.Bool
		failed  = make([]error, len(c.clients))
		before  = usage()
		begun   = time.Now()
	)
	timer := time.AfterFunc(round, func() { stop.Store(true) })
	defer timer.Stop()
	for i, client := range c.clients {
		running.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, time.Minute)
			defer cancel()
			c.took[i], failed[i] = callUntil(ctx, client, &stop, c.took[i][:0])
		})
	}
	running.Wait()
	elapsed, used := time.Since(begun), usage().since(before)
	if err := errors.Join(failed...); err != nil {
		return result{}, err
	}
	took := slices.Concat(c.took...)
	slices.Sort(took)
	calls := float64(len(took))
	return result{
		CallsPerSecond: calls / elapsed.Seconds(),
		P50:            took[len(took)/2].Seconds(), P99: took[len(took)*99/100].Seconds(),
		CPU: used.cpu.Seconds() / calls, Allocs: float64(used.allocs) / calls, Bytes: float64(used.bytes) / calls,
	}, nil
}

func callUntil(ctx context.Context, client *ledger.LedgerClient, stop *atomic.Bool, took []time.Duration) ([]time.Duration, error) {
	for {
		begun := time.Now()
		got, err := client.Echo(ctx, text)
		if err != nil {
			return took, err
		}
		if got != text {
			return took, fmt.Errorf("the answer is %q", got)
		}
		took = append(took, time.Since(begun))
		if stop.Load() {
			return took, nil
		}
	}
}

// resources are what this process has used.
type resources struct {
	cpu           time.Duration
	allocs, bytes uint64
}

func usage() resources {
	var rusage syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &rusage) // can't fail
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	return resources{
		cpu:    time.Duration(rusage.Utime.Nano() + rusage.Stime.Nano()),
		allocs: memory.Mallocs, bytes: memory.TotalAlloc,
	}
}

func (r resources) since(before resources) resources {
	return resources{r.cpu - before.cpu, r.allocs - before.allocs, r.bytes - before.bytes}
}
