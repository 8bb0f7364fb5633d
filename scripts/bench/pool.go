package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// The names that scripts/poolbench has for what it measures.
const (
	bareClients = "bare"
	poolClients = "pool"
	peerClients = "baseplate"
	// The transport that most servers speak.
	mainTransport = "framed"
)

// calls is how a client called, as scripts/poolbench reports it.
type calls struct {
	Client     string `json:"client"`
	Transport  string `json:"transport"`
	Goroutines int    `json:"goroutines"`

	CallsPerSecond float64 `json:"calls_per_second"`
	P50            float64 `json:"p50"`
	P99            float64 `json:"p99"`
	CPU            float64 `json:"cpu"`
	Allocs         float64 `json:"allocs"`
	Bytes          float64 `json:"bytes"`
}

// callRounds says how long to measure calls.
type callRounds struct {
	number int
	each   time.Duration
}

// measurePool measures Thrift calls. The program that does it is a module of its
// own, because it knows the pool that ours is compared with.
func (b *bench) measurePool(ctx context.Context) error {
	b.progress.Step("calling Thrift servers")
	all, err := runPoolbench(ctx, callRounds{b.pick(31, 7), 100 * time.Millisecond})
	if err != nil {
		return fmt.Errorf("measuring Thrift calls: %w", err)
	}
	return b.table.addCalls(all)
}

// runPoolbench builds and runs scripts/poolbench.
func runPoolbench(ctx context.Context, rounds callRounds) ([]calls, error) {
	module, err := output(exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}"))
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "kingpin-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	program := filepath.Join(dir, "poolbench")
	source := filepath.Join(strings.TrimSpace(module), "scripts", "poolbench")
	if _, err := output(exec.CommandContext(ctx, "go", "build", "-C", source, "-o", program, ".")); err != nil {
		return nil, err
	}
	report, err := output(exec.CommandContext(ctx, program, "--rounds", strconv.Itoa(rounds.number), "--round", rounds.each.String()))
	if err != nil {
		return nil, err
	}
	var all []calls
	if err := json.Unmarshal([]byte(report), &all); err != nil {
		return nil, fmt.Errorf("reading what %s printed: %w", program, err)
	}
	return all, nil
}

// output returns what a command prints; an error has what it complains of.
func output(cmd *exec.Cmd) (string, error) {
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("running %v: %w\n%s", cmd, err, &stderr)
	}
	return stdout.String(), nil
}

// manyGoroutines is for what depends little on how many call.
const manyGoroutines = 16

// addCalls adds rows that compare the pool with bare clients, and with the other
// pool.
func (t *table) addCalls(all []calls) error {
	pools := 0
	for _, ours := range all {
		if ours.Client != poolClients {
			continue
		}
		pools++
		for _, against := range []struct{ client, text string }{
			{bareClients, "against a bare client each"}, {peerClients, "against baseplate.go's pool"},
		} {
			theirs, ok := like(all, ours, against.client)
			if !ok {
				return fmt.Errorf("measuring Thrift calls: nothing of %q with %d goroutines over %s", against.client, ours.Goroutines, ours.Transport)
			}
			t.addComparison(ours, theirs, against.text)
		}
	}
	if pools == 0 {
		return fmt.Errorf("measuring Thrift calls: nothing of %q", poolClients)
	}
	return nil
}

// like returns what another client did as often and over the same transport.
func like(all []calls, c calls, client string) (calls, bool) {
	for _, other := range all {
		if other.Client == client && other.Transport == c.Transport && other.Goroutines == c.Goroutines {
			return other, true
		}
	}
	return calls{}, false
}

// addComparison adds the rows of two clients. Over the second transport only how
// fast they are is of interest.
func (t *table) addComparison(ours, theirs calls, against string) {
	what := fmt.Sprintf("Thrift calls, %d at once", ours.Goroutines)
	if ours.Transport != mainTransport {
		what += ", over THeader"
	}
	add := func(name string, measured, baseline *quantity) *row {
		return t.add("pool", fmt.Sprintf("%s: %s, %s", what, name, against), measured, baseline)
	}
	speed := add("how many", perSecond(ours.CallsPerSecond), perSecond(theirs.CallsPerSecond))
	if theirs.Client == bareClients {
		speed.ratioAtLeast(0.95)
	} else {
		speed.goal("> 1×", *speed.Ratio > 1)
	}
	if ours.Transport != mainTransport {
		return
	}
	add("p50", &quantity{ours.P50, "s"}, &quantity{theirs.P50, "s"})
	add("p99", &quantity{ours.P99, "s"}, &quantity{theirs.P99, "s"})
	if ours.Goroutines != manyGoroutines {
		return
	}
	add("processor time", &quantity{ours.CPU, "s"}, &quantity{theirs.CPU, "s"})
	add("allocations", &quantity{ours.Allocs, ""}, &quantity{theirs.Allocs, ""})
	add("bytes allocated", &quantity{ours.Bytes, "B"}, &quantity{theirs.Bytes, "B"})
}
