package sync

import (
	"slices"
	"testing"
	"time"
)

// shrink makes the serverset one that is held.
func (b *box) shrink() {
	b.t.Helper()
	b.serverset("search.prod", hosts(1, 2)...)
	b.settle()
	b.wantHeld(hosts(1, 10), hosts(1, 2))
}

func (b *box) wantHeld(served, offered []string) {
	b.t.Helper()
	b.wantState(keyS, Held, "held back")
	f := b.fileStatus(keyS)
	slices.Sort(offered)
	if !slices.Equal(f.Held, offered) || f.HeldSince.IsZero() || f.HeldReason == "" {
		b.t.Errorf("held is %v since %v for %q, want %v", f.Held, f.HeldSince, f.HeldReason, offered)
	}
	if empty := len(offered) == 0; f.HeldUntil.IsZero() != empty {
		b.t.Errorf("%d endpoints are held until %v", len(offered), f.HeldUntil)
	}
	slices.Sort(served)
	if !slices.Equal(f.Endpoints, served) {
		b.t.Errorf("served are %v, want %v", f.Endpoints, served)
	}
}

func TestServersetHeldAndRecovered(t *testing.T) {
	withServerset(t, func(b *box) {
		synced := b.fileStatus(keyS).SyncedAt
		b.pass(time.Minute)
		b.shrink()
		b.pass(time.Minute)
		b.wantContent(keyS, lines(hosts(1, 10)))
		b.wantLogged(1, "WARN suspicious", keyS.name, "kingpin serverset accept "+keyS.name)
		if at := b.fileStatus(keyS).SyncedAt; !at.Equal(synced) {
			t.Errorf("what is served was current at %v", at)
		}
		b.serverset("search.prod", hosts(4, 10)...)
		b.settle()
		b.wantContent(keyS, lines(hosts(4, 10)))
		b.wantState(keyS, Fresh, "")
		b.wantLogged(1, "WARN held serverset released")
		if n := b.engine.Stats().HeldServersets.Load(); n != 1 {
			t.Errorf("%d lists were held", n)
		}
		b.pass(time.Hour)
		b.wantContent(keyS, lines(hosts(4, 10)))
	})
}

func TestServersetReleasedByTime(t *testing.T) {
	withServerset(t, func(b *box) {
		b.shrink()
		b.pass(3 * time.Minute)
		b.serverset("search.prod", hosts(1, 3)...) // it changes: the time begins anew
		b.settle()
		if left := time.Until(b.fileStatus(keyS).HeldUntil); left > 5*time.Minute || left < 4*time.Minute+59*time.Second {
			t.Errorf("the status says that it goes out in %v", left)
		}
		b.pass(4*time.Minute + 59*time.Second)
		b.wantContent(keyS, lines(hosts(1, 10)))
		b.pass(2 * time.Second)
		b.wantContent(keyS, lines(hosts(1, 3)))
		b.wantState(keyS, Fresh, "")
	})
}

func TestServersetNotReleasedWhileZooKeeperIsAway(t *testing.T) {
	withServerset(t, func(b *box) {
		b.shrink()
		b.zk.disconnect()
		b.pass(time.Hour)
		b.wantContent(keyS, lines(hosts(1, 10)))
		if err := b.engine.AcceptServerset(keyS.name); err == nil {
			t.Error("a list was accepted that may be gone")
		}
		b.zk.connect(false)
		b.pass(10 * time.Second)
		b.wantContent(keyS, lines(hosts(1, 2)))
	})
}

func TestServersetAccepted(t *testing.T) {
	withServerset(t, func(b *box) {
		if err := b.engine.AcceptServerset(keyS.name); err == nil {
			t.Error("something was accepted though nothing is held")
		}
		if err := b.engine.AcceptServerset("discovery.other.prod"); err == nil {
			t.Error("an unknown serverset was accepted")
		}
		b.shrink()
		if err := b.engine.AcceptServerset(keyS.name); err != nil {
			t.Error(err)
		}
		b.settle()
		b.wantContent(keyS, lines(hosts(1, 2)))
		b.wantState(keyS, Fresh, "")
		b.restart()
		b.settle()
		b.wantContent(keyS, lines(hosts(1, 2)))
		b.wantState(keyS, Fresh, "")
	})
}

// Between the decision of an operator and its execution the list changed.
func TestServersetAcceptedTooLate(t *testing.T) {
	withServerset(t, func(b *box) {
		b.shrink()
		b.zk.mu.Lock()
		b.zk.latency = time.Second
		b.zk.mu.Unlock()
		if err := b.engine.AcceptServerset(keyS.name); err != nil {
			t.Error(err)
		}
		b.pass(time.Second / 2)
		b.serverset("search.prod", hosts(1, 1)...)
		b.pass(10 * time.Second)
		b.wantContent(keyS, lines(hosts(1, 10)))
		b.wantHeld(hosts(1, 10), hosts(1, 1))
		b.wantLogged(1, "WARN the held list has changed since it was accepted")
	})
}

func TestEmptyServersetOnlyByAccept(t *testing.T) {
	withServerset(t, func(b *box) {
		b.serverset("search.prod")
		b.settle()
		b.pass(24 * time.Hour)
		b.wantContent(keyS, lines(hosts(1, 10)))
		b.wantHeld(hosts(1, 10), nil)
		b.restart()
		b.settle()
		b.pass(24 * time.Hour)
		b.wantContent(keyS, lines(hosts(1, 10)))
		b.wantHeld(hosts(1, 10), nil)
		if err := b.engine.AcceptServerset(keyS.name); err != nil {
			t.Error(err)
		}
		b.settle()
		b.wantContent(keyS, "")
		b.wantState(keyS, Fresh, "")
		b.serverset("search.prod", hosts(1, 1)...)
		b.settle()
		b.wantContent(keyS, lines(hosts(1, 1)))
	})
}

func TestRestartWhileHeld(t *testing.T) {
	withServerset(t, func(b *box) {
		b.shrink()
		b.pass(3 * time.Minute)
		b.zk.expire()
		b.end()
		b.start()
		b.settle()
		b.wantContent(keyS, lines(hosts(1, 10)))
		b.wantState(keyS, Held, "can't be reached")
		b.zk.connect(true)
		b.settle()
		b.wantHeld(hosts(1, 10), hosts(1, 2))
		b.pass(time.Minute)
		b.wantContent(keyS, lines(hosts(1, 10)))
		b.pass(time.Minute) // five in all: the clock went on
		b.wantContent(keyS, lines(hosts(1, 2)))
	})
}

// The list changed while it was held: after a restart the hold counts from then.
func TestRestartWhileAnotherListIsHeld(t *testing.T) {
	withServerset(t, func(b *box) {
		b.shrink()
		b.pass(3 * time.Minute)
		b.serverset("search.prod", hosts(1, 3)...)
		b.pass(time.Minute)
		b.restart()
		b.settle()
		b.wantHeld(hosts(1, 10), hosts(1, 3))
		b.pass(3 * time.Minute)
		b.wantContent(keyS, lines(hosts(1, 10)))
		b.pass(time.Minute + time.Second)
		b.wantContent(keyS, lines(hosts(1, 3)))
	})
}

// A list from between, that a server which lags shows, ends no hold.
func TestHeldServersetAndALaggingServer(t *testing.T) {
	withServerset(t, func(b *box) {
		b.serverset("search.prod", hosts(1, 4)...)
		b.settle()
		b.wantHeld(hosts(1, 10), hosts(1, 4))
		path := serversetPath("search.prod")
		b.zk.set(path+"/"+memberOf("10.0.0.5:80"), "")
		b.zk.lag(true) // half are there, for a moment
		between := b.zk.now()
		b.zk.remove(path + "/" + memberOf("10.0.0.5:80"))
		b.zk.lag(false)
		b.settle()
		if got, _ := b.sink.content(keyS); got == lines(hosts(1, 5)) {
			return // the moment was long enough to be seen
		}
		b.fallBehind(between, false)
		b.wantHeld(hosts(1, 10), hosts(1, 4))
	})
}

// The clock is set back while a list is held: the hold begins anew, but ends.
func TestClockSetBackWhileHeld(t *testing.T) {
	withServerset(t, func(b *box) {
		b.shrink()
		it := b.engine.items[keyS]
		b.engine.mu.Lock()
		state := it.guard.State()
		state.Held.Since = time.Now().Add(24 * time.Hour) // as seen from a clock set back by a day
		it.guard.Restore(state)
		b.engine.mu.Unlock()
		b.engine.Reread(serversetPath("search.prod"))
		b.settle()
		b.wantContent(keyS, lines(hosts(1, 10)))
		b.pass(5 * time.Minute)
		b.wantContent(keyS, lines(hosts(1, 2)))
	})
}

// The clock is set back by an hour between two starts: all times in the state
// lie in the future. Nothing waits for them to come.
func TestClockSetBackBeforeAStart(t *testing.T) {
	withServerset(t, func(b *box) {
		b.config("test.x", "1.0", "x1")
		b.depend(boxDependency, keyX.name)
		b.shrink()
		b.zk.expire()
		b.end()
		var journal []byte
		for _, r := range mustParse(t, b.readJournal()) {
			if r.File != nil {
				r.File.ModTime, r.File.Changed = r.File.ModTime.Add(time.Hour), r.File.Changed.Add(time.Hour)
			}
			if r.Held != nil {
				r.Held.Since = r.Held.Since.Add(time.Hour)
			}
			journal = append(journal, encode(t, r)...)
		}
		b.writeJournal(journal)
		b.start()
		b.wantContent(keyX, "x1")
		b.wantContent(keyS, lines(hosts(1, 10)))
		b.zk.connect(true)
		b.settle()
		b.wantReady(true)
		b.wantHeld(hosts(1, 10), hosts(1, 2))
		b.wantState(keyX, Fresh, "")
		b.config("test.x", "2.0", "x2")
		b.pass(time.Second)
		b.wantContent(keyX, "x2")
		before := b.sink.entry(keyS).ModTime
		b.pass(5 * time.Minute)
		b.wantContent(keyS, lines(hosts(1, 2)))
		b.wantState(keyS, Fresh, "")
		if after := b.sink.entry(keyS).ModTime; !after.After(before) {
			t.Errorf("the time of the serverset's file went from %v to %v", before, after)
		}
		if s := b.fileStatus(keyX); s.SyncedAt.After(time.Now()) || s.ProcessedAt.After(time.Now()) {
			t.Errorf("the status has times to come: %+v", s)
		}
	})
}
