package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/kingpinfs/kingpin/scripts/internal/report"
	"github.com/kingpinfs/kingpin/scripts/internal/rig"
)

// sample is what the monitor takes at some moment, by the resource's place in
// resources.
type sample []float64

// resource is something that must not grow.
type resource struct {
	what string
	unit string // "MB", or "" for a number of things
	// times and plus are the tolerance: at the end there may be so many times
	// what there was at the start, and so many more.
	times, plus float64
}

// The tolerances are for what comes and goes by itself: connections to S3 that
// are kept for a while, threads that Go starts where system calls take long and
// never ends, memory that the garbage collector hasn't given back yet, and a
// journal that is written anew when it has doubled. What leaks at each event is
// far beyond them after ten minutes.
var resources = []resource{
	{"holder: RSS", "MB", 1.1, 2},
	{"holder: descriptors", "", 1, 4},
	{"holder: threads", "", 1, 4},
	{"worker: RSS", "MB", 1.15, 4},
	{"worker: descriptors", "", 1, 8},
	{"worker: threads", "", 1, 8},
	{"memory files that they hold", "MB", 1.1, 2},
	{"processes", "", 1, 0},
	{"mounts", "", 1, 0},
	{"files beneath the mounts", "", 1, 4},
	{"state directory", "MB", 2, 2},
}

// sample looks at the monitor.
func (s *soak) sample() (sample, error) {
	processes, err := s.monitor.Processes()
	if err != nil {
		return nil, err
	}
	worker, err := s.monitor.Worker()
	if err != nil {
		return nil, err
	}
	holderUsage, err := rig.UsageOf(s.monitor.PID())
	if err != nil {
		return nil, err
	}
	workerUsage, err := rig.UsageOf(worker)
	if err != nil {
		return nil, err
	}
	both, err := rig.UsageOf(s.monitor.PID(), worker)
	if err != nil {
		return nil, err
	}
	disk, err := s.monitor.OnDisk()
	if err != nil {
		return nil, err
	}
	const megabyte = 1e6
	return sample{
		float64(holderUsage.RSS) / megabyte, float64(holderUsage.FDs), float64(holderUsage.Threads),
		float64(workerUsage.RSS) / megabyte, float64(workerUsage.FDs), float64(workerUsage.Threads),
		float64(both.Shared) / megabyte, float64(len(processes)), float64(disk.Mounts),
		float64(disk.PlainFiles), float64(disk.StateBytes) / megabyte,
	}, nil
}

// grown returns an error that names what has grown beyond its tolerance.
func (s *soak) grown() error {
	var errs []error
	if s.samples[0] == nil {
		return nil // it has failed before
	}
	for i, r := range resources {
		if start, end := s.samples[0][i], s.samples[1][i]; end > r.most(start) {
			errs = append(errs, fmt.Errorf("%s: %s at the start, %s at the end", r.what, r.text(start), r.text(end)))
		}
	}
	return errors.Join(errs...)
}

func (r resource) most(start float64) float64 { return start*r.times + r.plus }

func (r resource) text(value float64) string {
	if r.unit == "" {
		return fmt.Sprint(value)
	}
	return report.ThreeDigits(value) + " " + r.unit
}

func (r resource) tolerance() string {
	var parts []string
	if r.times != 1 {
		parts = append(parts, fmt.Sprintf("%g×", r.times))
	}
	if r.plus > 0 {
		parts = append(parts, strings.TrimSpace(fmt.Sprintf("+ %g %s", r.plus, r.unit)))
	}
	if len(parts) == 0 {
		return "the same"
	}
	return strings.Join(parts, " ")
}

// print prints what was done, what readers saw, and the comparison.
func (s *soak) print(out io.Writer) error {
	d, r := s.done, s.read
	_, err := fmt.Fprintf(out, "%d rounds: %d updates, %d joins, %d kills -9 of the worker, %d restarts of ZooKeeper, %d watchers started\n"+
		"%d uses of files: %d failed, %d torn, %d older; the longest took %v\n",
		d.rounds, d.updates, d.joins, d.kills, d.restarts, d.watchers, r.Uses, r.Failed, r.Torn, r.Back, r.Longest)
	if err != nil || s.samples[0] == nil {
		return err
	}
	lines := [][]string{{"resource", "start", "end", "tolerance", "kept"}}
	for i, r := range resources {
		start, end := s.samples[0][i], s.samples[1][i]
		kept := map[bool]string{true: "yes", false: "NO"}[end <= r.most(start)]
		lines = append(lines, []string{r.what, r.text(start), r.text(end), r.tolerance(), kept})
	}
	return report.Align(out, lines, map[int]bool{1: true, 2: true})
}
