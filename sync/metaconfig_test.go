package sync

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/kingpinfs/kingpin/metaconfig"
	"github.com/kingpinfs/kingpin/store"
)

// A file that moves from one metaconfig to another is never away.
func TestFileMovesBetweenMetaconfigs(t *testing.T) {
	inBubble(t, func(b *box) {
		b.config("test.x", "1.0", "x")
		b.metaconfig("other", "1.0", "[]")
		b.depend(boxDependency, keyX.name, "other")
		b.start()
		b.settle()
		// The object of the new metaconfig comes later than that of the old one.
		entry := configEntry(keyX.name, configRef("test.x").Path, "")
		slow := metaconfigRef("other").Key("2.0")
		b.s3.setDelay(func(key string) time.Duration {
			if key == slow {
				return 3 * time.Second
			}
			return 0
		})
		b.metaconfig("other", "2.0", "["+entry+"]")
		b.metaconfig(keyX.name, "2.0", "[]")
		b.settle()
		b.wantContent(keyX, "x")
		b.pass(4 * time.Second)
		b.wantContent(keyX, "x")
		if got := b.sink.served(keyX); got != "x" {
			t.Errorf("served were %q, the file was away meanwhile", got)
		}
		if owner := b.fileStatus(keyX).Metaconfig; owner != "other" {
			t.Errorf("the file is that of metaconfig %q", owner)
		}
		b.metaconfig("other", "3.0", "[]")
		b.settle()
		b.wantNone(keyX)
	})
}

// The new metaconfig is being fetched when it is changed to one that asks for
// the file: what has been fetched doesn't say yet that nothing asks for it.
func TestFileMovesToAMetaconfigThatIsBeingRead(t *testing.T) {
	withConfig(t, func(b *box) {
		b.metaconfig("other", "1.0", "[]")
		b.depend(boxDependency, "other")
		b.settle()
		b.s3.setDelay(func(key string) time.Duration {
			if strings.Contains(key, "other") {
				return 500 * time.Millisecond
			}
			return 0
		})
		b.metaconfig("other", "2.0", "[]")
		b.pass(100 * time.Millisecond)
		b.metaconfig("other", "3.0", "["+configEntry(keyX.name, configRef("test.x").Path, "")+"]")
		b.metaconfig(keyX.name, "2.0", "[]")
		b.pass(10 * time.Second)
		b.wantContent(keyX, "x1")
		if got := b.sink.served(keyX); got != "x1" {
			t.Errorf("served were %q, the file was away meanwhile", got)
		}
	})
}

func TestTwoMetaconfigsOfOneFile(t *testing.T) {
	inBubble(t, func(b *box) {
		b.config("test.x", "1.0", "x")
		b.write(configRef("test.other"), "1.0", "other")
		other := "[" + configEntry(keyX.name, configRef("test.other").Path, "") + "]"
		b.metaconfig("zz", "1.0", "["+configEntry(keyX.name, configRef("test.x").Path, "")+"]")
		b.depend(boxDependency, keyX.name, "zz")
		b.start()
		b.settle()
		b.wantContent(keyX, "x")
		b.wantLogged(0, "WARN") // the same is no conflict

		b.metaconfig("zz", "2.0", other)
		b.settle()
		b.wantContent(keyX, "x") // the first by name decides
		b.wantLogged(1, "WARN", "two metaconfigs")

		b.metaconfig("aa", "1.0", other)
		b.depend(boxDependency, "aa")
		b.settle()
		b.wantContent(keyX, "other")

		b.independ(boxDependency, "aa")
		b.settle()
		b.wantContent(keyX, "x")
		b.independ(boxDependency, keyX.name)
		b.settle()
		b.wantContent(keyX, "other")
		b.independ(boxDependency, "zz")
		b.settle()
		b.wantNone(keyX)
	})
}

func TestMetaconfigGoesBad(t *testing.T) {
	inBubble(t, func(b *box) {
		b.config("test.x", "1.0", "x")
		b.depend(boxDependency, keyX.name)
		b.start()
		b.settle()
		b.metaconfig(keyX.name, "2.0", "it is not JSON")
		b.settle()
		b.wantContent(keyX, "x")
		b.wantLogged(1, "WARN", "not JSON", keyX.name)
		if m := b.engine.Snapshot().Metaconfigs; len(m) != 1 || m[0].Err == "" {
			t.Errorf("metaconfigs: %v", m)
		}
		b.config("test.x", "2.0", "still current")
		b.settle()
		b.wantContent(keyX, "still current")
		b.wantState(keyX, Fresh, "")
		fetched := b.s3.count(metaconfigRef(keyX.name), "2.0")
		b.pass(10 * time.Minute)
		if n := b.s3.count(metaconfigRef(keyX.name), "2.0"); n == fetched || n > fetched+6 {
			t.Errorf("what can hardly get better was fetched %d times more, want a few", n-fetched)
		}

		// After a restart it is still the last good one that counts.
		b.restart()
		b.settle()
		b.wantContent(keyX, "still current")

		b.metaconfig(keyX.name, "3.0", "[]")
		b.settle()
		b.wantNone(keyX)
		if m := b.engine.Snapshot().Metaconfigs; len(m) != 1 || m[0].Err != "" {
			t.Errorf("metaconfigs: %v", m)
		}
	})
}

// What is good of a metaconfig is served although another entry is bad, and
// what was good stays.
func TestMetaconfigWithOneBadEntry(t *testing.T) {
	inBubble(t, func(b *box) {
		for _, name := range []string{"test.x", "test.y", "test.z"} {
			b.write(configRef(name), "1.0", name)
		}
		x := configEntry(keyX.name, configRef("test.x").Path, "")
		y := configEntry(keyY.name, configRef("test.y").Path, "")
		z := configEntry(keyZ.name, configRef("test.z").Path, "")
		bad := `{"zk_path": "/config/manageddata/test/y", "command": "zk_download_data.py -f /var/config/../../etc/passwd/.. -p /a"}`
		b.metaconfig("m", "1.0", "["+x+", "+bad+"]")
		b.depend(boxDependency, "m")
		b.start()
		b.settle()
		b.wantReady(true)
		b.wantContent(keyX, "test.x")
		b.metaconfig("m", "2.0", "["+x+", "+y+"]")
		b.settle()
		b.wantContent(keyY, "test.y")
		b.metaconfig("m", "3.0", "["+x+", "+bad+", "+z+"]")
		b.settle()
		b.wantContent(keyX, "test.x")
		b.wantContent(keyY, "test.y")
		b.wantContent(keyZ, "test.z")

		// S3 is away when the box comes back: nothing is lost.
		b.s3.setFault(unavailable)
		b.restart()
		b.pass(10 * time.Second)
		b.wantReady(true)
		b.wantContent(keyY, "test.y")
		b.wantContent(keyZ, "test.z")
		b.s3.setFault(nil)
		b.pass(10 * time.Second)
		b.metaconfig("m", "4.0", "["+x+"]")
		b.settle()
		b.wantContent(keyX, "test.x")
		b.wantNone(keyY)
		b.wantNone(keyZ)
	})
}

func TestMetaconfigIsDeleted(t *testing.T) {
	inBubble(t, func(b *box) {
		b.config("test.x", "1.0", "x")
		b.depend(boxDependency, keyX.name)
		b.start()
		b.settle()
		b.zk.remove(metaconfig.Path(keyX.name))
		b.settle()
		b.wantNone(keyX)
		b.wantLogged(1, "WARN", "metaconfig create-config")
		if left := parseJournal(b.readJournal()).records; len(left) != 1 {
			t.Errorf("of what is gone these records are left: %+v", left)
		}
		b.restart()
		b.settle()
		b.wantReady(true)
		b.wantNone(keyX)

		b.metaconfig(keyX.name, "1.5", "["+configEntry(keyX.name, configRef("test.x").Path, "")+"]")
		b.settle()
		b.wantContent(keyX, "x")
	})
}

func TestMetaconfigThatAppearsLater(t *testing.T) {
	inBubble(t, func(b *box) {
		b.depend(boxDependency, keyX.name, keyY.name)
		b.ensure(metaconfig.Path(keyY.name)) // created, but never written
		b.start()
		b.settle()
		b.wantReady(true)
		b.wantLogged(1, "WARN", keyX.name, "not found")
		b.wantLogged(1, "WARN", keyY.name, "nothing has been written")
		b.config("test.x", "1.0", "x")
		b.metaconfig(keyY.name, "1.0", "["+configEntry(keyY.name, configRef("test.y").Path, "")+"]")
		b.settle()
		b.wantContent(keyX, "x")
		b.wantState(keyY, Absent, "not found")
		b.ensure(configRef("test.y").Path)
		b.settle()
		b.wantState(keyY, Absent, "nothing has been written")
		b.config("test.y", "1.0", "y")
		b.settle()
		b.wantContent(keyY, "y")
		b.wantState(keyY, Fresh, "")
	})
}

// The metaconfig that says 404 for a while is waited for, alone.
func TestMetaconfigWhoseObjectComesLate(t *testing.T) {
	inBubble(t, func(b *box) {
		b.config("test.y", "1.0", "y")
		b.write(configRef("test.x"), "1.0", "x")
		b.zk.set(metaconfig.Path(keyX.name), "1.0")
		b.depend(boxDependency, keyX.name, keyY.name)
		b.start()
		b.settle()
		b.wantReady(true)
		b.wantContent(keyY, "y")
		b.pass(3 * time.Second)
		b.s3.put(metaconfigRef(keyX.name), "1.0", "["+configEntry(keyX.name, configRef("test.x").Path, "")+"]")
		b.pass(4 * time.Second)
		b.wantContent(keyX, "x")
		b.wantLogged(1, "WARN", keyX.name)
	})
}

// Removing waits for what can't be read yet, and for nothing else.
func TestBrokenMetaconfigHoldsUpNoRemoval(t *testing.T) {
	inBubble(t, func(b *box) {
		b.config("test.x", "1.0", "x")
		b.config("test.y", "1.0", "y")
		b.depend(boxDependency, keyX.name, keyY.name)
		b.start()
		b.settle()
		broken := metaconfigRef(keyY.name).Key("2.0")
		b.s3.setFault(func(key string) error {
			if key == broken {
				return &store.Error{Op: "reading object", Subject: key, Kind: store.Denied, Err: errors.New("AccessDenied")}
			}
			return nil
		})
		b.metaconfig(keyY.name, "2.0", "[]")
		b.settle()
		b.independ(boxDependency, keyX.name)
		b.settle()
		b.wantNone(keyX)
		b.wantContent(keyY, "y")
	})
}
