package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/kingpinfs/kingpin/scripts/internal/rig"
)

// The large fleet.
const (
	largeConfigs    = 10_000
	largeServersets = 1_000
	largeMembers    = 100
	largeSize       = 1 << 10
)

// largeText describes it.
var largeText = fmt.Sprintf("%s configs and %s serversets of %d", thousands(largeConfigs), thousands(largeServersets), largeMembers)

func largeFleet() *rig.Fleet {
	f := &rig.Fleet{Dependency: "large.dep", Configs: manyConfigs("large", largeConfigs, largeSize)}
	for i := range largeServersets {
		f.Serversets = append(f.Serversets, rig.Serverset{Service: fmt.Sprintf("service_%04d", i), Members: largeMembers})
	}
	return f
}

// measureLarge measures what depends on the fleet's size.
func (b *bench) measureLarge(ctx context.Context) (err error) {
	fleet := largeFleet()
	b.progress.Step("writing a fleet of %s", largeText)
	if err := b.rig.Fill(ctx, fleet); err != nil {
		return err
	}
	monitor, err := b.measureCold(ctx, fleet)
	if err != nil {
		return fmt.Errorf("measuring cold starts: %w", err)
	}
	defer func() { err = errors.Join(err, monitor.Stop()) }()
	if b.options.wants("memory") {
		if err := b.measureMemory(ctx, monitor, fleet); err != nil {
			return fmt.Errorf("measuring memory: %w", err)
		}
	}
	if b.options.wants("rest") {
		if err := b.measureRest(ctx, monitor, fleet); err != nil {
			return fmt.Errorf("measuring a monitor at rest: %w", err)
		}
	}
	return nil
}

// measureCold starts a bare loader and a monitor by turns, and returns the last
// monitor, which runs.
func (b *bench) measureCold(ctx context.Context, fleet *rig.Fleet) (last *rig.Monitor, err error) {
	starts := 1
	if b.options.wants("cold") {
		starts = b.pick(3, 1)
	}
	var bare, ours []time.Duration
	for i := range starts {
		b.progress.Step("cold start %d of %d", i+1, starts)
		if b.options.wants("cold") {
			took, err := b.loadBare(ctx)
			if err != nil {
				return nil, err
			}
			bare = append(bare, took)
		}
		monitor, err := b.rig.StartMonitor(ctx, fleet)
		if err != nil {
			return nil, err
		}
		if err := monitor.Serves(len(fleet.Configs), len(fleet.Serversets)); err != nil || i < starts-1 {
			if err := errors.Join(err, monitor.Stop()); err != nil {
				return nil, err
			}
		}
		ours, last = append(ours, monitor.Took), monitor
	}
	if b.options.wants("cold") {
		b.table.add("cold", fmt.Sprintf("cold start, %s, against a bare loader", largeText),
			seconds(median(ours)), seconds(median(bare))).ratioGoal(1.3)
	}
	return last, nil
}

func (b *bench) loadBare(ctx context.Context) (time.Duration, error) {
	loaded, took, err := b.rig.LoadBare(ctx, largeFleet())
	if err != nil {
		return 0, err
	}
	if want := (rig.Loaded{Configs: largeConfigs, Serversets: largeServersets, Endpoints: largeServersets * largeMembers}); loaded != want {
		return 0, fmt.Errorf("the bare loader loaded %+v, not %+v", loaded, want)
	}
	return took, nil
}

// measureMemory looks at the monitor's processes before and after many updates.
// Nothing else is asked of the monitor meanwhile.
func (b *bench) measureMemory(ctx context.Context, m *rig.Monitor, fleet *rig.Fleet) error {
	b.progress.Step("reading all files")
	if err := awaitContents(ctx, m, fleet, 0); err != nil {
		return err
	}
	before, err := settledUsage(ctx, m)
	if err != nil {
		return err
	}
	const most = 80e6
	b.table.add("memory", fmt.Sprintf("RSS of all processes with %s", largeText),
		size(before.RSS), nil).goal("≤ 80 MB", before.RSS <= most)
	b.table.add("memory", "their PSS: pages that both map are counted once", size(before.PSS), nil)
	b.table.add("memory", "the memory files that they hold, mapped or not", size(before.Shared), nil)

	rounds := b.pick(10, 2)
	updates := rounds * len(fleet.Configs)
	b.progress.Step("publishing %s updates", thousands(updates))
	if err := b.publishAll(ctx, fleet, rounds); err != nil {
		return err
	}
	if err := awaitContents(ctx, m, fleet, rounds); err != nil {
		return err
	}
	after, err := settledUsage(ctx, m)
	if err != nil {
		return err
	}
	const tolerance = 1.05
	r := b.table.add("memory", fmt.Sprintf("RSS after %s updates, against before", thousands(updates)), size(after.RSS), size(before.RSS))
	r.goal("≤ 1.05×", *r.Ratio <= tolerance)
	return nil
}

// settledUsage is taken when the monitor has had the time to save its state.
func settledUsage(ctx context.Context, m *rig.Monitor) (rig.Usage, error) {
	if err := rig.Sleep(ctx, 3*time.Second); err != nil {
		return rig.Usage{}, err
	}
	pids, err := m.Processes()
	if err != nil {
		return rig.Usage{}, err
	}
	return rig.UsageOf(pids...)
}

// publishAll updates every config as often as there are rounds.
func (b *bench) publishAll(ctx context.Context, fleet *rig.Fleet, rounds int) error {
	const writers = 8
	var done atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	for w := range writers {
		group.Go(func() error {
			for n := 1; n <= rounds; n++ {
				for i := w; i < len(fleet.Configs); i += writers {
					if err := b.rig.Publish(ctx, fleet.Configs[i], n); err != nil {
						return err
					}
					if published := done.Add(1); published%1000 == 0 && w == 0 {
						b.progress.Count(int(published), rounds*len(fleet.Configs))
					}
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// awaitContents reads the files of all configs until they have a content.
func awaitContents(ctx context.Context, m *rig.Monitor, fleet *rig.Fleet, n int) error {
	for _, c := range fleet.Configs {
		if err := m.AwaitContent(ctx, c, n); err != nil {
			return err
		}
	}
	return nil
}
