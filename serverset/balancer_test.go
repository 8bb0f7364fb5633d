package serverset

import (
	"errors"
	"testing"
)

func TestBalancerEjectsAndReadmits(t *testing.T) {
	provider, err := NewStatic("a:1", "b:1", "c:1")
	if err != nil {
		t.Fatal(err)
	}
	clock := &fakeClock{now: epoch}
	b := NewBalancer(provider, BalancerOptions{Now: clock.Now})
	b.Open()
	defer b.Close()
	for range 3 {
		l, err := b.Pick("a:1", "c:1")
		if err != nil || l.Endpoint() != "b:1" || l.Trial() {
			t.Fatal(l, err)
		}
		l.Done(Failed)
	}
	for range 100 {
		l, err := b.Pick()
		if err != nil || l.Endpoint() == "b:1" {
			t.Fatal(l, err)
		}
		l.Done(Answered)
	}
	l, err := b.Pick("a:1", "c:1")
	if err != nil || !l.Trial() {
		t.Fatal(l, err)
	}
	if _, err := b.Pick("a:1", "c:1"); !errors.Is(err, ErrAllExcluded) {
		t.Fatal(err)
	}
	l.Done(Abandoned)
	clock.now = clock.now.Add(6 * 1e9)
	l, err = b.Pick()
	if err != nil || !l.Trial() {
		t.Fatal(l, err)
	}
	l.Done(Answered)
	l, err = b.Pick("a:1", "c:1")
	if err != nil || l.Trial() {
		t.Fatal(l, err)
	}
}
