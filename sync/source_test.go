package sync

import (
	"fmt"
	"testing"
	"time"

	"github.com/kingpinfs/kingpin/store"
)

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
