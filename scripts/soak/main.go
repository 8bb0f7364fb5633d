// Command soak runs a real monitor, with real servers, on this machine for a
// while: updates, members that come and go, killed workers, ZooKeeper restarts,
// inotify watchers that come and go. Then it compares what the monitor's
// processes take with what they took after the first round of all that.
// docs/benchmarks.md says more. It needs root, because it mounts.
//
//	go run ./scripts/soak [--binary bin/kingpin] [--for 10m]
//
// It exits with 1 if a read failed, a content was torn or went back, a watcher
// missed the last content, something didn't arrive, or a resource grew beyond
// its tolerance.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

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

// run returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("soak", flag.ContinueOnError)
	flags.SetOutput(stderr)
	binary := flags.String("binary", "bin/kingpin", "the kingpin to soak")
	period := flags.Duration("for", 10*time.Minute, "how long to go on after the first round")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return 2
	}
	if flags.NArg() > 0 {
		fmt.Fprintf(stderr, "soak: unexpected argument %q\n", flags.Arg(0))
		return 2
	}
	s := newSoak(stderr, betweenEvents)
	err := s.run(ctx, *binary, *period)
	s.progress.End()
	if ctx.Err() != nil {
		fmt.Fprintln(stderr, "soak: interrupted:", err)
		return 1
	}
	err = errors.Join(err, s.grown(), s.print(stdout))
	if err != nil {
		fmt.Fprintln(stderr, "soak:", err)
		return 1
	}
	return 0
}
