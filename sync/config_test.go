package sync

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/kingpinfs/kingpin/metaconfig"
	"github.com/kingpinfs/kingpin/store"
)

// withConfig starts a box that serves test.x at version 1.0.
func withConfig(t *testing.T, test func(b *box)) {
	t.Helper()
	inBubble(t, func(b *box) {
		b.config("test.x", "1.0", "x1")
		b.depend(boxDependency, keyX.name)
		b.start()
		b.settle()
		b.wantReady(true)
		b.wantContent(keyX, "x1")
		test(b)
	})
}

func TestEntry(t *testing.T) {
	withConfig(t, func(b *box) {
		b.config("test.x", "1448012345.67", "x2")
		b.settle()
		e := b.sink.entry(keyX)
		if e.Version != "1448012345.67" || e.ZKPath != "/config/manageddata/test/x" || !e.ModTime.Equal(time.Unix(1448012345, 670_000_000)) {
			t.Errorf("the entry is %+v", e)
		}
		f := b.fileStatus(keyX)
		if f.Version != e.Version || f.ZKPath != e.ZKPath || f.ZnodeVersion != 1 || f.Metaconfig != keyX.name ||
			f.NotifiedAt.IsZero() || f.ProcessedAt.IsZero() || f.SyncedAt.IsZero() || !f.ChangedAt.Equal(time.Now()) {
			t.Errorf("the status is %+v", f)
		}
		b.wantLogged(1, "INFO published", keyX.name)
	})
}

// A new version of the same content changes neither the content nor its time.
func TestSameContentKeepsItsTime(t *testing.T) {
	withConfig(t, func(b *box) {
		before := b.sink.entry(keyX)
		changed := b.fileStatus(keyX).ChangedAt
		b.pass(time.Hour)
		b.config("test.x", "2.0", "x1")
		b.settle()
		after := b.sink.entry(keyX)
		if after.Version != "2.0" || !after.ModTime.Equal(before.ModTime) {
			t.Errorf("%+v became %+v", before, after)
		}
		if f := b.fileStatus(keyX); !f.ChangedAt.Equal(changed) {
			t.Errorf("changed at %v, want %v", f.ChangedAt, changed)
		}
	})
}

// Two contents never have one time, though their versions say so.
func TestEqualVersionTimesDiffer(t *testing.T) {
	withConfig(t, func(b *box) {
		b.config("test.x", "1.00", "x2")
		b.settle()
		b.wantContent(keyX, "x2")
		b.config("test.x", "999999999999999.0", "x3") // beyond what a time can be
		b.settle()
		b.wantContent(keyX, "x3")
		if e := b.sink.entry(keyX); !e.ModTime.Equal(time.Now()) {
			t.Errorf("the time is %v", e.ModTime)
		}
	})
}

// A writer whose clock went back has the last word all the same: ZooKeeper
// orders the writes.
func TestOlderVersionWrittenLater(t *testing.T) {
	withConfig(t, func(b *box) {
		b.sink.letOlder()
		b.config("test.x", "0.5", "x2")
		b.settle()
		b.wantContent(keyX, "x2")
		b.wantState(keyX, Fresh, "")
	})
}

func TestConfigIsDeleted(t *testing.T) {
	withConfig(t, func(b *box) {
		b.zk.remove(configRef("test.x").Path)
		b.settle()
		b.wantNone(keyX)
		b.wantState(keyX, Absent, "not found")
		b.wantLogged(1, "WARN deleted from the fleet", keyX.name)
		for _, r := range mustParse(t, b.readJournal()) {
			if r.File != nil {
				t.Errorf("of what is gone this record is left: %+v", r)
			}
		}
		b.restart()
		b.settle()
		b.wantReady(true)
		b.wantNone(keyX)
		b.config("test.x", "3.0", "x3")
		b.settle()
		b.wantContent(keyX, "x3")
		b.wantState(keyX, Fresh, "")
	})
}

func TestBadPointer(t *testing.T) {
	withConfig(t, func(b *box) {
		path := configRef("test.x").Path
		for _, bad := range []string{"not a number", "", "1.2.3", "-1", strings.Repeat("9", 4096)} {
			b.zk.set(path, bad)
			b.settle()
			b.wantContent(keyX, "x1")
			b.wantState(keyX, Stale, path)
		}
		b.config("test.x", "2.0", "x2")
		b.settle()
		b.wantContent(keyX, "x2")
		b.wantState(keyX, Fresh, "")
	})
}

func TestBadObject(t *testing.T) {
	withConfig(t, func(b *box) {
		ref := configRef("test.x")
		tooLarge := ref.Key("4.0")
		b.s3.setFault(func(key string) error {
			if key == tooLarge {
				return &store.Error{Op: "reading object", Subject: key, Kind: store.TooLarge, Err: errors.New("it has 20971520 bytes, the limit is 16777216")}
			}
			return nil
		})
		b.zk.set(ref.Path, "2.0") // no such object
		b.settle()
		b.wantContent(keyX, "x1")
		b.wantState(keyX, Stale, "not found")
		if f := b.fileStatus(keyX); f.Stage != StageS3 || f.Kind != store.NotFound || f.Failures == 0 || f.Version != "1.0" {
			t.Errorf("the status is %+v", f)
		}
		b.write(ref, "3.0", "")
		b.settle()
		b.wantContent(keyX, "x1")
		b.wantState(keyX, Stale, "empty")
		b.write(ref, "4.0", "too large at first")
		b.settle()
		b.wantContent(keyX, "x1")
		b.wantState(keyX, Stale, "too large")
		fetched := b.s3.count(ref, "4.0")
		b.pass(20 * time.Minute)
		if n := b.s3.count(ref, "4.0"); n == fetched || n > fetched+6 {
			t.Errorf("what stays too large was fetched %d times more, want a few", n-fetched)
		}
		b.s3.setFault(nil) // somebody has mended it in its place
		b.pass(10 * time.Minute)
		b.wantContent(keyX, "too large at first")
		b.wantState(keyX, Fresh, "")
		b.write(ref, "5.0", "x5")
		b.settle()
		b.wantContent(keyX, "x5")
		b.wantState(keyX, Fresh, "")
	})
}

// S3 says 404 for a version just written, for a while.
func TestObjectComesLate(t *testing.T) {
	withConfig(t, func(b *box) {
		ref := configRef("test.x")
		b.zk.set(ref.Path, "2.0")
		b.pass(5 * time.Second)
		b.wantState(keyX, Stale, "not found")
		b.s3.put(ref, "2.0", "x2")
		b.pass(10 * time.Second) // the wait has grown with the time that it took
		b.wantContent(keyX, "x2")
		b.wantState(keyX, Fresh, "")
		b.wantLogged(1, "WARN", keyX.name)
		b.wantLogged(1, "INFO recovered", keyX.name)
	})
}

// A change of a large file waits, on each box for another time, and the wait
// ends with the newest version.
func TestPoliteness(t *testing.T) {
	inBubble(t, func(b *box) {
		b.metaconfig(keyX.name, "1.0", "["+configEntry(keyX.name, configRef("test.x").Path, `, "max_wait_in_secs": "60"`)+"]")
		b.write(configRef("test.x"), "1.0", "x1")
		b.depend(boxDependency, keyX.name)
		b.start()
		b.settle()
		b.wantContent(keyX, "x1") // the first one doesn't wait
		b.config("test.x", "2.0", "x2")
		b.settle()
		b.config("test.x", "3.0", "x3")
		b.settle()
		b.wantContent(keyX, "x1")
		b.pass(time.Minute)
		b.wantContent(keyX, "x3")
		if n := b.s3.count(configRef("test.x"), "2.0"); n != 0 {
			t.Errorf("the version between was fetched %d times", n)
		}
		b.engine.Reread(configRef("test.x").Path)
		b.config("test.x", "4.0", "x4")
		b.engine.Reread(configRef("test.x").Path) // somebody doesn't want to wait
		b.settle()
		b.wantContent(keyX, "x4")
	})
}

func TestReread(t *testing.T) {
	withConfig(t, func(b *box) {
		path := configRef("test.x").Path
		b.zk.readsUnder("/")
		if !b.engine.Reread(path) {
			t.Error("nothing is subscribed to the config")
		}
		b.settle()
		if n := b.zk.readsUnder(path); n != 1 {
			t.Errorf("%d reads", n)
		}
		if b.engine.Reread("/config/manageddata/test/other") {
			t.Error("something is subscribed to nothing")
		}
		if !b.engine.Reread(metaconfig.Path(keyX.name)) {
			t.Error("nothing is subscribed to the metaconfig")
		}
	})
}

// A poisonous value takes nothing else away.
func TestPanicWhilePublishing(t *testing.T) {
	withConfig(t, func(b *box) {
		b.config("test.y", "1.0", "y")
		b.depend(boxDependency, keyY.name)
		b.sink.setRefuse(func(k key) error {
			if k == keyX {
				panic("poison")
			}
			return nil
		})
		b.config("test.x", "2.0", "x2")
		b.settle()
		b.wantContent(keyY, "y")
		b.wantLogged(1, "ERROR panic", "poison")
		if n := b.engine.Stats().WorkerPanics.Load(); n == 0 {
			t.Error("no panic was counted")
		}
		b.wantState(keyX, Stale, "defect")
		b.checkBooks()
		b.sink.setRefuse(nil)
		b.pass(40 * time.Second)
		b.wantContent(keyX, "x2")
		b.wantState(keyX, Fresh, "")
	})
}
