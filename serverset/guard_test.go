package serverset

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// hosts returns the endpoints from..to, numbered so that they are in order.
func hosts(from, to int) []string {
	list := []string{}
	for i := from; i <= to; i++ {
		list = append(list, fmt.Sprintf("h%03d:80", i))
	}
	return list
}

var (
	epoch    = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	standard = GuardOptions{Ratio: 0.5, Hold: 5 * time.Minute}
)

func after(d time.Duration) time.Time { return epoch.Add(d) }

func wantServed(t *testing.T, v Verdict, serve []string, changed bool) {
	t.Helper()
	if v.Held || v.Offered != nil || !v.ReleaseAt.IsZero() {
		t.Fatalf("verdict = %+v, want nothing held", v)
	}
	if v.Serve == nil || !slices.Equal(v.Serve, serve) || v.Changed != changed {
		t.Fatalf("verdict serves %q (changed %v), want %q (changed %v)", v.Serve, v.Changed, serve, changed)
	}
}

func wantHeld(t *testing.T, v Verdict, serve, offered []string, release time.Time) {
	t.Helper()
	if !v.Held || !slices.Equal(v.Offered, offered) || v.Reason == "" || !v.ReleaseAt.Equal(release) {
		t.Fatalf("verdict = %+v, want %q held until %v with a reason", v, offered, release)
	}
	if v.Changed || !slices.Equal(v.Serve, serve) {
		t.Fatalf("verdict serves %q (changed %v), want still %q", v.Serve, v.Changed, serve)
	}
}

func TestGuardJudges(t *testing.T) {
	never := time.Time{}
	later := after(standard.Hold)
	tests := []struct {
		name    string
		opts    GuardOptions
		served  []string
		offered []string
		held    bool
		release time.Time
	}{
		{"the first list", standard, nil, hosts(1, 3), false, never},
		{"the first list, empty", standard, nil, nil, false, never},
		{"the first list, below the minimum", GuardOptions{MinimumSize: 5, Hold: time.Minute}, nil, hosts(1, 2), false, never},
		{"the first members after an empty list", GuardOptions{MinimumSize: 5, Hold: time.Minute}, []string{}, hosts(1, 2), false, never},
		{"empty after empty", standard, []string{}, nil, false, never},
		{"growth", standard, hosts(1, 10), hosts(1, 12), false, never},
		{"growth below the minimum", GuardOptions{MinimumSize: 9, Hold: time.Minute}, hosts(1, 3), hosts(1, 4), false, never},
		{"all others", standard, hosts(1, 10), hosts(11, 20), false, never},
		{"half is left", standard, hosts(1, 10), hosts(1, 5), false, never},
		{"less than half is left", standard, hosts(1, 10), hosts(1, 4), true, later},
		{"less than half of an odd number", standard, hosts(1, 5), hosts(1, 2), true, later},
		{"few served: any ratio", standard, hosts(1, 4), hosts(1, 1), false, never},
		{"few served: not empty", standard, hosts(1, 1), nil, true, never},
		{"empty", standard, hosts(1, 10), nil, true, never},
		{"below the minimum", GuardOptions{MinimumSize: 3, Hold: standard.Hold}, hosts(1, 3), hosts(1, 2), true, later},
		{"at the minimum", GuardOptions{MinimumSize: 3, Hold: standard.Hold}, hosts(1, 4), hosts(1, 3), false, never},
		{"ratio 0", GuardOptions{Hold: standard.Hold}, hosts(1, 10), hosts(1, 1), false, never},
		{"ratio 0, empty", GuardOptions{Hold: standard.Hold}, hosts(1, 10), nil, true, never},
		{"ratio 1", GuardOptions{Ratio: 1, Hold: standard.Hold}, hosts(1, 10), hosts(1, 9), true, later},
		{"ratio above 1", GuardOptions{Ratio: 7, Hold: standard.Hold}, hosts(1, 10), hosts(1, 10), false, never},
		{"negative ratio", GuardOptions{Ratio: -1, Hold: standard.Hold}, hosts(1, 10), hosts(1, 1), false, never},
		{"a bound that binary fractions miss", GuardOptions{Ratio: 0.07, Hold: standard.Hold}, hosts(1, 100), hosts(1, 7), false, never},
		{"no hold", GuardOptions{Ratio: 0.5}, hosts(1, 10), hosts(1, 1), false, never},
		{"no hold, empty", GuardOptions{Ratio: 0.5}, hosts(1, 10), nil, true, never},
		{"negative hold", GuardOptions{Ratio: 0.5, Hold: -time.Minute}, hosts(1, 10), hosts(1, 1), false, never},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			v := NewGuard(test.opts, test.served).Offer(epoch, test.offered)
			if test.held {
				wantHeld(t, v, test.served, test.offered, test.release)
				return
			}
			wantServed(t, v, test.offered, test.served == nil || !slices.Equal(test.served, test.offered))
		})
	}
}

func TestGuardNormalizes(t *testing.T) {
	g := NewGuard(standard, []string{"b:1", "a:1", "b:1"})
	offered := []string{"c:1", "a:1", "b:1", "a:1"}
	wantServed(t, g.Offer(epoch, []string{"a:1", "b:1"}), []string{"a:1", "b:1"}, false)
	wantServed(t, g.Offer(epoch, offered), []string{"a:1", "b:1", "c:1"}, true)
	if !slices.Equal(offered, []string{"c:1", "a:1", "b:1", "a:1"}) {
		t.Errorf("Offer changed its argument to %q", offered)
	}
}

func TestGuardReleasesAfterHold(t *testing.T) {
	g := NewGuard(standard, hosts(1, 10))
	wantHeld(t, g.Offer(epoch, hosts(1, 2)), hosts(1, 10), hosts(1, 2), after(5*time.Minute))
	// The same list again goes on with the same clock.
	wantHeld(t, g.Offer(after(time.Minute), hosts(1, 2)), hosts(1, 10), hosts(1, 2), after(5*time.Minute))
	wantHeld(t, g.Check(after(5*time.Minute-1)), hosts(1, 10), hosts(1, 2), after(5*time.Minute))
	v := g.Check(after(5 * time.Minute))
	wantServed(t, v, hosts(1, 2), true)
	if !strings.Contains(v.Reason, "unchanged for 5m0s") {
		t.Errorf("reason = %q, want it to say why a suspicious list went out", v.Reason)
	}
	wantServed(t, g.Check(after(time.Hour)), hosts(1, 2), false)
}

func TestGuardReleasesOnOffer(t *testing.T) {
	g := NewGuard(standard, hosts(1, 10))
	g.Offer(epoch, hosts(1, 2))
	wantServed(t, g.Offer(after(standard.Hold), hosts(1, 2)), hosts(1, 2), true)
}

func TestGuardClockStartsAgainWhenHeldListChanges(t *testing.T) {
	g := NewGuard(standard, hosts(1, 10))
	g.Offer(epoch, hosts(1, 2))
	wantHeld(t, g.Offer(after(4*time.Minute), hosts(2, 3)), hosts(1, 10), hosts(2, 3), after(9*time.Minute))
	wantHeld(t, g.Check(after(8*time.Minute)), hosts(1, 10), hosts(2, 3), after(9*time.Minute))
	wantServed(t, g.Check(after(9*time.Minute)), hosts(2, 3), true)
}

func TestGuardRecovery(t *testing.T) {
	g := NewGuard(standard, hosts(1, 10))
	g.Offer(epoch, hosts(1, 2))
	// Back to what is served: the hold ends, and a later one begins anew.
	wantServed(t, g.Offer(after(time.Minute), hosts(1, 10)), hosts(1, 10), false)
	wantHeld(t, g.Offer(after(2*time.Minute), hosts(1, 2)), hosts(1, 10), hosts(1, 2), after(7*time.Minute))
	// Above the bound: goes out.
	wantServed(t, g.Offer(after(3*time.Minute), hosts(1, 6)), hosts(1, 6), true)
}

func TestGuardEmptyNeedsAccept(t *testing.T) {
	g := NewGuard(standard, hosts(1, 10))
	wantHeld(t, g.Offer(epoch, nil), hosts(1, 10), nil, time.Time{})
	wantHeld(t, g.Check(after(1000*time.Hour)), hosts(1, 10), nil, time.Time{})
	wantServed(t, g.Accept(), []string{}, true)
	wantServed(t, g.Offer(after(1001*time.Hour), nil), []string{}, false)
	wantServed(t, g.Accept(), []string{}, false)
}

func TestGuardAcceptWithoutHeldList(t *testing.T) {
	wantServed(t, NewGuard(standard, hosts(1, 3)).Accept(), hosts(1, 3), false)
	if v := NewGuard(standard, nil).Accept(); v.Serve != nil || v.Changed {
		t.Errorf("verdict = %+v, want nothing to serve", v)
	}
}

// Losing a few at a time is what a service does that scales down: each step is
// judged against what is served, so that each goes out, and a jump over
// several steps is held.
func TestGuardJudgesAgainstServed(t *testing.T) {
	g := NewGuard(standard, hosts(1, 100))
	for _, left := range []int{60, 40, 20, 10, 5, 3} {
		wantServed(t, g.Offer(epoch, hosts(1, left)), hosts(1, left), true)
	}
	g = NewGuard(standard, hosts(1, 100))
	wantHeld(t, g.Offer(epoch, hosts(1, 40)), hosts(1, 100), hosts(1, 40), after(standard.Hold))
	// 30 is most of the 40 that are held, but not of the 100 that are served.
	wantHeld(t, g.Offer(epoch, hosts(1, 30)), hosts(1, 100), hosts(1, 30), after(standard.Hold))
}

func TestGuardSetOptions(t *testing.T) {
	g := NewGuard(standard, hosts(1, 10))
	g.Offer(epoch, hosts(1, 2))
	g.SetOptions(GuardOptions{Ratio: 0.5, Hold: time.Hour})
	wantHeld(t, g.Check(after(5*time.Minute)), hosts(1, 10), hosts(1, 2), after(time.Hour))
	g.SetOptions(GuardOptions{Ratio: 0.2, Hold: time.Hour})
	wantServed(t, g.Check(after(6*time.Minute)), hosts(1, 2), true)
}

func TestGuardClockSetBack(t *testing.T) {
	g := NewGuard(standard, hosts(1, 10))
	g.Offer(epoch, hosts(1, 2))
	wantHeld(t, g.Check(after(-24*time.Hour)), hosts(1, 10), hosts(1, 2), after(standard.Hold-24*time.Hour))
	wantServed(t, g.Check(after(standard.Hold-24*time.Hour)), hosts(1, 2), true)
}

// restart saves a guard's state as JSON and restores it into another.
func restart(t *testing.T, g *Guard, opts GuardOptions) *Guard {
	t.Helper()
	saved, err := json.Marshal(g.State())
	if err != nil {
		t.Fatal(err)
	}
	var state State
	if err := json.Unmarshal(saved, &state); err != nil {
		t.Fatal(err)
	}
	restored := NewGuard(opts, nil)
	restored.Restore(state)
	return restored
}

func TestGuardRestartWhileHeld(t *testing.T) {
	g := NewGuard(standard, hosts(1, 10))
	g.Offer(epoch, hosts(1, 2))
	g = restart(t, g, standard)
	// Nobody has looked at ZooKeeper yet: time alone doesn't release it.
	wantHeld(t, g.Check(after(time.Hour)), hosts(1, 10), hosts(1, 2), time.Time{})
	wantHeld(t, g.Offer(after(time.Minute), hosts(1, 2)), hosts(1, 10), hosts(1, 2), after(standard.Hold))
	wantServed(t, g.Check(after(standard.Hold)), hosts(1, 2), true)
}

func TestGuardRestart(t *testing.T) {
	g := restart(t, NewGuard(standard, nil), standard)
	wantServed(t, g.Offer(epoch, nil), []string{}, true)
	g = restart(t, g, standard)
	wantServed(t, g.Offer(epoch, nil), []string{}, false)

	g = NewGuard(standard, hosts(1, 10))
	g.Offer(epoch, nil)
	g = restart(t, g, standard)
	wantServed(t, g.Accept(), []string{}, true)
}

// A state without the time of its hold, as a hand may have left it, must not
// look like a hold that has lasted for ever.
func TestGuardRestoreWithoutTime(t *testing.T) {
	g := NewGuard(standard, nil)
	g.Restore(State{Served: hosts(1, 10), Held: &Held{Endpoints: hosts(1, 2)}})
	wantHeld(t, g.Offer(epoch, hosts(1, 2)), hosts(1, 10), hosts(1, 2), after(standard.Hold))
}

// FuzzGuard plays a random history and compares every verdict with what is
// promised. Each byte is a step: which one in the two low bits, how many
// endpoints or minutes in the others.
func FuzzGuard(f *testing.F) {
	f.Add(uint8(50), uint8(0), []byte{40, 8, 0, 1, 2, 3})
	f.Add(uint8(50), uint8(3), []byte{40, 8, 21, 8, 21, 4, 21, 0, 253, 2, 40})
	f.Add(uint8(0), uint8(0), []byte{80, 0, 255, 255, 3, 0, 2})
	f.Add(uint8(100), uint8(200), []byte{4, 0, 3, 40, 36, 3, 255})
	f.Fuzz(func(t *testing.T, percent, minimum uint8, steps []byte) {
		opts := GuardOptions{Ratio: float64(percent) / 100, MinimumSize: int(minimum), Hold: 10 * time.Minute}
		g := NewGuard(opts, nil)
		now, since := epoch, epoch // since: when the list last offered was first offered
		var served, offered []string
		for _, step := range steps[:min(len(steps), 64)] {
			size := int(step >> 2)
			accepted := false
			var v Verdict
			switch step & 3 {
			case 0:
				if list := hosts(1, size); offered == nil || !slices.Equal(list, offered) {
					offered, since = list, now
				}
				v = g.Offer(now, offered)
			case 1:
				now = now.Add(time.Duration(size) * time.Minute)
				v = g.Check(now)
			case 2:
				accepted = true
				v = g.Accept()
			case 3:
				g = restart(t, g, opts)
				if offered == nil {
					continue
				}
				v = g.Offer(now, offered)
			}
			checkVerdict(t, v, served, offered, accepted, now.Sub(since) >= opts.Hold)
			served = v.Serve
		}
	})
}

// checkVerdict checks what must hold of any verdict, given what was served
// before it and what was offered last.
func checkVerdict(t *testing.T, v Verdict, served, offered []string, accepted, stood bool) {
	t.Helper()
	if changed := !slices.Equal(v.Serve, served) || (v.Serve == nil) != (served == nil); v.Changed != changed {
		t.Fatalf("%+v: changed, but %q was served before", v, served)
	}
	if len(v.Serve) == 0 && len(served) > 0 && !accepted {
		t.Fatalf("%+v: nothing is served, and nobody accepted that", v)
	}
	if !v.Held {
		if !slices.Equal(v.Serve, offered) {
			t.Fatalf("%+v: neither held nor served: %q", v, offered)
		}
		return
	}
	if accepted || v.Changed || !slices.Equal(v.Offered, offered) || v.Reason == "" {
		t.Fatalf("%+v: held in spite of an accept, a change or without a reason; offered %q", v, offered)
	}
	if len(offered) >= len(served) {
		t.Fatalf("%+v: held, though nothing was lost against %q", v, served)
	}
	if stood && len(offered) > 0 {
		t.Fatalf("%+v: held, though it has stood for long enough", v)
	}
}
