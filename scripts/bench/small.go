package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/kingpinfs/kingpin/scripts/internal/rig"
)

// The configs that have a purpose. Beside them there are some that don't change.
var (
	sizes   = []int{8, 4 << 10, 300 << 10}
	polled  = rig.Config{Domain: "updates", Key: "polled", Size: 1 << 10}
	watched = rig.Config{Domain: "updates", Key: "watched", Size: 1 << 10}
)

func readConfig(size int) rig.Config {
	return rig.Config{Domain: "reads", Key: fmt.Sprintf("of_%d", size), Size: size}
}

// killConfigs are those that are updated while workers are killed.
func killConfigs() []rig.Config { return manyConfigs("kills", 8, 4<<10) }

func manyConfigs(domain string, n, size int) []rig.Config {
	all := make([]rig.Config, n)
	for i := range all {
		all[i] = rig.Config{Domain: domain, Key: fmt.Sprintf("key_%05d", i), Size: size}
	}
	return all
}

func smallFleet() *rig.Fleet {
	f := &rig.Fleet{
		Dependency: "small.dep",
		Configs:    append(manyConfigs("others", 200, 1<<10), killConfigs()...),
		Serversets: []rig.Serverset{{Service: "service", Members: 100}},
	}
	for _, size := range sizes {
		f.Configs = append(f.Configs, readConfig(size))
	}
	f.Configs = append(f.Configs, polled)
	return f
}

// measureSmall measures what doesn't depend on the fleet's size.
func (b *bench) measureSmall(ctx context.Context) (err error) {
	fleet := smallFleet()
	if err := b.rig.Fill(ctx, fleet); err != nil {
		return err
	}
	// What the monitor doesn't watch, the bare program does.
	if err := b.rig.Fill(ctx, &rig.Fleet{Dependency: "nobody.dep", Configs: []rig.Config{watched}}); err != nil {
		return err
	}
	b.progress.Step("starting a monitor")
	monitor, err := b.rig.StartMonitor(ctx, fleet)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, monitor.Stop()) }()
	if b.options.wants("reads") {
		if err := b.measureReads(ctx, monitor); err != nil {
			return fmt.Errorf("measuring reads: %w", err)
		}
	}
	if b.options.wants("updates") {
		if err := b.measureUpdates(ctx, monitor); err != nil {
			return fmt.Errorf("measuring updates: %w", err)
		}
	}
	if b.options.wants("kills") {
		if err := b.measureKills(ctx, monitor, fleet); err != nil {
			return fmt.Errorf("measuring kills: %w", err)
		}
	}
	return nil
}

// measureReads reads files that have been read before.
func (b *bench) measureReads(ctx context.Context, m *rig.Monitor) error {
	b.progress.Step("reading cached files")
	dir, err := b.rig.NewDir("plain")
	if err != nil {
		return err
	}
	if err := b.countMessages(ctx, m, dir); err != nil {
		return err
	}
	goals := map[int]float64{8: 2, 300 << 10: 1.2}
	for _, size := range sizes {
		served, plain := m.Config(readConfig(size)), filepath.Join(dir, readConfig(size).File())
		if err := os.WriteFile(plain, []byte(rig.Content(0, size)), 0o644); err != nil {
			return err
		}
		times := b.pick(40_000, 8_000)
		if size > 100<<10 {
			times = b.pick(8_000, 2_000)
		}
		c, err := rig.CompareReads(ctx, served, plain, size, times)
		if err != nil {
			return err
		}
		r := b.table.add("reads", fmt.Sprintf("open+read+close of %s, p50, against a plain file", sizeText(size)),
			nanoseconds(c.Served.P50), nanoseconds(c.Plain.P50))
		if most := goals[size]; most > 0 {
			r.ratioGoal(most)
		}
	}
	return nil
}

func sizeText(bytes int) string {
	if bytes < 1<<10 {
		return fmt.Sprintf("%d B", bytes)
	}
	return fmt.Sprintf("%d KiB", bytes>>10)
}

// countMessages counts what the kernel asks the monitor while a file is read.
func (b *bench) countMessages(ctx context.Context, m *rig.Monitor, dir string) error {
	const reads = 10_000
	config := readConfig(8)
	plain := filepath.Join(dir, "any")
	if err := os.WriteFile(plain, []byte(rig.Content(0, config.Size)), 0o644); err != nil {
		return err
	}
	// Of a file that nobody has read, the content must be asked for once.
	before, err := b.messagesAfter(ctx, m, config, plain, 1)
	if err != nil {
		return err
	}
	// The monitor renames files of its own to tell whoever may watch of what was
	// published at its start; what reading asks for, it asks for each time.
	var more int64
	for range 20 {
		after, err := b.messagesAfter(ctx, m, config, plain, reads)
		if err != nil {
			return err
		}
		more = 0
		for operation, n := range after {
			if n -= before[operation]; n > 0 {
				more += n
				b.progress.Step("the kernel sent %d × %s while a file was read that had been read", n, operation)
			}
		}
		if more == 0 {
			break
		}
		before = after
	}
	b.table.add("reads", fmt.Sprintf("FUSE messages for %s open+read+close of a file already read", thousands(reads)), count(more), nil).
		goal("0", more == 0)
	return nil
}

func (b *bench) messagesAfter(ctx context.Context, m *rig.Monitor, c rig.Config, plain string, reads int) (map[string]int64, error) {
	if _, err := rig.CompareReads(ctx, m.Config(c), plain, c.Size, reads); err != nil {
		return nil, err
	}
	status, err := m.Status(ctx)
	if err != nil {
		return nil, err
	}
	if status.Mode != "fuse" {
		return nil, fmt.Errorf("the monitor serves in mode %q: %s", status.Mode, status.ModeReason)
	}
	return status.Messages(), nil
}

// measureUpdates times updates until a reader has them, and until a bare program
// has them, by turns.
func (b *bench) measureUpdates(ctx context.Context, m *rig.Monitor) (err error) {
	n := b.pick(400, 100)
	b.progress.Step("timing %d updates", n)
	for i := range n {
		if err := errors.Join(b.rig.Put(ctx, polled, i+1), b.rig.Put(ctx, watched, i+1)); err != nil {
			return err
		}
	}
	poller, err := b.rig.PollFile(ctx, m, polled)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, poller.Stop()) }()
	bare, err := b.rig.WatchBare(ctx, watched)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, bare.Stop()) }()
	sides := []struct {
		config rig.Config
		seen   *rig.Sightings
		took   []int64
	}{{config: polled, seen: poller}, {config: watched, seen: bare}}
	for i := range n + 1 {
		b.progress.Count(i, n)
		for s := range sides {
			side := &sides[s]
			start := rig.Now()
			if i > 0 { // content 0 is there
				if err := b.rig.Set(side.config, i); err != nil {
					return err
				}
			}
			at, err := side.seen.Await(ctx, i)
			if err != nil {
				return err
			}
			if i > 0 {
				side.took = append(side.took, at-start)
			}
			if err := rig.Sleep(ctx, time.Duration(2+rand.IntN(8))*time.Millisecond); err != nil {
				return err
			}
		}
	}
	ours, theirs := rig.SpreadOf(sides[0].took), rig.SpreadOf(sides[1].took)
	const what = "znode set → read by a polling reader, %s, against a bare watch and GET"
	b.table.add("updates", fmt.Sprintf(what, "p50"), nanoseconds(ours.P50), nanoseconds(theirs.P50)).ratioGoal(1.2)
	b.table.add("updates", fmt.Sprintf(what, "p99"), nanoseconds(ours.P99), nanoseconds(theirs.P99)).ratioGoal(1.5)
	return nil
}
