package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/kingpinfs/kingpin/scripts/internal/rig"
)

// measureRest counts how often the threads of a monitor are woken when it has
// nothing to do, beside a client that does nothing but keep its session, which
// takes ZooKeeper's pings.
func (b *bench) measureRest(ctx context.Context, m *rig.Monitor, fleet *rig.Fleet) (err error) {
	period := time.Duration(b.pick(20, 10)) * time.Second
	b.progress.Step("resting for %v", period)
	idle, err := b.rig.StartIdle(ctx, fleet.Configs[0])
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, idle.Stop()) }()
	pids, err := m.Processes()
	if err != nil {
		return err
	}
	// Whatever has been started by the work before comes to its end.
	if err := rig.Sleep(ctx, 5*time.Second); err != nil {
		return err
	}
	rates, err := wakeupRates(ctx, append(pids, idle.PID()), period)
	if err != nil {
		return err
	}
	bare := rates[len(pids)]
	total := 0.0
	for _, rate := range rates[:len(pids)] {
		total += rate
	}
	b.table.add("rest", fmt.Sprintf("wakeups of threads at rest, over %v, against a bare idle session", period), perSecond(total), perSecond(bare)).
		goal("+ 0/s", total-bare < 0.5)
	b.table.add("rest", "of these the holder's", perSecond(rates[0]), nil)
	return nil
}

// wakeupRates returns how often a second threads of each process are woken.
func wakeupRates(ctx context.Context, pids []int, period time.Duration) ([]float64, error) {
	before := make([]rig.Usage, len(pids))
	rates := make([]float64, len(pids))
	for i, pid := range pids {
		var err error
		if before[i], err = rig.UsageOf(pid); err != nil {
			return nil, err
		}
	}
	if err := rig.Sleep(ctx, period); err != nil {
		return nil, err
	}
	for i, pid := range pids {
		after, err := rig.UsageOf(pid)
		if err != nil {
			return nil, err
		}
		rates[i] = float64(after.WakeupsSince(&before[i])) / period.Seconds()
	}
	return rates, nil
}
