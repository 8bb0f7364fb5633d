package serverset

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"
)

// rig is a Balancer under test, with a clock and hosts that the test sets.
type rig struct {
	*Balancer
	t     testing.TB
	clock *fakeClock
	list  *Static
	log   []string // what OnEvent was told
}

// newRig opens a balancer over the endpoints h001:80 to the last.
func newRig(t testing.TB, last int, options BalancerOptions) *rig {
	t.Helper()
	provider, err := NewStatic(hosts(1, last)...)
	if err != nil {
		t.Fatal(err)
	}
	b := &rig{t: t, clock: &fakeClock{}, list: provider}
	options.Now = b.clock.now
	options.Logger = slog.New(slog.DiscardHandler)
	if options.OnEvent == nil {
		options.OnEvent = func(e Event) { b.log = append(b.log, describe(e)) }
	}
	b.Balancer = NewBalancer(provider, options)
	b.Open()
	t.Cleanup(b.Close)
	return b
}

func describe(e Event) string {
	kinds := map[EventKind]string{HostJoined: "joined", HostLeft: "left", HostEjected: "ejected", HostReadmitted: "readmitted"}
	return kinds[e.Kind] + " " + e.Host.Endpoint()
}

// host is the endpoint of a number.
func host(i int) string { return hosts(i, i)[0] }

// set replaces the hosts and waits until the balancer knows.
func (b *rig) set(endpoints ...string) {
	b.t.Helper()
	if err := b.list.Set(endpoints...); err != nil {
		b.t.Fatal(err)
	}
	want := b.list.Endpoints()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for v := range b.views.watch(ctx) {
		if slices.EqualFunc(v.hosts, want, func(h *Host, e string) bool { return h.endpoint == e }) {
			return
		}
	}
	b.t.Fatalf("the balancer doesn't get to know of %q", want)
}

// lease picks a given host, and none else.
func (b *rig) lease(endpoint string) Lease {
	b.t.Helper()
	var others []string
	for _, h := range b.Hosts() {
		if h.Endpoint() != endpoint {
			others = append(others, h.Endpoint())
		}
	}
	l, err := b.Pick(others...)
	if err != nil || l.Endpoint() != endpoint {
		b.t.Fatalf("picked %q, %v, want %q", l.Endpoint(), err, endpoint)
	}
	return l
}

// fail has some calls to a host fail, one after the other.
func (b *rig) fail(endpoint string, calls int) {
	b.t.Helper()
	for range calls {
		b.lease(endpoint).Done(Failed)
	}
}

// ejected returns what is ejected.
func (b *rig) ejected() []string {
	var endpoints []string
	for _, s := range b.Status() {
		if s.Ejected {
			endpoints = append(endpoints, s.Host.Endpoint())
		}
	}
	return endpoints
}

func (b *rig) wantEjected(endpoints ...string) {
	b.t.Helper()
	if got := b.ejected(); !slices.Equal(got, endpoints) {
		b.t.Fatalf("%q are ejected, want %q", got, endpoints)
	}
}

// picked returns which hosts some calls are given, all of which are answered.
func (b *rig) picked(calls int) map[string]int {
	b.t.Helper()
	return b.picks(calls, Answered)
}

// picks is picked, with an outcome for the calls to the first host.
func (b *rig) picks(calls int, outcome Outcome) map[string]int {
	b.t.Helper()
	n := make(map[string]int)
	for range calls {
		l, err := b.Pick()
		if err != nil {
			b.t.Fatal(err)
		}
		n[l.Endpoint()]++
		if l.Endpoint() == host(1) {
			l.Done(outcome)
		} else {
			l.Done(Answered)
		}
	}
	return n
}

// due lets an ejection's time be over, whatever its jitter.
func (b *rig) due(length time.Duration) { b.clock.pass(length + length/5) }

// trial picks a host that must be on trial.
func (b *rig) trial(endpoint string) Lease {
	b.t.Helper()
	l, err := b.Pick()
	if err != nil || l.Endpoint() != endpoint || !l.Trial() {
		b.t.Fatalf("picked %q (trial %v), %v, want %q on trial", l.Endpoint(), l.Trial(), err, endpoint)
	}
	return l
}

func TestBalancerEjects(t *testing.T) {
	b := newRig(t, 10, BalancerOptions{})
	b.fail(host(3), 2)
	b.lease(host(3)).Done(Answered) // in a row, or it doesn't count
	b.fail(host(3), 2)
	b.lease(host(3)).Done(Abandoned) // this says nothing
	b.wantEjected()
	b.fail(host(3), 1)
	b.wantEjected(host(3))
	if n := b.picked(1000); n[host(3)] != 0 || len(n) != 9 {
		t.Errorf("the calls go to %v", n)
	}
}

func TestBalancerLimitsEjection(t *testing.T) {
	tests := []struct {
		share float64
		hosts int
		want  int
	}{
		{0, 1, 0},
		{0, 2, 1}, {0, 3, 1}, {0, 4, 1}, {0, 5, 1}, {0, 9, 1}, {0, 10, 2}, {0, 14, 2}, {0, 100, 20},
		{1, 1, 0}, {1, 2, 1}, {1, 10, 9}, {7, 10, 9},
		{0.29, 100, 29},
		{-1, 100, 0},
	}
	for _, test := range tests {
		t.Run(fmt.Sprint(test.share, " of ", test.hosts), func(t *testing.T) {
			b := newRig(t, test.hosts, BalancerOptions{Ejection: EjectionOptions{MaxShare: test.share, Failures: 1}})
			for _, h := range b.Hosts() {
				l := h.lease(false)
				l.Done(Failed)
			}
			if got := len(b.ejected()); got != test.want {
				t.Errorf("%d are ejected, want %d", got, test.want)
			}
			if _, err := b.Pick(); err != nil {
				t.Error(err)
			}
		})
	}
	b := newRig(t, 10, BalancerOptions{Ejection: EjectionOptions{Failures: -1}})
	b.fail(host(1), 100)
	b.wantEjected()
}

// A host that couldn't be ejected because others were is as soon as it can be.
func TestBalancerEjectsLater(t *testing.T) {
	b := newRig(t, 5, BalancerOptions{})
	b.fail(host(1), 3)
	b.fail(host(2), 5)
	b.wantEjected(host(1))
	b.due(5 * time.Second)
	b.trial(host(1)).Done(Answered)
	b.wantEjected()
	b.fail(host(2), 1)
	b.wantEjected(host(2))
}

func TestBalancerTries(t *testing.T) {
	b := newRig(t, 5, BalancerOptions{})
	b.fail(host(1), 3)
	b.clock.pass(5*time.Second*4/5 - 1)
	if n := b.picked(100); n[host(1)] != 0 {
		t.Errorf("before its time is over %d calls go to the ejected host", n[host(1)])
	}
	b.due(5 * time.Second)
	trial := b.trial(host(1))
	if n := b.picked(100); n[host(1)] != 0 {
		t.Errorf("during the trial %d calls go to the ejected host", n[host(1)])
	}
	trial.Done(Abandoned)
	trial = b.trial(host(1)) // again, at once
	trial.Done(Answered)
	b.wantEjected()
	if n := b.picked(1000); n[host(1)] == 0 {
		t.Errorf("after the trial the calls go to %v", n)
	}
	// From the beginning.
	b.fail(host(1), 2)
	b.wantEjected()
	want := []string{"joined h001:80", "joined h002:80", "joined h003:80", "joined h004:80", "joined h005:80", "ejected h001:80", "readmitted h001:80"}
	if !slices.Equal(b.log, want) {
		t.Errorf("the events are %q, want %q", b.log, want)
	}
}

// Of several who see at once that a host's time is over, one makes the trial; none
// does if it has left meanwhile.
func TestBalancerTriesOnce(t *testing.T) {
	b := newRig(t, 5, BalancerOptions{})
	b.fail(host(1), 3)
	h := b.Hosts()[0]
	first, ok := b.try(h)
	if !ok {
		t.Fatal("there is no trial")
	}
	if _, ok := b.try(h); ok {
		t.Error("there are two trials at a time")
	}
	first.Done(Abandoned)
	b.set(hosts(2, 5)...)
	if _, ok := b.try(h); ok {
		t.Error("a host that has left is tried")
	}
}

// The time doubles up to a bound, and begins anew when the host was good for
// long enough.
func TestBalancerEjectsForLonger(t *testing.T) {
	options := BalancerOptions{Ejection: EjectionOptions{Time: time.Second, MaxTime: 10 * time.Second}}
	var told time.Duration
	options.OnEvent = func(e Event) { told = e.For }
	b := newRig(t, 5, options)
	wants := func(length time.Duration) {
		t.Helper()
		until := time.Time{}
		for _, s := range b.Status() {
			if s.Host.Endpoint() == host(1) {
				until = s.Until
			}
		}
		got := until.Sub(b.clock.now())
		if got < length*4/5 || got > length*6/5 || got != told {
			t.Fatalf("it is ejected for %v, told is %v, want %v and a fifth more or less", got, told, length)
		}
	}
	b.fail(host(1), 3)
	wants(time.Second)
	for _, next := range []time.Duration{2, 4, 8, 10, 10} {
		b.due(10 * time.Second)
		b.trial(host(1)).Done(Failed)
		wants(next * time.Second)
	}
	// It comes back, and fails again soon: no better than before.
	b.due(10 * time.Second)
	b.trial(host(1)).Done(Answered)
	b.clock.pass(10*time.Second - 1)
	b.fail(host(1), 3)
	wants(10 * time.Second)
	b.due(10 * time.Second)
	b.trial(host(1)).Done(Answered)
	b.clock.pass(10 * time.Second)
	b.fail(host(1), 3)
	wants(time.Second)
}

// If all others are excluded, an ejected host is better than none, but for one
// call at a time, and a failure then doesn't count against it.
func TestBalancerTriesEarlyAsTheLastResort(t *testing.T) {
	b := newRig(t, 2, BalancerOptions{})
	b.fail(host(2), 3)
	until := b.Status()[1].Until
	early, err := b.Pick(host(1))
	if err != nil || early.Endpoint() != host(2) || !early.Trial() {
		t.Fatalf("picked %q, %v", early.Endpoint(), err)
	}
	if l, err := b.Pick(host(1)); !errors.Is(err, ErrAllExcluded) {
		t.Errorf("picked %q, %v during the trial", l.Endpoint(), err)
	}
	early.Done(Failed)
	b.wantEjected(host(2))
	if now := b.Status()[1].Until; !now.Equal(until) {
		t.Errorf("it is ejected until %v, want still %v", now, until)
	}
	early, err = b.Pick(host(1))
	if err != nil || !early.Trial() {
		t.Fatalf("picked %q, %v", early.Endpoint(), err)
	}
	early.Done(Answered)
	b.wantEjected()
}

// What began before an ejection or a readmission is no news after it.
func TestBalancerIgnoresStaleReports(t *testing.T) {
	b := newRig(t, 5, BalancerOptions{})
	var stale []Lease
	for range 20 {
		stale = append(stale, b.lease(host(1)))
	}
	b.fail(host(1), 3)
	stale[0].Done(Answered)
	b.wantEjected(host(1))
	until := b.Status()[0].Until
	for _, l := range stale[1:10] {
		l.Done(Failed)
	}
	if now := b.Status()[0].Until; !now.Equal(until) {
		t.Errorf("calls that began before prolong an ejection from %v to %v", until, now)
	}
	b.due(5 * time.Second)
	b.trial(host(1)).Done(Answered)
	for _, l := range stale[10:] {
		l.Done(Failed)
	}
	b.wantEjected()
	if h := b.Hosts()[0]; h.Failures() != 0 || h.Outstanding() != 0 {
		t.Errorf("%d failures and %d calls outstanding are left", h.Failures(), h.Outstanding())
	}
}

// A trial that began in one ejection doesn't decide on another.
func TestBalancerIgnoresStaleTrials(t *testing.T) {
	b := newRig(t, 10, BalancerOptions{})
	b.fail(host(1), 3)
	b.clock.pass(time.Millisecond)
	b.fail(host(2), 3)
	b.due(5 * time.Second)
	first, err := b.Pick()
	if err != nil || !first.Trial() {
		t.Fatal(first.Endpoint(), err)
	}
	second, err := b.Pick()
	if err != nil || !second.Trial() || second.Endpoint() == first.Endpoint() {
		t.Fatal(second.Endpoint(), err)
	}
	// Of five hosts, only one may be ejected: the other is back without a trial.
	b.set(hosts(1, 5)...)
	left := b.ejected()
	if len(left) != 1 {
		t.Fatalf("%q are ejected", left)
	}
	back, out := first, second
	if left[0] == first.Endpoint() {
		back, out = second, first
	}
	back.Done(Failed)
	b.wantEjected(out.Endpoint())
	out.Done(Answered)
	b.wantEjected()
}

// A host that leaves is forgotten, also while it is ejected and on trial.
func TestBalancerForgetsThoseWhoLeave(t *testing.T) {
	b := newRig(t, 5, BalancerOptions{})
	b.fail(host(1), 3)
	b.due(5 * time.Second)
	gone := b.Hosts()[0]
	trial := b.trial(host(1))
	select {
	case <-gone.Gone():
		t.Fatal("a host that is listed is gone")
	default:
	}
	b.set(hosts(2, 5)...)
	<-gone.Gone()
	trial.Done(Failed)
	if gone.Outstanding() != 0 {
		t.Errorf("%d calls are outstanding", gone.Outstanding())
	}
	if n := b.picked(100); n[host(1)] != 0 || len(n) != 4 {
		t.Errorf("the calls go to %v", n)
	}
	b.set(hosts(1, 5)...)
	b.wantEjected()
	if back := b.Hosts()[0]; back == gone || back.Endpoint() != host(1) {
		t.Error("the host that is back is the one that was gone")
	}
	// It has the time of a first ejection.
	b.fail(host(1), 3)
	if until := b.Status()[0].Until.Sub(b.clock.now()); until > 6*time.Second {
		t.Errorf("it is ejected for %v", until)
	}
	if want := []string{"left h001:80", "joined h001:80", "ejected h001:80"}; !slices.Equal(b.log[6:], want) {
		t.Errorf("the events are %q, want at last %q", b.log, want)
	}
}

func TestBalancerExcludes(t *testing.T) {
	for name, selector := range map[string]func() Selector{"random": Random, "round robin": RoundRobin, "least outstanding": LeastOutstanding} {
		t.Run(name, func(t *testing.T) {
			b := newRig(t, 5, BalancerOptions{Selector: selector()})
			seen := make(map[string]bool)
			for range 1000 {
				l, err := b.Pick(host(1), host(4), "unknown:1")
				if err != nil {
					t.Fatal(err)
				}
				l.Done(Answered)
				seen[l.Endpoint()] = true
			}
			if len(seen) != 3 || seen[host(1)] || seen[host(4)] {
				t.Errorf("the calls go to %v", seen)
			}
			if l, err := b.Pick(hosts(1, 5)...); !errors.Is(err, ErrAllExcluded) {
				t.Errorf("picked %q, %v, though all are excluded", l.Endpoint(), err)
			}
		})
	}
}

// A caller that is connected to a host already takes that one, unless it is no
// good any more.
func TestBalancerTakes(t *testing.T) {
	b := newRig(t, 5, BalancerOptions{})
	h := b.Hosts()[2]
	l, ok := b.Take(h)
	if !ok || l.Host() != h || l.Trial() || h.Outstanding() != 1 {
		t.Fatalf("Take gives %q, %v", l.Endpoint(), ok)
	}
	l.Done(Failed)
	b.fail(host(3), 2)
	b.wantEjected(host(3))
	if _, ok := b.Take(h); ok {
		t.Error("it gives a host that is ejected")
	}
	b.due(5 * time.Second)
	b.trial(host(3)).Done(Answered)
	if l, ok := b.Take(h); !ok {
		t.Error("it doesn't give a host that is back")
	} else {
		l.Done(Answered)
	}
	b.set(hosts(1, 2)...)
	if _, ok := b.Take(h); ok {
		t.Error("it gives a host that has left")
	}
	stays := b.Hosts()[0]
	b.Close()
	if _, ok := b.Take(stays); ok {
		t.Error("it gives a host of a closed Balancer")
	}
}

func TestBalancerWithoutHosts(t *testing.T) {
	b := newRig(t, 1, BalancerOptions{})
	b.set()
	if l, err := b.Pick(); !errors.Is(err, ErrNoHosts) || l.Host() != nil || l.Endpoint() != "" {
		t.Errorf("picked %q, %v", l.Endpoint(), err)
	}
	Lease{}.Done(Failed)
	if err := b.Wait(canceled(t)); !errors.Is(err, context.Canceled) {
		t.Errorf("Wait returns %v", err)
	}
	waiting := make(chan error, 1)
	go func() { waiting <- b.Wait(context.Background()) }()
	b.set("late:1")
	if err := <-waiting; err != nil {
		t.Error(err)
	}
	if l, err := b.Pick(); err != nil || l.Endpoint() != "late:1" {
		t.Errorf("picked %q, %v", l.Endpoint(), err)
	}
}

func TestBalancerOpensAndCloses(t *testing.T) {
	provider := mustStatic(t, "a:1")
	b := NewBalancer(provider, BalancerOptions{})
	if _, err := b.Pick(); !errors.Is(err, ErrClosed) {
		t.Errorf("before Open, Pick returns %v", err)
	}
	b.Open()
	l, err := b.Pick()
	if err != nil {
		t.Fatal(err)
	}
	waiting := make(chan error, 1)
	b.Close()
	b.Close()
	go func() { waiting <- b.Wait(context.Background()) }()
	if err := <-waiting; !errors.Is(err, ErrClosed) {
		t.Errorf("Wait returns %v", err)
	}
	<-l.Host().Gone()
	l.Done(Failed)
	if _, err := b.Pick(); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close, Pick returns %v", err)
	}
	defer func() {
		if recover() == nil {
			t.Error("it can be opened again")
		}
	}()
	b.Open()
}

func TestBalancerUnopenedCloses(t *testing.T) {
	NewBalancer(mustStatic(t, "a:1"), BalancerOptions{}).Close()
}

// A call may have picked its host in the moment in which that left.
func TestBalancerEjectsNobodyWhoHasLeft(t *testing.T) {
	b := newRig(t, 10, BalancerOptions{Ejection: EjectionOptions{Failures: 1}})
	left := b.Hosts()[9]
	b.set(hosts(1, 9)...)
	left.lease(false).Done(Failed)
	if last := b.log[len(b.log)-1]; last != "left "+host(10) {
		t.Errorf("the last event is %q", last)
	}
}

// OnEvent may use the Balancer, and what that causes comes next.
func TestBalancerTellsInOrder(t *testing.T) {
	var b *Balancer
	var log []string
	options := BalancerOptions{
		Ejection: EjectionOptions{Failures: 1},
		Logger:   slog.New(slog.DiscardHandler),
		OnEvent: func(e Event) {
			log = append(log, describe(e))
			if e.Kind == HostJoined && e.Host.Endpoint() == "b:1" {
				l, err := b.Pick("a:1")
				if err != nil {
					t.Error(err)
				}
				l.Done(Failed)
				log = append(log, fmt.Sprint("b has failed, ejected ", b.Status()[1].Ejected))
			}
		},
	}
	b = NewBalancer(mustStatic(t, "a:1", "b:1"), options)
	b.Open()
	b.Close()
	want := "joined a:1, joined b:1, b has failed, ejected true, ejected b:1, left a:1, left b:1"
	if got := strings.Join(log, ", "); got != want {
		t.Errorf("the events are\n%s, want\n%s", got, want)
	}
}
