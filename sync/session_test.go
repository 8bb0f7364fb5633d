package sync

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

func TestSessionExpires(t *testing.T) {
	inBubble(t, func(b *box) {
		const n = 50
		b.manyConfigs(n, "1.0")
		b.serverset("search.prod", hosts(1, 3)...)
		b.depend(boxDependency, keyS.name)
		b.start()
		b.settle()
		published := b.sink.publishCount()
		b.zk.readsUnder("/")
		b.zk.expire()
		b.pass(time.Second)
		b.zk.connect(true)
		b.settle()
		if n := b.zk.readsUnder("/"); n > 20 {
			t.Errorf("%d znodes were read at once", n)
		}
		b.pass(5 * time.Second)
		// Two znodes a config and serverset, two dependencies; not more.
		if got := b.zk.readsUnder("/"); got < 2*n-20 || got > 2*n+4 {
			t.Errorf("%d znodes were read", got)
		}
		if b.sink.publishCount() != published {
			t.Errorf("%d versions were published though nothing changed", b.sink.publishCount()-published)
		}
		if got := b.engine.Stats().SessionsExpired.Load(); got != 1 {
			t.Errorf("%d sessions expired", got)
		}
		b.wantState(keyS, Fresh, "")
		b.wantLogged(0, "WARN")
		// The watches are there again.
		b.config("many.n7", "2.0", "new")
		b.serverset("search.prod", hosts(1, 4)...)
		b.settle()
		b.wantContent(configKey("many.n7"), "new")
		b.wantContent(keyS, lines(hosts(1, 4)))
	})
}

// What changed while there was no session is found within the spread, and
// nothing passes for fresh before it has been read again.
func TestChangesWhileTheSessionIsAway(t *testing.T) {
	withConfig(t, func(b *box) {
		b.zk.expire()
		b.pass(time.Minute)
		b.config("test.x", "2.0", "x2")
		b.wantState(keyX, Stale, "can't be reached")
		b.zk.mu.Lock()
		b.zk.latency = 100 * time.Millisecond
		b.zk.mu.Unlock()
		b.zk.connect(true)
		b.settle()
		b.wantState(keyX, Stale, "not read yet")
		b.pass(6 * time.Second)
		b.wantContent(keyX, "x2")
		b.wantState(keyX, Fresh, "")
	})
}

func TestDisconnected(t *testing.T) {
	withConfig(t, func(b *box) {
		synced := b.fileStatus(keyX).SyncedAt
		b.zk.disconnect()
		b.pass(1900 * time.Millisecond)
		b.wantState(keyX, Fresh, "") // changing servers takes a moment
		b.pass(200 * time.Millisecond)
		b.wantState(keyX, Stale, "can't be reached")
		b.wantContent(keyX, "x1")
		b.pass(time.Hour)
		b.zk.readsUnder("/")
		b.zk.connect(false)
		b.settle()
		b.wantState(keyX, Fresh, "")
		b.pass(10 * time.Second)
		if f := b.fileStatus(keyX); !f.SyncedAt.After(synced) {
			t.Errorf("synced at %v, as before", f.SyncedAt)
		}
		if got := b.sink.statesOf(keyX); !slices.Equal(got, []State{Fresh, Stale, Fresh}) {
			t.Errorf("the states were %v", got)
		}
	})
}

// A connection that flickers makes nothing stale, and what was being read is
// read again at once.
func TestFlickeringConnection(t *testing.T) {
	withConfig(t, func(b *box) {
		for range 20 {
			b.zk.disconnect()
			b.pass(time.Second)
			b.zk.connect(false)
			b.pass(time.Second)
		}
		if got := b.sink.statesOf(keyX); !slices.Equal(got, []State{Fresh}) {
			t.Errorf("the states were %v", got)
		}
		b.zk.mu.Lock()
		b.zk.latency = 100 * time.Millisecond
		b.zk.mu.Unlock()
		b.config("test.x", "2.0", "x2")
		b.pass(50 * time.Millisecond)
		b.zk.disconnect() // with the read under way
		b.pass(time.Second)
		b.zk.connect(false)
		b.pass(300 * time.Millisecond)
		b.wantContent(keyX, "x2")
		b.wantLogged(0, "WARN")
	})
}

// Requests that hang because the client doesn't know yet that the connection is
// gone end with it.
func TestHangingConnection(t *testing.T) {
	withConfig(t, func(b *box) {
		b.zk.mu.Lock()
		b.zk.latency = time.Hour
		b.zk.mu.Unlock()
		b.engine.Reread(configRef("test.x").Path)
		b.pass(9 * time.Second)
		b.wantState(keyX, Fresh, "")
		b.pass(2 * time.Second)
		b.wantState(keyX, Stale, "unavailable")
		b.zk.mu.Lock()
		b.zk.latency = 0
		b.zk.mu.Unlock()
		b.pass(20 * time.Second)
		b.wantState(keyX, Fresh, "")
	})
}

// What failed to be read is read when there is a better connection.
func TestReconnectedAfterRequestsFailed(t *testing.T) {
	withConfig(t, func(b *box) {
		b.zk.mu.Lock()
		b.zk.latency = time.Hour
		b.zk.mu.Unlock()
		b.config("test.x", "2.0", "x2")
		for b.fileStatus(keyX).Failures < 8 {
			b.pass(time.Second)
		}
		b.zk.mu.Lock()
		b.zk.latency = 0
		b.zk.mu.Unlock()
		b.zk.disconnect()
		b.zk.connect(false)
		b.pass(1001 * time.Millisecond)
		b.wantContent(keyX, "x2")
	})
}

func TestNotReadyWithoutZooKeeper(t *testing.T) {
	inBubble(t, func(b *box) {
		b.zk.connected = false
		b.config("test.x", "1.0", "x1")
		b.depend(boxDependency, keyX.name)
		b.start()
		b.pass(time.Hour)
		b.wantReady(false)
		if b.zk.readsUnder("/") != 0 {
			t.Error("something was read")
		}
		b.zk.connect(true)
		b.settle()
		b.wantReady(true)
		b.wantContent(keyX, "x1")
		b.zk.expire()
		b.pass(time.Hour)
		b.wantReady(true) // once and for all
	})
}

// The first load is interrupted by a lost connection.
func TestConnectionLostDuringTheFirstLoad(t *testing.T) {
	inBubble(t, func(b *box) {
		const n = 200
		b.manyConfigs(n, "1.0")
		b.zk.latency = 10 * time.Millisecond
		b.start()
		b.pass(60 * time.Millisecond)
		b.zk.disconnect()
		b.pass(time.Minute)
		b.wantReady(false)
		b.zk.connect(false)
		b.pass(2 * time.Second)
		b.wantReady(true)
		b.wantMany(n, "1.0")
		b.wantLogged(0, "WARN")
	})
}

// A resync that came due during an outage doesn't make all boxes read
// everything in the moment in which ZooKeeper is back.
func TestResyncDuringAnOutage(t *testing.T) {
	inBubble(t, func(b *box) {
		const n = 100
		b.manyConfigs(n, "1.0")
		b.start()
		b.settle()
		b.zk.disconnect()
		b.pass(2 * time.Hour)
		b.zk.readsUnder("/")
		b.zk.connect(false)
		b.settle()
		if got := b.zk.readsUnder("/"); got > 20 {
			t.Errorf("%d znodes were read at once", got)
		}
		b.pass(5 * time.Second)
		if got := b.zk.readsUnder("/"); got < 2*n-20 {
			t.Errorf("%d znodes were read", got)
		}
	})
}

// A watch that was lost is made up for by the resync; without one nothing
// happens at all.
func TestResync(t *testing.T) {
	withConfig(t, func(b *box) {
		b.zk.mu.Lock()
		clear(b.zk.watches)
		b.zk.mu.Unlock()
		b.zk.readsUnder("/")
		b.config("test.x", "2.0", "x2")
		b.pass(26 * time.Minute)
		b.wantContent(keyX, "x1")
		if n := b.zk.readsUnder("/"); n != 0 {
			t.Errorf("%d reads for no reason", n)
		}
		if at := b.engine.Snapshot().ResyncedAt; !at.IsZero() {
			t.Errorf("resynced at %v", at)
		}
		b.pass(11 * time.Minute)
		b.wantContent(keyX, "x2")
		if at := b.engine.Snapshot().ResyncedAt; at.IsZero() {
			t.Error("the resync isn't told of")
		}
		b.config("test.x", "3.0", "x3")
		b.settle()
		b.wantContent(keyX, "x3")
	})
}

// Boxes don't resync at the same time.
func TestResyncsAreSpread(t *testing.T) {
	moments := map[string]bool{}
	for range 10 {
		withConfig(t, func(b *box) {
			for range 100 {
				b.pass(10 * time.Second)
				if at := b.engine.Snapshot().ResyncedAt; !at.IsZero() {
					break
				}
			}
			b.pass(20 * time.Minute)
			moments[fmt.Sprint(b.engine.Snapshot().ResyncedAt)] = true
		})
	}
	if len(moments) < 9 {
		t.Errorf("ten boxes resynced at %d moments", len(moments))
	}
}
