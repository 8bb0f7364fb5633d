package main

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/kingpinfs/kingpin/scripts/internal/rig"
	"github.com/kingpinfs/kingpin/scripts/internal/rigtest"
)

func TestMain(m *testing.M) {
	if code, ok := rig.RunRole(); ok {
		os.Exit(code)
	}
	goleak.VerifyTestMain(m)
}

// Two short rounds: that nothing goes wrong, and that all that should happen
// does. What may grow needs longer.
func TestShortSoak(t *testing.T) {
	s := newSoak(t.Output(), 300*time.Millisecond)
	if err := s.run(context.WithoutCancel(t.Context()), rigtest.BuildKingpin(t), time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if d := s.done; d.rounds != 2 || d.kills != 2*killsPerRound || d.restarts != 2 || d.watchers != 2 || d.updates == 0 || d.joins == 0 {
		t.Errorf("done: %+v", d)
	}
	if s.read.Uses == 0 {
		t.Error("nobody has used the files")
	}
	var table strings.Builder
	if err := s.print(&table); err != nil {
		t.Fatal(err)
	}
	for _, r := range resources {
		if !strings.Contains(table.String(), "\n"+r.what+" ") {
			t.Errorf("%q is missing in:\n%s", r.what, &table)
		}
	}
}

func TestGrowth(t *testing.T) {
	fine := sample{100, 30, 10, 100, 30, 10, 10, 2, 2, 60, 1}
	if len(fine) != len(resources) {
		t.Fatalf("%d values for %d resources", len(fine), len(resources))
	}
	s := &soak{samples: [2]sample{fine, fine}}
	if err := s.grown(); err != nil {
		t.Errorf("nothing has grown: %v", err)
	}
	for i, r := range resources {
		grown := append(sample{}, fine...)
		grown[i] = r.most(fine[i])
		s.samples[1] = grown
		if err := s.grown(); err != nil {
			t.Errorf("within the tolerance: %v", err)
		}
		grown[i]++
		if err := s.grown(); err == nil || !strings.Contains(err.Error(), r.what) {
			t.Errorf("%s has grown from %v to %v: %v", r.what, fine[i], grown[i], err)
		}
	}
}

func TestTolerances(t *testing.T) {
	for want, r := range map[string]resource{
		"the same": {times: 1}, "+ 4": {times: 1, plus: 4}, "2×": {times: 2}, "1.1× + 2 MB": {unit: "MB", times: 1.1, plus: 2},
	} {
		if got := r.tolerance(); got != want {
			t.Errorf("%+v: %q, not %q", r, got, want)
		}
	}
}
