package integration

import (
	"fmt"
	"strconv"
	"testing"

	"golang.org/x/sync/errgroup"
)

// Deciders are set, renamed into place and removed on two machines and by command,
// all at once, and no change is lost.
func TestWriteStorm(t *testing.T) {
	t.Parallel()
	f := newFleet(t, gofakes3)
	writeFleet(f)
	var boxes []*monitor
	for range 2 {
		m := f.startMonitor(monitorConfig{Mode: "fuse", Dependencies: []string{boxDep}})
		m.awaitConfig("decider/first", "1\n")
		boxes = append(boxes, m)
	}
	const rounds = 15
	var all errgroup.Group
	for i, m := range boxes {
		for kind, script := range map[string]string{
			"set":     "for i in $(seq %[1]d); do echo $i > decider/%[2]s || exit 1; [ $(cat decider/%[2]s) = $i ] || exit 2; done",
			"renamed": "for i in $(seq %[1]d); do echo $i > decider/.%[2]s.tmp; mv decider/.%[2]s.tmp decider/%[2]s || exit 1; [ $(cat decider/%[2]s) = $i ] || exit 2; done",
			"removed": "for i in $(seq %[1]d); do echo $i > decider/%[2]s || exit 1; rm decider/%[2]s || exit 3; [ ! -e decider/%[2]s ] || exit 2; done",
		} {
			script := fmt.Sprintf(script, rounds, fmt.Sprintf("storm_%s_%d", kind, i))
			all.Go(func() error {
				if out, code := m.sh("export PATH; timeout 120 sh -c '" + script + "'"); code != 0 {
					return fmt.Errorf("%s: exit code %d, %s", script, code, out)
				}
				return nil
			})
		}
	}
	all.Go(func() error {
		for i := range rounds {
			if r := f.try("", "decider", "set", "storm_command", strconv.Itoa(i)); r.code != 0 {
				return fmt.Errorf("kingpin decider set: %s", r.stderr)
			}
		}
		return nil
	})
	if err := all.Wait(); err != nil {
		t.Fatal(err)
	}
	values := f.deciders()
	for i := range boxes {
		for kind, want := range map[string]int{"set": rounds, "renamed": rounds, "removed": 0} {
			if got := values[fmt.Sprintf("storm_%s_%d", kind, i)]; got != want {
				t.Errorf("what was %s is %d, want %d", kind, got, want)
			}
		}
	}
	if values["storm_command"] != rounds-1 {
		t.Errorf("what was set by command is %d", values["storm_command"])
	}
	for _, m := range boxes {
		await(t, "the deciders of "+m.dirs.config, func() error {
			for name, value := range values {
				if err := has(m.decider(name), strconv.Itoa(value)+"\n"); err != nil {
					return err
				}
			}
			if files := listDir(t, m.config("decider")); len(files) != len(values) {
				return fmt.Errorf("there are %q, want %v", files, values)
			}
			return nil
		})
	}
}
