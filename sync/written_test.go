package sync

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kingpinfs/kingpin/metaconfig"
	"github.com/kingpinfs/kingpin/store"
)

// published writes a version as this machine does, and returns what the store
// returns of it. The engine isn't told.
func (b *box) published(ref store.Ref, v store.Version, content string) store.Value {
	b.write(ref, v, content)
	b.zk.mu.Lock()
	defer b.zk.mu.Unlock()
	return store.Value{Version: v, Content: []byte(content), Stat: b.zk.at(ref.Path, b.zk.zxid).stat}
}

func (b *box) serveWritten(k key) {
	b.t.Helper()
	if err := b.engine.ServeWritten(k.name); err != nil {
		b.t.Error(err)
	}
}

var refX = configRef("test.x")

func TestWrittenIsServedAtOnce(t *testing.T) {
	withConfig(t, func(b *box) {
		b.zk.mu.Lock()
		b.zk.latency = time.Second
		b.zk.mu.Unlock()
		start := time.Now()
		value := b.published(refX, "2.0", "x2")
		noted := b.engine.NoteWritten(keyX.name, refX, value)
		b.serveWritten(keyX)
		b.wantContent(keyX, "x2")
		b.wantState(keyX, Fresh, "")
		if e := b.sink.entry(keyX); e.Order != value.Stat.Mzxid || e.Version != "2.0" || e.ZKPath != refX.Path ||
			!e.ModTime.Equal(noted.ModTime) || noted.Order != e.Order || string(noted.Content) != "x2" || noted.Version != "2.0" || noted.ZKPath != refX.Path {
			t.Errorf("served is %+v, noted was %+v", e, noted)
		}
		if !time.Now().Equal(start) {
			t.Error("it waited for ZooKeeper")
		}
		b.pass(time.Minute)
		if got := b.sink.served(keyX); got != "x1 x2" {
			t.Errorf("served were %q", got)
		}
		if n := b.s3.count(refX, "2.0"); n != 0 {
			t.Errorf("it was fetched %d times", n)
		}
		if f := b.fileStatus(keyX); f.ZnodeVersion != 1 || f.Version != "2.0" || f.SyncedAt.Before(start) {
			t.Errorf("the status is %+v", f)
		}
		b.zk.disconnect()
		b.restart()
		b.wantContent(keyX, "x2")
		if e := b.sink.entry(keyX); e.Order != value.Stat.Mzxid || e.Version != "2.0" {
			t.Errorf("after a restart it is %+v", e)
		}
	})
}

// The worker that hears of it by its watch serves it without asking S3, and
// whoever has written it can't be held up by the sink.
func TestNotedIsServedSoon(t *testing.T) {
	withConfig(t, func(b *box) {
		release := make(chan struct{})
		b.sink.setDuring(func(key) { <-release })
		b.config("test.x", "2.0", "x2")
		b.settle() // a worker hangs while it serves that
		b.engine.NoteWritten(keyX.name, refX, b.published(refX, "3.0", "x3"))
		b.settle()
		b.wantContent(keyX, "x1")
		if got := mustParse(t, b.readJournal()); !slices.ContainsFunc(got, func(r record) bool { return r.File != nil && r.File.Version == "2.0" }) {
			t.Errorf("the journal has %+v", got)
		}
		b.sink.setDuring(nil)
		close(release)
		b.settle()
		if got := b.sink.served(keyX); got != "x1 x2 x3" {
			t.Errorf("served were %q", got)
		}
		b.wantState(keyX, Fresh, "")
		if n := b.s3.count(refX, "3.0"); n != 0 {
			t.Errorf("it was fetched %d times", n)
		}
	})
}

// A worker finds the new version before the writer has its answer.
func TestOfferedIsNotFetched(t *testing.T) {
	withConfig(t, func(b *box) {
		b.engine.OfferVersion(keyX.name, "2.0", []byte("x2"))
		b.engine.WithdrawVersion(keyX.name, "1.5")
		value := b.published(refX, "2.0", "x2")
		b.settle()
		b.wantContent(keyX, "x2")
		noted := b.engine.NoteWritten(keyX.name, refX, value)
		b.serveWritten(keyX)
		if e := b.sink.entry(keyX); !noted.ModTime.Equal(e.ModTime) || noted.Order != e.Order || noted.Version != "2.0" {
			t.Errorf("noted was %+v, served is %+v", noted, e)
		}
		if got, fetched := b.sink.served(keyX), b.s3.count(refX, "2.0"); got != "x1 x2" || fetched != 0 {
			t.Errorf("served were %q, with %d fetches", got, fetched)
		}
		// Somebody else was faster.
		b.engine.OfferVersion(keyX.name, "3.0", []byte("mine"))
		b.config("test.x", "3.0", "theirs")
		b.engine.WithdrawVersion(keyX.name, "3.0")
		b.settle()
		b.config("test.x", "4.0", "x4")
		b.settle()
		b.wantContent(keyX, "x4")
		for _, name := range []string{"config.none", keyX.name} {
			b.engine.OfferVersion(name, "5.0", nil)
			b.engine.WithdrawVersion(name, "5.0")
		}
		b.engine.mu.Lock()
		defer b.engine.mu.Unlock()
		if it := b.engine.items[keyX]; it.offered != nil || it.written != nil {
			t.Errorf("kept are %+v, %+v", it.offered, it.written)
		}
	})
}

// What takes its time when something newer is written doesn't come after it.
func TestWrittenWhileAnOlderVersionIsFetched(t *testing.T) {
	withConfig(t, func(b *box) {
		b.s3.setDelay(func(key string) time.Duration { return 500 * time.Millisecond })
		b.config("test.x", "2.0", "x2")
		b.settle()
		value := b.published(refX, "3.0", "x3")
		b.engine.NoteWritten(keyX.name, refX, value)
		b.serveWritten(keyX)
		b.wantContent(keyX, "x3")
		b.pass(time.Minute)
		if got := b.sink.served(keyX); got != "x1 x3" {
			t.Errorf("served were %q", got)
		}
		b.wantState(keyX, Fresh, "")
	})
}

// Somebody else's newer version is served already when the writer says what it
// has written.
func TestWrittenButOvertaken(t *testing.T) {
	withConfig(t, func(b *box) {
		value := b.published(refX, "2.0", "x2")
		b.config("test.x", "3.0", "x3")
		b.settle()
		b.wantContent(keyX, "x3")
		noted := b.engine.NoteWritten(keyX.name, refX, value)
		b.serveWritten(keyX)
		b.wantContent(keyX, "x3")
		if noted.Order >= b.sink.entry(keyX).Order || noted.Version != "2.0" || noted.Order != value.Stat.Mzxid {
			t.Errorf("noted was %+v", noted)
		}
		b.settle()
		if got := b.sink.served(keyX); strings.HasSuffix(got, "x2") {
			t.Errorf("served were %q", got)
		}
	})
}

// A change that changed nothing.
func TestWrittenIsWhatIsServed(t *testing.T) {
	withConfig(t, func(b *box) {
		before := b.sink.entry(keyX)
		published := b.sink.publishCount()
		b.zk.mu.Lock()
		stat := b.zk.at(refX.Path, b.zk.zxid).stat
		b.zk.mu.Unlock()
		b.pass(time.Second)
		noted := b.engine.NoteWritten(keyX.name, refX, store.Value{Version: "1.0", Content: []byte("x1"), Stat: stat})
		b.serveWritten(keyX)
		if !noted.ModTime.Equal(before.ModTime) || noted.Order != before.Order || noted.Version != before.Version || string(noted.Content) != "x1" {
			t.Errorf("noted was %+v, served is %+v", noted, before)
		}
		if n := b.sink.publishCount(); n != published {
			t.Errorf("it was published %d times more", n-published)
		}
	})
}

func TestFirstVersionIsWrittenHere(t *testing.T) {
	inBubble(t, func(b *box) {
		b.metaconfig(keyX.name, "1.0", "["+configEntry(keyX.name, refX.Path, "")+"]")
		b.ensure(refX.Path)
		b.depend(boxDependency, keyX.name)
		b.start()
		b.settle()
		b.wantReady(true)
		b.wantState(keyX, Absent, "nothing has been written to it yet")
		b.engine.NoteWritten(keyX.name, refX, b.published(refX, "1.0", "x1"))
		b.serveWritten(keyX)
		b.wantContent(keyX, "x1")
		b.wantState(keyX, Fresh, "")
		b.settle()
		b.wantState(keyX, Fresh, "")
	})
}

// ZooKeeper has the new version, and is gone before anybody can ask.
func TestNotedWhileZooKeeperIsAway(t *testing.T) {
	withConfig(t, func(b *box) {
		value := b.published(refX, "2.0", "x2")
		b.zk.disconnect()
		b.engine.NoteWritten(keyX.name, refX, value)
		b.settle()
		b.wantContent(keyX, "x2")
		b.pass(time.Minute)
		b.wantState(keyX, Stale, "ZooKeeper can't be reached")
		b.zk.connect(false)
		b.pass(time.Minute)
		b.wantState(keyX, Fresh, "")
		if got := b.sink.served(keyX); got != "x1 x2" {
			t.Errorf("served were %q", got)
		}
	})
}

func TestWrittenAfterTheSubscriptionEnded(t *testing.T) {
	withConfig(t, func(b *box) {
		if source, ok := b.engine.Source(keyX.name); !ok || source.Inline || source.Ref != refX {
			t.Errorf("the source is %+v, %v", source, ok)
		}
		value := b.published(refX, "2.0", "x2")
		b.independ(boxDependency, keyX.name)
		b.settle()
		for _, name := range []string{keyX.name, "config.manageddata.never.heard_of"} {
			if source, ok := b.engine.Source(name); ok {
				t.Errorf("%q comes from %+v", name, source)
			}
			if noted := b.engine.NoteWritten(name, refX, value); noted.Version != "2.0" || noted.Order != value.Stat.Mzxid {
				t.Errorf("noted was %+v", noted)
			}
			if err := b.engine.ServeWritten(name); err != nil {
				t.Error(err)
			}
		}
		b.settle()
		b.wantNone(keyX)
	})
}

// The metaconfig names another value when what was written to the one before is
// to be served.
func TestWrittenToAnotherSource(t *testing.T) {
	withConfig(t, func(b *box) {
		other := configRef("test.y")
		b.write(other, "1.0", "y1")
		value := b.published(refX, "2.0", "x2")
		b.metaconfig(keyX.name, "2.0", "["+configEntry(keyX.name, other.Path, "")+"]")
		b.settle()
		b.engine.NoteWritten(keyX.name, refX, value)
		b.serveWritten(keyX)
		b.settle()
		b.wantContent(keyX, "y1")
		if e := b.sink.entry(keyX); e.Order != 0 {
			t.Errorf("the older value of another znode has the order %d", e.Order)
		}
		b.write(other, "2.0", "y2")
		b.settle()
		if e := b.sink.entry(keyX); string(e.Content) != "y2" || e.Order != b.zk.now() {
			t.Errorf("served is %+v", e)
		}
	})
}

// A config without versions can't be written by anybody.
func TestSourceOfInlineConfig(t *testing.T) {
	inBubble(t, func(b *box) {
		b.metaconfig(keyX.name, "1.0", `[{"zk_path": "`+refX.Path+`", "command": "zk_download_data.py -f /var/config/`+keyX.name+` -m config -p `+refX.Path+`"}]`)
		b.depend(boxDependency, keyX.name)
		b.start()
		b.settle()
		if source, ok := b.engine.Source(keyX.name); !ok || !source.Inline || source.Path != refX.Path {
			t.Errorf("the source is %+v, %v", source, ok)
		}
	})
}

func TestSinkRefusesWhatIsWritten(t *testing.T) {
	withConfig(t, func(b *box) {
		b.zk.mu.Lock()
		b.zk.latency = time.Second // the engine must not read of it before it is noted
		b.zk.mu.Unlock()
		b.sink.setRefuse(diskFull)
		b.engine.NoteWritten(keyX.name, refX, b.published(refX, "2.0", "x2"))
		if err := b.engine.ServeWritten(keyX.name); !errors.As(err, new(publishError)) || !strings.Contains(err.Error(), keyX.name) {
			t.Errorf("the error is %v", err)
		}
		b.pass(2 * time.Second) // an attempt may have begun before
		b.wantContent(keyX, "x1")
		b.wantState(keyX, Stale, "no space left")
		b.sink.setRefuse(nil)
		b.pass(10 * time.Second)
		b.wantContent(keyX, "x2")
		b.wantState(keyX, Fresh, "")
		if n := b.s3.count(refX, "2.0"); n != 0 {
			t.Errorf("it was fetched %d times", n)
		}
	})
}

// The fleet deletes a config, in the moment in which it is written anew.
func TestWrittenWhileItIsRemoved(t *testing.T) {
	withConfig(t, func(b *box) {
		b.sink.setDuring(func(key) {
			b.sink.setDuring(nil)
			b.engine.NoteWritten(keyX.name, refX, b.published(refX, "2.0", "x2"))
		})
		b.zk.remove(refX.Path)
		b.settle()
		b.serveWritten(keyX)
		b.pass(time.Minute)
		b.wantContent(keyX, "x2")
		b.wantState(keyX, Fresh, "")
	})
}

// After a restore of ZooKeeper from a backup the zxids order nothing.
func TestOrderAfterRestoreFromBackup(t *testing.T) {
	withConfig(t, func(b *box) {
		for range 10 {
			b.ensure(metaconfig.DependencyPath("other.dep"))
			b.zk.remove(metaconfig.DependencyPath("other.dep"))
		}
		b.config("test.x", "2.0", "x2")
		b.settle()
		before := b.sink.entry(keyX)
		b.zk.mu.Lock()
		b.zk.zxid, b.zk.applied, b.zk.changes = 120, 120, nil
		for path, revisions := range b.zk.znodes {
			b.zk.znodes[path] = slices.DeleteFunc(revisions, func(r revision) bool { return r.zxid > 120 })
		}
		b.zk.mu.Unlock()
		b.zk.expire()
		b.zk.connect(true)
		b.pass(time.Minute)
		b.config("test.x", "3.0", "x3")
		b.settle()
		e := b.sink.entry(keyX)
		if string(e.Content) != "x3" || b.zk.now() >= before.Order || e.Order != 0 {
			t.Errorf("after order %d served is %+v at zxid %d", before.Order, e, b.zk.now())
		}
	})
}
