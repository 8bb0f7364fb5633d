package serverset

import (
	"strings"
	"testing"
	"time"
)

// zoneOf says that hosts have their zone before a dot.
func zoneOf(endpoint string) string {
	zone, _, found := strings.Cut(endpoint, ".")
	if !found {
		return ""
	}
	return zone
}

// zones returns in how many calls each zone is called.
func (b *rig) zones(calls int) map[string]int {
	n := make(map[string]int)
	for endpoint, times := range b.picked(calls) {
		n[zoneOf(endpoint)] += times
	}
	return n
}

func TestBalancerPrefersItsZone(t *testing.T) {
	options := BalancerOptions{
		Zone:     ZoneOptions{Own: "near", Of: zoneOf},
		Ejection: EjectionOptions{Failures: 1, MaxShare: 1},
	}
	near := []string{"near.a:80", "near.b:80", "near.c:80", "near.d:80", "near.e:80"}
	far := []string{"far.a:80", "far.b:80", "unknown:80"}
	only := func(t *testing.T, b *rig) {
		t.Helper()
		if n := b.zones(200); len(n) != 1 || n["near"] == 0 {
			t.Errorf("the calls go to %v, want the own zone alone", n)
		}
	}
	all := func(t *testing.T, b *rig) {
		t.Helper()
		if n := b.zones(500); n["far"] == 0 || n[""] == 0 {
			t.Errorf("the calls go to %v, want all zones", n)
		}
	}
	for name, selector := range map[string]func() Selector{"random": Random, "round robin": RoundRobin, "least outstanding": LeastOutstanding} {
		t.Run(name, func(t *testing.T) {
			options := options
			options.Selector = selector()
			b := newRig(t, 1, options)
			b.set(append(far, near...)...)
			only(t, b)
			b.fail(near[0], 1)
			b.fail(near[1], 1)
			only(t, b) // 3 of 5
			b.fail(near[2], 1)
			all(t, b) // 2 of 5
			b.due(5 * time.Second)
			for range 3 {
				l, err := b.Pick()
				if err != nil || !l.Trial() {
					t.Fatal(l.Endpoint(), err)
				}
				l.Done(Answered)
			}
			only(t, b)
			// One host alone is too few, good as it is.
			b.set(append(far, near[0])...)
			all(t, b)
			b.set(append(far, near[:2]...)...)
			only(t, b)
			b.set(far...)
			all(t, b)
		})
	}
}

// A retry goes to another zone rather than nowhere.
func TestBalancerLeavesItsZoneForARetry(t *testing.T) {
	b := newRig(t, 1, BalancerOptions{Zone: ZoneOptions{Own: "near", Of: zoneOf}})
	b.set("near.a:80", "near.b:80", "far.a:80")
	for range 100 {
		l, err := b.Pick("near.a:80")
		if err != nil || l.Endpoint() != "near.b:80" {
			t.Fatalf("picked %q, %v, want the other one near", l.Endpoint(), err)
		}
		l.Done(Answered)
	}
	l, err := b.Pick("near.a:80", "near.b:80")
	if err != nil || l.Endpoint() != "far.a:80" || l.Host().Zone() != "far" {
		t.Fatalf("picked %q, %v", l.Endpoint(), err)
	}
	l.Done(Answered)
}

func TestZoneOptions(t *testing.T) {
	tests := []struct {
		name      string
		options   ZoneOptions
		own, good int
		near      bool
	}{
		{"the defaults", ZoneOptions{}, 4, 2, true},
		{"less than half", ZoneOptions{}, 5, 2, false},
		{"too few", ZoneOptions{}, 1, 1, false},
		{"one is enough", ZoneOptions{MinHosts: 1}, 1, 1, true},
		{"none is never enough", ZoneOptions{MinHosts: 1, MinShare: -1}, 1, 0, false},
		{"more than half", ZoneOptions{MinShare: 0.9}, 10, 8, false},
		{"nine tenths", ZoneOptions{MinShare: 0.9}, 10, 9, true},
		{"the number alone", ZoneOptions{MinHosts: 3, MinShare: -1}, 100, 3, true},
	}
	for _, test := range tests {
		options := test.options
		options.Own = "near"
		hosts := []*Host{{zone: "far"}}
		for range test.own {
			hosts = append(hosts, &Host{zone: "near"})
		}
		good := hosts[:1+test.good]
		got := options.withDefaults().prefer(hosts, good)
		if near := len(got) == test.good && got[0].zone == "near"; near != test.near && len(got) > 0 {
			t.Errorf("%s: with %d of %d good the calls go near: %v, want %v", test.name, test.good, test.own, near, test.near)
		}
		if !test.near && len(got) != len(good) {
			t.Errorf("%s: they go to %d hosts, want all %d", test.name, len(got), len(good))
		}
	}
}
