package sync

import (
	"strings"
	"testing"
	"time"

	"github.com/kingpinfs/kingpin/metaconfig"
)

// A server that doesn't know the znode yet is asked again when it has caught up.
func TestNotFoundFromALaggingServer(t *testing.T) {
	withConfig(t, func(b *box) {
		for _, restart := range []bool{false, true} {
			b.fallBehind(100, restart) // before anything was written
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
			b.fallBehind(old, false)
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
			b.fallBehind(between, restart)
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
		b.fallBehind(old, false)
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
		b.fallBehind(old, false)
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
		b.fallBehind(old, false)
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
