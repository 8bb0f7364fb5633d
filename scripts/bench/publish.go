package main

import (
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"
)

// publishBenchmark is the benchmark of package fs that publishes a version and
// reads it, and what its two variants are called.
const (
	publishBenchmark = "BenchmarkPublish"
	publishedByFUSE  = publishBenchmark + "/fuse/read=true"
	publishedPlain   = publishBenchmark + "/plain/read=true"
)

// measurePublish runs the filesystem's own benchmark: from handing a content to
// the volume until it has been read.
func (b *bench) measurePublish(ctx context.Context) error {
	b.progress.Step("publishing and reading")
	const runs = 3
	cmd := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-count", strconv.Itoa(runs),
		"-bench", "^"+publishBenchmark+"$/^(fuse|plain)$/^read=true$", "-benchtime", strconv.Itoa(b.pick(1000, 200))+"ms",
		"github.com/kingpinfs/kingpin/fs")
	output, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("running %v: %w\n%s", cmd, err, output)
	}
	took := parseBenchmarks(string(output))
	if len(took[publishedByFUSE]) != runs || len(took[publishedPlain]) != runs {
		return fmt.Errorf("running %v: its output has no %d results each of %s and %s:\n%s", cmd, runs, publishedByFUSE, publishedPlain, output)
	}
	b.table.add("publish", "content published → read, in one process, against a plain rename",
		seconds(median(took[publishedByFUSE])), seconds(median(took[publishedPlain])))
	return nil
}

// parseBenchmarks returns the times per operation by the benchmarks' names.
func parseBenchmarks(output string) map[string][]time.Duration {
	took := map[string][]time.Duration{}
	for line := range strings.Lines(output) {
		fields := strings.Fields(line)
		if len(fields) < 4 || fields[3] != "ns/op" {
			continue
		}
		// What follows the last dash is the number of processors.
		name := fields[0][:max(strings.LastIndexByte(fields[0], '-'), 0)]
		if ns, err := strconv.ParseFloat(fields[2], 64); err == nil {
			took[name] = append(took[name], time.Duration(ns))
		}
	}
	return took
}

// median sorts durations and returns the middle one.
func median(all []time.Duration) time.Duration {
	slices.Sort(all)
	return all[len(all)/2]
}
