package sync

import (
	"errors"
	"slices"
	"syscall"
	"testing"
	"time"
)

func diskFull(key) error { return syscall.ENOSPC }

func TestSinkRefuses(t *testing.T) {
	withConfig(t, func(b *box) {
		b.sink.setRefuse(diskFull)
		b.config("test.x", "2.0", "x2")
		b.settle()
		b.wantContent(keyX, "x1")
		b.wantState(keyX, Stale, "no space left")
		if f := b.fileStatus(keyX); f.Stage != StagePublish || f.Version != "1.0" {
			t.Errorf("the status is %+v", f)
		}
		b.pass(time.Minute)
		b.wantLogged(1, "WARN", keyX.name, "no space left")
		b.config("test.x", "3.0", "x3")
		b.settle()
		b.sink.setRefuse(nil)
		b.pass(5 * time.Second)
		b.wantContent(keyX, "x3")
		b.wantState(keyX, Fresh, "")
		b.wantLogged(1, "INFO recovered", keyX.name)
		if n := b.engine.Stats().PublishErrors.Load(); n < 10 {
			t.Errorf("%d refusals were counted", n)
		}
	})
}

// What is to be removed but can't be is removed when it can.
func TestSinkRefusesToRemove(t *testing.T) {
	withConfig(t, func(b *box) {
		b.sink.setRefuse(func(key) error { return errors.New("read-only") })
		b.independ(boxDependency, keyX.name)
		b.pass(time.Minute)
		b.wantContent(keyX, "x1")
		b.wantLogged(1, "WARN", keyX.name, "read-only")
		b.sink.setRefuse(nil)
		b.pass(6 * time.Second)
		b.wantNone(keyX)

		b.depend(boxDependency, keyX.name)
		b.settle()
		b.wantContent(keyX, "x1")
		b.sink.setRefuse(diskFull)
		b.zk.remove(configRef("test.x").Path)
		b.pass(time.Minute)
		b.wantContent(keyX, "x1")
		b.sink.setRefuse(nil)
		b.pass(6 * time.Second)
		b.wantNone(keyX)
	})
}

// It is asked for again while it can't be removed.
func TestWantedAgainWhileItCannotBeRemoved(t *testing.T) {
	withConfig(t, func(b *box) {
		b.sink.setRefuse(diskFull)
		b.independ(boxDependency, keyX.name)
		b.pass(10 * time.Second)
		b.depend(boxDependency, keyX.name)
		b.settle()
		b.wantContent(keyX, "x1")
		b.sink.setRefuse(nil)
		b.pass(time.Minute)
		b.wantContent(keyX, "x1")
		b.wantState(keyX, Fresh, "")
		if got := b.sink.served(keyX); got != "x1" {
			t.Errorf("served were %q", got)
		}
	})
}

// A disk that is full for all files is complained of in a few lines, and fills
// nothing else when it isn't any more.
func TestSinkRefusesMany(t *testing.T) {
	inBubble(t, func(b *box) {
		const n = 300
		b.manyConfigs(n, "1.0")
		b.start()
		b.settle()
		b.wantReady(true)
		b.sink.setRefuse(diskFull)
		b.manyConfigs(n, "2.0")
		b.pass(5 * time.Minute)
		if lines := b.logs.matching("WARN"); len(lines) > 10 {
			t.Errorf("%d warnings", len(lines))
		}
		start := time.Now()
		b.pass(10 * time.Second)
		if got := b.s3.attempts(start); got > 200 {
			t.Errorf("%d objects were fetched in ten seconds that couldn't be written", got)
		}
		b.sink.setRefuse(nil)
		b.pass(3 * time.Second)
		b.wantMany(n, "2.0")
	})
}

// What is published while a file's watch fires again is not the last word.
func TestChangeDuringPublish(t *testing.T) {
	withConfig(t, func(b *box) {
		b.sink.setDuring(func(key) {
			b.sink.setDuring(nil)
			b.config("test.x", "3.0", "x3")
		})
		b.config("test.x", "2.0", "x2")
		b.settle()
		b.wantContent(keyX, "x3")
		if got := b.sink.served(keyX); got != "x1 x2 x3" {
			t.Errorf("served were %q", got)
		}
	})
}

// It is unsubscribed in the moment in which it is published, and asked for
// again in the moment in which it is removed.
func TestUnsubscribedDuringPublish(t *testing.T) {
	withConfig(t, func(b *box) {
		b.sink.setDuring(func(key) {
			b.sink.setDuring(nil)
			b.independ(boxDependency, keyX.name)
			<-time.After(time.Second) // until that has been read
		})
		b.config("test.x", "2.0", "x2")
		b.pass(2 * time.Second)
		b.wantNone(keyX)
		b.depend(boxDependency, keyX.name)
		b.settle()
		b.wantContent(keyX, "x2")

		b.sink.setDuring(func(key) {
			b.sink.setDuring(nil)
			b.depend(boxDependency, keyX.name)
			<-time.After(time.Second)
		})
		b.independ(boxDependency, keyX.name)
		b.pass(2 * time.Second)
		b.wantContent(keyX, "x2")
		b.wantState(keyX, Fresh, "")
		b.restart()
		b.settle()
		b.wantContent(keyX, "x2")
	})
}

// What has been published is made durable soon, many at once, contents before
// records.
func TestFlush(t *testing.T) {
	inBubble(t, func(b *box) {
		b.manyConfigs(50, "1.0")
		b.start()
		b.settle()
		if b.sink.flushCount() != 0 {
			t.Errorf("flushed %d times at once", b.sink.flushCount())
		}
		b.pass(flushDelay)
		if b.sink.flushCount() != 1 {
			t.Errorf("flushed %d times after %v", b.sink.flushCount(), flushDelay)
		}
		b.pass(20 * time.Minute)
		if b.sink.flushCount() > 2 {
			t.Errorf("flushed %d times though nothing changed", b.sink.flushCount())
		}
		flushes := b.sink.flushCount()
		b.config("many.n1", "2.0", "new")
		b.settle()
		b.end()
		if b.sink.flushCount() != flushes+1 {
			t.Errorf("flushed %d times at the end", b.sink.flushCount()-flushes)
		}
	})
}

func TestFlushFails(t *testing.T) {
	withConfig(t, func(b *box) {
		b.sink.mu.Lock()
		b.sink.flushFailure = errors.New("input/output error")
		b.sink.mu.Unlock()
		b.config("test.x", "2.0", "x2")
		b.pass(time.Minute)
		b.wantContent(keyX, "x2")
		b.wantState(keyX, Fresh, "")
		b.wantLogged(1, "WARN", "can't be saved", "input/output error")
		b.sink.mu.Lock()
		b.sink.flushFailure = nil
		b.sink.mu.Unlock()
		b.pass(10 * time.Second)
		b.wantLogged(1, "INFO", "saved again")
		flushes := b.sink.flushCount()
		b.pass(10 * time.Minute)
		if b.sink.flushCount() != flushes {
			t.Error("it is flushed for no reason")
		}
	})
}

// The sink hears of every change of the state, in order.
func TestStatuses(t *testing.T) {
	withConfig(t, func(b *box) {
		b.zk.set(configRef("test.x").Path, "2.0")
		b.settle()
		b.write(configRef("test.x"), "3.0", "x3")
		b.settle()
		if got := b.sink.statesOf(keyX); !slices.Equal(got, []State{Fresh, Stale, Fresh}) {
			t.Errorf("the states were %v", got)
		}
		if s := b.sink.status(keyX); !s.SyncedAt.Equal(time.Now()) {
			t.Errorf("synced at %v", s.SyncedAt)
		}
	})
}
