package serverset

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Whatever many callers report while hosts come and go, never more are ejected
// than may be, none has two trials at a time, and no call is lost count of.
func TestBalancerUnderLoad(t *testing.T) {
	var events []Event
	b := newRig(t, 20, BalancerOptions{OnEvent: func(e Event) { events = append(events, e) }})
	var callers, others sync.WaitGroup
	done := make(chan struct{})
	trials := onTrial{now: make(map[*Host]int)}
	for i := range 8 {
		callers.Go(func() {
			for call := range 3000 {
				l, err := b.Pick()
				if err != nil {
					t.Error(err)
					return
				}
				if trials.add(l, 1) > 1 {
					t.Errorf("%q has two trials at a time", l.Endpoint())
				}
				b.clock.pass(time.Millisecond)
				trials.add(l, -1)
				outcome := Outcome((call + i) % 3)
				if strings.HasSuffix(l.Endpoint(), "5:80") && call%100 < 50 {
					outcome = Failed
				}
				l.Done(outcome)
			}
		})
	}
	others.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-done:
				return
			default:
			}
			last := 3 + i%18
			if err := b.list.Set(hosts(1, last)...); err != nil {
				t.Error(err)
			}
			status := b.Status()
			ejected := 0
			for _, s := range status {
				if s.Ejected {
					ejected++
				}
			}
			if limit := b.options.Ejection.limit(len(status)); ejected > limit {
				t.Errorf("%d of %d are ejected, more than %d", ejected, len(status), limit)
			}
		}
	})
	callers.Wait()
	close(done)
	others.Wait()
	for h := range trials.now {
		if n := h.Outstanding(); n != 0 {
			t.Errorf("%q has %d calls outstanding", h.Endpoint(), n)
		}
	}
	b.Close()
	checkEvents(t, events)
}

// onTrial counts, of each host that was picked, how many trials it has now.
type onTrial struct {
	mu  sync.Mutex
	now map[*Host]int
}

func (o *onTrial) add(l Lease, n int) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !l.Trial() {
		n = 0
	}
	o.now[l.Host()] += n
	return o.now[l.Host()]
}

// checkEvents checks that hosts join before they are ejected, are ejected before
// they are admitted again, and end by leaving.
func checkEvents(t *testing.T, events []Event) {
	t.Helper()
	last := make(map[*Host]EventKind)
	allowed := map[EventKind][]EventKind{
		0:              {HostJoined},
		HostJoined:     {HostEjected, HostLeft},
		HostEjected:    {HostEjected, HostReadmitted, HostLeft},
		HostReadmitted: {HostEjected, HostLeft},
	}
	ejections := 0
	for _, e := range events {
		if !slices.Contains(allowed[last[e.Host]], e.Kind) {
			t.Errorf("%q: event %d follows %d", e.Host.Endpoint(), e.Kind, last[e.Host])
		}
		last[e.Host] = e.Kind
		if e.Kind == HostEjected {
			ejections++
		}
	}
	for h, kind := range last {
		if kind != HostLeft {
			t.Errorf("%q: the last event is %d", h.Endpoint(), kind)
		}
	}
	if ejections == 0 {
		t.Error("nothing was ever ejected")
	}
}
