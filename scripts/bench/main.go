// Command bench measures a real kingpin binary, with real servers, on this
// machine, and prints a table of what was measured beside a baseline of the same
// run. docs/benchmarks.md says what each row means. It stores nothing, and needs
// root, because it mounts.
//
//	go run ./scripts/bench [--binary bin/kingpin] [--quick] [--only reads,updates,…] [--output json]
//
// It exits with 0 also when a goal is missed, which the table says: machines
// differ, and do other things meanwhile. It exits with 1 when a measurement
// fails, and when a reader found anything wrong with what it read.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/kingpinfs/kingpin/scripts/internal/report"
	"github.com/kingpinfs/kingpin/scripts/internal/rig"
)

func main() {
	if code, ok := rig.RunRole(); ok {
		os.Exit(code)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// options are the flags.
type options struct {
	binary string
	quick  bool
	only   []string // names of parts
	json   bool
}

// partNames are what --only takes, in the order of the table.
var partNames = []string{"reads", "updates", "publish", "writes", "cold", "memory", "rest", "kills", "pool"}

func parseOptions(args []string, stderr io.Writer) (*options, error) {
	o := new(options)
	var only, output string
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.binary, "binary", "bin/kingpin", "the kingpin to measure")
	flags.BoolVar(&o.quick, "quick", false, "measure less often: a minute and a half instead of five, and more noise")
	flags.StringVar(&only, "only", "", "measure only some of "+strings.Join(partNames, ","))
	flags.StringVar(&output, "output", "table", "table or json")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	o.only = partNames
	if only != "" {
		o.only = strings.Split(only, ",")
	}
	for _, name := range o.only {
		if !slices.Contains(partNames, name) {
			return nil, fmt.Errorf("--only %q: want some of %s", name, strings.Join(partNames, ","))
		}
	}
	switch output {
	case "table":
	case "json":
		o.json = true
	default:
		return nil, fmt.Errorf("--output %q: want table or json", output)
	}
	if flags.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	return o, nil
}

func (o *options) wants(parts ...string) bool {
	return slices.ContainsFunc(parts, func(part string) bool { return slices.Contains(o.only, part) })
}

// run returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parseOptions(args, stderr)
	if err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		fmt.Fprintln(stderr, "bench:", err)
		return 2
	}
	b := &bench{options: o, progress: report.NewProgress("bench", stderr)}
	err = b.measure(ctx)
	b.progress.End()
	if ctx.Err() != nil {
		fmt.Fprintln(stderr, "bench: interrupted:", err)
		return 1
	}
	// What was measured before something failed is worth seeing.
	if printErr := b.table.print(stdout, o.json); printErr != nil {
		err = errors.Join(err, printErr)
	}
	if err != nil {
		fmt.Fprintln(stderr, "bench:", err)
		return 1
	}
	return 0
}

// bench is one run.
type bench struct {
	options  *options
	progress *report.Progress
	rig      *rig.Rig
	table    table
}

// pick returns one of two numbers: how often to do something in a full run and
// in a quick one.
func (b *bench) pick(full, quick int) int {
	if b.options.quick {
		return quick
	}
	return full
}

// measure runs what is selected. Latencies are of an S3 that works as real ones
// do, throughput is of one that is no bottleneck.
func (b *bench) measure(ctx context.Context) error {
	if b.options.wants("publish") {
		if err := b.measurePublish(ctx); err != nil {
			return err
		}
	}
	if b.options.wants("pool") {
		if err := b.measurePool(ctx); err != nil {
			return err
		}
	}
	if b.options.wants("reads", "updates", "kills") {
		if err := b.withRig(ctx, rig.VersityGW, b.measureSmall); err != nil {
			return err
		}
	}
	if b.options.wants("writes") {
		if err := b.withRig(ctx, rig.VersityGW, b.measureWrites); err != nil {
			return err
		}
	}
	if b.options.wants("cold", "memory", "rest") {
		return b.withRig(ctx, rig.MemoryS3, b.measureLarge)
	}
	return nil
}

// withRig measures with servers of its own.
func (b *bench) withRig(ctx context.Context, kind rig.S3Kind, measure func(context.Context) error) (err error) {
	b.progress.Step("starting ZooKeeper and S3")
	if b.rig, err = rig.Start(ctx, b.options.binary, kind); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.rig.Close()) }()
	return measure(ctx)
}
