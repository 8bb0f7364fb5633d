package sync

import (
	"errors"
	"fmt"
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

// A server that doesn't know the znode yet is asked again when it has caught up.
func TestNotFoundFromALaggingServer(t *testing.T) {
	withConfig(t, func(b *box) {
		for _, restart := range []bool{false, true} {
			b.zk.expire()
			if restart {
				b.end()
			}
			b.zk.lagAt(100) // before anything was written
			if restart {
				b.zk.connected = true
				b.start()
			} else {
				b.zk.connect(true)
			}
			b.pass(10 * time.Second)
			b.wantContent(keyX, "x1")
			b.wantState(keyX, Fresh, "")
			if got := b.sink.served(keyX); got != "x1" {
				t.Errorf("served were %q", got)
			}
			b.zk.lag(false)
		}
	})
}

func TestOldVersionFromALaggingServer(t *testing.T) {
	withConfig(t, func(b *box) {
		old := b.zk.now()
		b.config("test.x", "2.0", "x2")
		b.settle()
		for range 3 {
			b.zk.expire()
			b.zk.lagAt(old)
			b.zk.connect(true)
			b.pass(10 * time.Second)
			b.wantContent(keyX, "x2")
			b.wantState(keyX, Fresh, "")
		}
		if got := b.sink.served(keyX); got != "x1 x2" {
			t.Errorf("served were %q", got)
		}
		b.zk.expire()
		b.end()
		b.zk.lagAt(old)
		b.zk.connected = true
		b.start()
		b.settle()
		b.wantContent(keyX, "x2")
		b.wantState(keyX, Fresh, "")
	})
}

// The pointer goes to another version and back, which is no new version, but
// the server that shows what was between is known to lag.
func TestPointerGoesThereAndBack(t *testing.T) {
	withConfig(t, func(b *box) {
		ref := configRef("test.x")
		b.s3.setFault(func(key string) error {
			if key == ref.Key("2.0") {
				return unavailable(key)
			}
			return nil
		})
		b.config("test.x", "2.0", "x2")
		b.settle()
		between := b.zk.now()
		b.zk.set(ref.Path, "1.0")
		b.settle()
		b.wantState(keyX, Fresh, "")
		b.s3.setFault(nil)
		for _, restart := range []bool{false, true} {
			b.zk.expire()
			if restart {
				b.end()
			}
			b.zk.lagAt(between)
			if restart {
				b.zk.connected = true
				b.start()
			} else {
				b.zk.connect(true)
			}
			b.pass(10 * time.Second)
			b.wantState(keyX, Fresh, "")
			if got := b.sink.served(keyX); got != "x1" {
				t.Errorf("served were %q", got)
			}
			b.zk.lag(false)
		}
	})
}

// A server that lags doesn't bring back what has been deleted.
func TestDeletedConfigFromALaggingServer(t *testing.T) {
	withConfig(t, func(b *box) {
		old := b.zk.now()
		b.zk.remove(configRef("test.x").Path)
		b.settle()
		b.wantNone(keyX)
		b.zk.expire()
		b.zk.lagAt(old)
		b.zk.connect(true)
		b.pass(10 * time.Second)
		b.wantNone(keyX)
		if got := b.sink.served(keyX); got != "x1" {
			t.Errorf("served were %q", got)
		}
	})
}

func TestDeletedMetaconfigFromALaggingServer(t *testing.T) {
	withConfig(t, func(b *box) {
		old := b.zk.now()
		b.zk.remove(metaconfig.Path(keyX.name))
		b.settle()
		b.wantNone(keyX)
		b.zk.expire()
		b.zk.lagAt(old)
		b.zk.connect(true)
		b.pass(10 * time.Second)
		b.wantNone(keyX)
		if got := b.sink.served(keyX); got != "x1" {
			t.Errorf("served were %q", got)
		}
	})
}

// The ensemble has been restored from a backup: it knows an older metaconfig.
func TestMetaconfigFromABackup(t *testing.T) {
	withConfig(t, func(b *box) {
		path := metaconfig.Path(keyX.name)
		b.s3.put(metaconfigRef(keyX.name), "0.5", "[]")
		b.metaconfig(keyX.name, "2.0", "["+configEntry(keyX.name, configRef("test.x").Path, "")+"]")
		b.settle()
		b.zk.mu.Lock()
		backup := b.zk.znodes[path][0]
		backup.data = "0.5"
		b.zk.znodes[path] = []revision{backup}
		b.zk.mu.Unlock()
		b.engine.Reread(path)
		b.settle()
		b.wantContent(keyX, "x1")
		if m := b.engine.Snapshot().Metaconfigs; len(m) != 1 || !strings.Contains(m[0].Err, "older version") {
			t.Errorf("metaconfigs: %v", m)
		}
	})
}

// The ensemble has been restored from a backup: it knows less than we serve.
func TestEnsembleFromABackup(t *testing.T) {
	withConfig(t, func(b *box) {
		b.config("test.x", "2.0", "x2")
		b.settle()
		path := configRef("test.x").Path
		b.zk.mu.Lock()
		backup := b.zk.znodes[path][:1:1]
		b.zk.znodes[path] = backup
		b.zk.mu.Unlock()
		b.engine.Reread(path)
		b.settle()
		b.wantContent(keyX, "x2")
		b.wantState(keyX, Stale, "publish the value again")
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

// The znode that a metaconfig names changes: the old content stays until there
// is a new one, and is never taken for fresh.
func TestConfigNamesAnotherZnode(t *testing.T) {
	withConfig(t, func(b *box) {
		other := configRef("test.other")
		defer func(before int) {
			if b.zk.syncs != before {
				t.Error("the new znode is held against the zxid of the old one")
			}
		}(b.zk.syncs)
		b.metaconfig(keyX.name, "2.0", "["+configEntry(keyX.name, other.Path, "")+"]")
		b.settle()
		b.wantContent(keyX, "x1")
		b.wantState(keyX, Stale, "not found")
		b.ensure(other.Path)
		b.settle()
		b.wantContent(keyX, "x1")
		b.wantState(keyX, Stale, "nothing has been written")
		b.s3.setHang(func(key string) bool { return key == other.Key("0.1") })
		b.zk.set(other.Path, "0.1")
		b.settle()
		b.wantContent(keyX, "x1")
		b.wantState(keyX, Stale, "nothing has been written")
		b.s3.setHang(nil)
		b.write(other, "0.2", "other") // older than what is served, of another znode
		b.pass(2 * time.Second)
		b.wantContent(keyX, "other")
		b.wantState(keyX, Fresh, "")
		for _, s := range b.sink.statesOf(keyX) {
			if s == Absent {
				t.Error("the file was away meanwhile")
			}
		}
		// The old znode doesn't matter any more.
		reads := b.s3.count(configRef("test.x"), "9.0")
		b.write(configRef("test.x"), "9.0", "x9")
		b.settle()
		b.wantContent(keyX, "other")
		if n := b.s3.count(configRef("test.x"), "9.0"); n != reads {
			t.Error("the old znode is still followed")
		}
	})
}

// Between the change of a metaconfig and the first look at the new znode the
// file isn't fresh.
func TestOtherSourceIsStaleAtOnce(t *testing.T) {
	withConfig(t, func(b *box) {
		b.write(configRef("test.other"), "1.0", "other")
		b.zk.mu.Lock()
		b.zk.latency = time.Second
		b.zk.mu.Unlock()
		b.metaconfig(keyX.name, "2.0", "["+configEntry(keyX.name, configRef("test.other").Path, "")+"]")
		b.pass(1500 * time.Millisecond)
		b.wantContent(keyX, "x1")
		b.wantState(keyX, Stale, "another source")
		b.pass(time.Second)
		b.wantContent(keyX, "other")
		b.wantState(keyX, Fresh, "")
	})
}

// Another prefix is another source, even at the same version.
func TestConfigNamesAnotherPrefix(t *testing.T) {
	withConfig(t, func(b *box) {
		path := configRef("test.x").Path
		other := store.Ref{Path: path, Prefix: "elsewhere/x"}
		b.s3.put(other, "1.0", "elsewhere")
		b.metaconfig(keyX.name, "2.0", fmt.Sprintf(`[{"zk_path": %q, "command": "zk_download_data.py -f /var/config/%s --from-s3 /elsewhere/x"}]`, path, keyX.name))
		b.settle()
		b.wantContent(keyX, "elsewhere")
		b.wantState(keyX, Fresh, "")
	})
}

func TestInlineConfig(t *testing.T) {
	inBubble(t, func(b *box) {
		const path = "/config/inline"
		k := key{configItem, "inline"}
		b.metaconfig("inline", "1.0", `[{"zk_path": "/config/inline", "command": "zk_download_data.py -f /var/config/inline -m config"}]`)
		b.depend(boxDependency, "inline")
		b.ensure(path)
		b.start()
		b.settle()
		b.wantReady(true)
		b.wantState(k, Absent, "empty")
		b.zk.set(path, "one")
		b.settle()
		b.wantContent(k, "one")
		old := b.zk.now()
		b.pass(time.Second)
		b.zk.set(path, "two")
		b.settle()
		b.wantContent(k, "two")
		if e := b.sink.entry(k); !e.ModTime.Equal(time.Now().Truncate(time.Millisecond)) {
			t.Errorf("the time is %v", e.ModTime)
		}
		b.zk.expire()
		b.zk.lagAt(old)
		b.zk.connect(true)
		b.pass(10 * time.Second)
		b.wantContent(k, "two")
		b.zk.lag(false)

		b.restart()
		b.settle()
		b.wantContent(k, "two")
		if got := b.sink.served(k); got != "two" {
			t.Errorf("served were %q", got)
		}

		// Restored from a backup with lower zxids, then written again.
		b.zk.mu.Lock()
		b.zk.znodes[path] = b.zk.znodes[path][:2:2]
		b.zk.mu.Unlock()
		b.engine.Reread(path)
		b.settle()
		b.wantState(k, Stale, "publish the value again")
		b.pass(time.Second)
		b.sink.letOlder()
		b.zk.mu.Lock()
		r := b.zk.znodes[path][1]
		r.data, r.stat.Mtime, r.stat.Mzxid = "three", time.Now(), r.stat.Mzxid+1
		b.zk.znodes[path] = append(b.zk.znodes[path], r)
		b.zk.mu.Unlock()
		b.engine.Reread(path)
		b.settle()
		b.wantContent(k, "three")
		b.wantState(k, Fresh, "")
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

// The same object is fetched once for all that need it.
func TestSharedObject(t *testing.T) {
	inBubble(t, func(b *box) {
		path := configRef("test.x").Path
		k2 := key{configItem, "alias"}
		b.write(configRef("test.x"), "1.0", "x1")
		b.metaconfig("m", "1.0", "["+configEntry(keyX.name, path, "")+", "+configEntry(k2.name, path, "")+"]")
		b.depend(boxDependency, "m")
		b.s3.setDelay(func(string) time.Duration { return time.Second })
		b.start()
		b.pass(10 * time.Second)
		b.wantContent(keyX, "x1")
		b.wantContent(k2, "x1")
		if n := b.s3.count(configRef("test.x"), "1.0"); n != 1 {
			t.Errorf("the object was fetched %d times", n)
		}
		if a, b2 := b.sink.entry(keyX).Content, b.sink.entry(k2).Content; &a[0] != &b2[0] {
			t.Error("the content is kept twice")
		}
		b.write(configRef("test.x"), "2.0", "x2")
		b.pass(10 * time.Second)
		b.wantContent(keyX, "x2")
		b.wantContent(k2, "x2")
	})
}

// One of those that wait for an object has no use for it any more; the other
// gets it all the same.
func TestSharedDownloadIsEnded(t *testing.T) {
	inBubble(t, func(b *box) {
		entry := func(k key, ref store.Ref) string {
			return fmt.Sprintf(`{"zk_path": %q, "command": "zk_download_data.py -f /var/config/%s --from-s3 /shared"}`, ref.Path, k.name)
		}
		x, y := configRef("test.x"), configRef("test.y")
		b.metaconfig("m", "1.0", "["+entry(keyX, x)+", "+entry(keyY, y)+"]")
		b.depend(boxDependency, "m")
		shared := store.Ref{Path: x.Path, Prefix: "shared"}
		b.s3.put(shared, "1.0", "one")
		b.s3.put(shared, "2.0", "two")
		b.s3.setHang(func(key string) bool { return key == shared.Key("1.0") })
		b.zk.set(x.Path, "1.0")
		b.start()
		b.pass(100 * time.Millisecond)
		b.zk.set(y.Path, "1.0") // waits for the same download
		b.pass(100 * time.Millisecond)
		b.s3.setHang(nil)
		b.zk.set(x.Path, "2.0")
		b.pass(1100 * time.Millisecond)
		b.wantContent(keyX, "two")
		b.wantContent(keyY, "one")
		b.wantLogged(0, "WARN", "shared")
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
