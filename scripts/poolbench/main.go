// Command poolbench measures Thrift calls through thriftpool, through the client
// pool of github.com/reddit/baseplate.go, and, as the ceiling of both, through a
// client of the library with a connection of its own for each goroutine. It is a
// module of its own, so that the library's users don't get what it compares.
//
//	go run -C scripts/poolbench . [--rounds 15] [--round 200ms] [--goroutines 1,16,256] [--transports framed,header]
//
// It prints JSON, which scripts/bench, that is `make bench`, makes its table of.
// To look at one of them alone:
//
//	go run -C scripts/poolbench . --clients pool --goroutines 16 --cpuprofile /tmp/pool.pprof
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// options are the flags.
type options struct {
	rounds     int
	round      time.Duration
	goroutines []int
	transports []string
	clients    []string
	cpuProfile string
}

func parseOptions(args []string, stderr io.Writer) (*options, error) {
	o := new(options)
	var goroutines, transports, clients string
	flags := flag.NewFlagSet("poolbench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.IntVar(&o.rounds, "rounds", 15, "how often each client has its turn")
	flags.DurationVar(&o.round, "round", 200*time.Millisecond, "how long a turn is")
	flags.StringVar(&goroutines, "goroutines", "1,16,256", "how many call at once")
	flags.StringVar(&transports, "transports", strings.Join(transportNames, ","), "transports, with the protocol that is usual over each")
	flags.StringVar(&clients, "clients", strings.Join(clientNames, ","), "whom to measure")
	flags.StringVar(&o.cpuProfile, "cpuprofile", "", "write a CPU profile of this process to a `file`")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	for text := range strings.SplitSeq(goroutines, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return nil, fmt.Errorf("--goroutines %q: want numbers", goroutines)
		}
		o.goroutines = append(o.goroutines, n)
	}
	var err error
	if o.transports, err = some("--transports", transports, transportNames); err != nil {
		return nil, err
	}
	if o.clients, err = some("--clients", clients, clientNames); err != nil {
		return nil, err
	}
	if flags.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if o.rounds < 1 || o.round <= 0 {
		return nil, errors.New("--rounds and --round: want more than nothing")
	}
	return o, nil
}

// some parses a list of some of all.
func some(name, list string, all []string) ([]string, error) {
	names := strings.Split(list, ",")
	for _, n := range names {
		if !slices.Contains(all, n) {
			return nil, fmt.Errorf("%s %q: want some of %s", name, list, strings.Join(all, ","))
		}
	}
	return names, nil
}

// run returns the exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	if len(args) > 0 && args[0] == serveCommand {
		if err := serve(stdin, stdout); err != nil {
			fmt.Fprintln(stderr, "poolbench: serving:", err)
			return 1
		}
		return 0
	}
	o, err := parseOptions(args, stderr)
	if err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		fmt.Fprintln(stderr, "poolbench:", err)
		return 2
	}
	results, err := measureAll(ctx, o)
	if err == nil {
		err = json.NewEncoder(stdout).Encode(results)
	}
	if err != nil {
		fmt.Fprintln(stderr, "poolbench:", err)
		return 1
	}
	return 0
}

// measureAll measures everybody over each transport with each number of
// goroutines.
func measureAll(ctx context.Context, o *options) (results []result, err error) {
	server, err := startServer(ctx)
	if err != nil {
		return nil, fmt.Errorf("starting a server: %w", err)
	}
	defer func() { err = errors.Join(err, server.stop()) }()
	if o.cpuProfile != "" {
		file, err := os.Create(o.cpuProfile)
		if err != nil {
			return nil, err
		}
		defer file.Close()
		if err := pprof.StartCPUProfile(file); err != nil {
			return nil, err
		}
		defer pprof.StopCPUProfile()
	}
	for _, transport := range o.transports {
		for _, goroutines := range o.goroutines {
			some, err := measure(ctx, o, target{server.addresses[transport], transport, goroutines})
			if err != nil {
				return nil, fmt.Errorf("%d goroutines over %s: %w", goroutines, transport, err)
			}
			results = append(results, some...)
		}
	}
	return results, nil
}
