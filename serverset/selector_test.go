package serverset

import (
	"math/rand/v2"
	"slices"
	"testing"
)

func TestRandomIsUniform(t *testing.T) {
	b := newRig(t, 10, BalancerOptions{Selector: Random()})
	for endpoint, n := range b.picked(10_000) {
		if n < 700 || n > 1300 { // ten standard deviations
			t.Errorf("of 10,000 calls %d go to %q", n, endpoint)
		}
	}
}

// Those who stay get their turn once in each round, whoever else comes, goes or
// is ejected meanwhile.
func TestRoundRobinIsEvenWhileTheListChanges(t *testing.T) {
	b := newRig(t, 12, BalancerOptions{Selector: RoundRobin(), Ejection: EjectionOptions{Failures: 1, MaxShare: 0.5}})
	stay := []string{host(2), host(5), host(9), host(10)}
	var others []string
	for _, endpoint := range hosts(1, 30) {
		if !slices.Contains(stay, endpoint) {
			others = append(others, endpoint)
		}
	}
	var turns []string // of those who stay
	random := rand.New(rand.NewPCG(1, 2))
	for range 3000 {
		switch random.IntN(4) {
		case 0:
			random.Shuffle(len(others), func(i, j int) { others[i], others[j] = others[j], others[i] })
			b.set(append(slices.Clone(stay), others[:random.IntN(len(others))]...)...)
		case 1:
			// One that doesn't stay fails, if it is there.
			for _, h := range b.Hosts() {
				if h.Endpoint() == others[0] && h.Outstanding() == 0 {
					h.lease(false).Done(Failed)
				}
			}
		}
		l, err := b.Pick()
		if err != nil {
			t.Fatal(err)
		}
		l.Done(Answered)
		if l.Trial() {
			t.Fatal("there is a trial, though no time passes")
		}
		if slices.Contains(stay, l.Endpoint()) {
			turns = append(turns, l.Endpoint())
		}
	}
	if len(turns) < 200 {
		t.Fatalf("those who stay have only %d turns", len(turns))
	}
	first := slices.Index(stay, turns[0])
	for i, endpoint := range turns {
		if want := stay[(first+i)%len(stay)]; endpoint != want {
			t.Fatalf("turn %d goes to %q, want %q: %q", i, endpoint, want, turns[max(0, i-6):i+1])
		}
	}
}

func TestRoundRobinGoesRound(t *testing.T) {
	b := newRig(t, 5, BalancerOptions{Selector: RoundRobin()})
	for endpoint, n := range b.picked(1000) {
		if n != 200 {
			t.Errorf("of 1,000 calls %d go to %q", n, endpoint)
		}
	}
}

func TestLeastOutstandingPrefersIdleHosts(t *testing.T) {
	b := newRig(t, 4, BalancerOptions{})
	// As many calls at a time as there are hosts, many times.
	for range 10 {
		for range 100 {
			if _, err := b.Pick(); err != nil {
				t.Fatal(err)
			}
		}
	}
	least, most := 1000, 0
	for _, h := range b.Hosts() {
		least, most = min(least, h.Outstanding()), max(most, h.Outstanding())
	}
	if most-least > 20 { // a random choice would differ by some 50
		t.Errorf("the hosts have from %d to %d calls", least, most)
	}
	// One that has all the calls gets none, unless it is compared with itself.
	b = newRig(t, 2, BalancerOptions{})
	busy := b.lease(host(1))
	for range 100 {
		l, err := b.Pick()
		if err != nil || l.Endpoint() != host(2) {
			t.Fatal(l.Endpoint(), err)
		}
		l.Done(Answered)
	}
	busy.Done(Answered)
}

// A host that fails at once never has calls outstanding, and must not get all of
// them, even if it can't be ejected. It is found out when it is well again, even
// if the others are idle.
func TestLeastOutstandingAvoidsFailingHosts(t *testing.T) {
	for _, busy := range []bool{true, false} {
		b := newRig(t, 2, BalancerOptions{Ejection: EjectionOptions{Failures: -1}})
		if busy {
			l := b.lease(host(2))
			defer l.Done(Answered)
		}
		b.fail(host(1), 1000)
		calls := b.picks(10_000, Failed)[host(1)]
		if calls > 1500 || calls < 100 { // a sixteenth if the other is busy, else half of that
			t.Errorf("%d of 10,000 calls go to the host that fails, busy: %v", calls, busy)
		}
		b.picks(10_000, Answered)
		if n := b.Hosts()[0].Failures(); n != 0 {
			t.Errorf("a host that is well again has %d failures", n)
		}
	}
}

// A dead host is ejected in the end, though it is given fewer and fewer calls.
func TestEverySelectorFindsOutDeadHosts(t *testing.T) {
	for name, selector := range map[string]func() Selector{"random": Random, "round robin": RoundRobin, "least outstanding": LeastOutstanding} {
		b := newRig(t, 2, BalancerOptions{Selector: selector()})
		if n := b.picks(1000, Failed)[host(1)]; n != 3 {
			t.Errorf("%s: %d calls go to a dead host", name, n)
		}
		b.wantEjected(host(1))
	}
}
