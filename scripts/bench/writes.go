package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/kingpinfs/kingpin/scripts/internal/rig"
)

// writeCase is a way to write that is measured.
type writeCase struct {
	what string
	kind rig.WriteKind
	size int // of the content; 0 for a decider
}

var writeCases = []writeCase{
	{"a decider by open, write, close", rig.WriteDecider, 0},
	{"4 KiB by open, write, close", rig.WriteWhole, 4 << 10},
	{"300 KiB by open, writes, close", rig.WriteWhole, 300 << 10},
	{"4 KiB by a new file and a rename", rig.WriteRename, 4 << 10},
}

// written is the config that a case writes, and bare is one that nobody serves,
// for what publishing takes by itself.
func (c *writeCase) written() rig.Config {
	if c.kind == rig.WriteDecider {
		return rig.Deciders
	}
	return rig.Config{Domain: "writes", Key: fmt.Sprintf("%s_%d", c.kind, c.size), Size: c.size}
}

func (c *writeCase) bare() rig.Config {
	const least = 8 // a content is never empty
	return rig.Config{Domain: "bare", Key: fmt.Sprintf("%s_%d", c.kind, c.size), Size: max(c.size, least)}
}

// measureWrites times writes through the mount, beside those of a plain file, and
// beside what publishing costs without a file.
func (b *bench) measureWrites(ctx context.Context) (err error) {
	fleet := &rig.Fleet{Dependency: "writes.dep", Configs: manyConfigs("others", 200, 1<<10)}
	bare := &rig.Fleet{Dependency: "nobody.dep"}
	for _, c := range writeCases {
		fleet.Configs = append(fleet.Configs, c.written())
		bare.Configs = append(bare.Configs, c.bare())
	}
	if err := errors.Join(b.rig.Fill(ctx, fleet), b.rig.Fill(ctx, bare)); err != nil {
		return err
	}
	const writers = "root" // a group that every machine has
	m, err := b.rig.StartMonitor(ctx, fleet, "--writers", writers)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Stop()) }()
	decider, err := b.rig.SetDecider(ctx, m, "bench", 0)
	if err != nil {
		return err
	}
	dir, err := b.rig.NewDir("plain")
	if err != nil {
		return err
	}
	for _, c := range writeCases {
		b.progress.Step("writing %s", c.what)
		served := m.Config(c.written())
		if c.kind == rig.WriteDecider {
			served = decider
		}
		costs, err := b.rig.CompareWrites(ctx, rig.Writes{
			Kind: c.kind, Served: served, Plain: filepath.Join(dir, filepath.Base(served)), Bare: c.bare(), N: b.pick(120, 25),
		})
		if err != nil {
			return fmt.Errorf("measuring writes of %s: %w\nthe monitor's last warnings:\n%s", c.what, err, m.Log())
		}
		b.table.add("writes", "write of "+c.what+", p50, against publishing as much without a file",
			nanoseconds(costs.Served.P50), nanoseconds(costs.Bare.P50)).ratioGoal(1.3)
		b.table.add("writes", "the same, against a plain file", nanoseconds(costs.Served.P50), nanoseconds(costs.Plain.P50))
	}
	return nil
}
