package sync

import (
	"testing"
	"time"

	"github.com/kingpinfs/kingpin/metaconfig"
)

var (
	keyX = configKey("test.x")
	keyY = configKey("test.y")
	keyZ = configKey("test.z")
	keyS = serversetKey("search.prod")
)

func TestNestedAndCyclicDependencies(t *testing.T) {
	inBubble(t, func(b *box) {
		b.config("test.x", "1.0", "x")
		b.config("test.y", "1.0", "y")
		b.config("test.z", "1.0", "z")
		b.depend(boxDependency, keyX.name, "a.dep")
		b.depend("a.dep", keyY.name, "b.dep", "a.dep")
		b.depend("b.dep", keyZ.name, "a.dep", boxDependency)
		b.start()
		b.settle()
		b.wantReady(true)
		b.wantContent(keyX, "x")
		b.wantContent(keyY, "y")
		b.wantContent(keyZ, "z")

		// The cycle b → a doesn't keep itself alive.
		b.independ(boxDependency, "a.dep")
		b.settle()
		b.wantContent(keyX, "x")
		b.wantNone(keyY)
		b.wantNone(keyZ)
		if s := b.engine.Snapshot(); len(s.Dependencies) != 1 || len(s.Metaconfigs) != 1 || len(s.Configs) != 1 {
			t.Errorf("left are %v, %v and %v", s.Dependencies, s.Metaconfigs, s.Configs)
		}
	})
}

func TestBaseDependency(t *testing.T) {
	inBubble(t, func(b *box) {
		b.config("test.x", "1.0", "x")
		b.config("test.y", "1.0", "y")
		b.depend(boxDependency, keyX.name)
		b.start()
		b.settle()
		b.wantReady(true)
		b.wantLogged(0, "WARN")
		if d := b.engine.Snapshot().Dependencies; len(d) != 1 || d[0].Name != boxDependency {
			t.Errorf("dependencies without base.dep: %v", d)
		}

		b.depend(metaconfig.BaseDependency, keyY.name)
		b.settle()
		b.wantContent(keyY, "y")
		if d := b.engine.Snapshot().Dependencies; len(d) != 2 {
			t.Errorf("dependencies with base.dep: %v", d)
		}

		b.independ(metaconfig.BaseDependency, keyY.name)
		b.settle()
		b.wantNone(keyY)
		b.wantContent(keyX, "x")
	})
}

func TestBaseDependencyIsLoadedOnce(t *testing.T) {
	inBubble(t, func(b *box) {
		b.cfg.Dependencies = []string{metaconfig.BaseDependency}
		b.config("test.x", "1.0", "x")
		b.depend(metaconfig.BaseDependency, keyX.name)
		b.start()
		b.settle()
		b.wantReady(true)
		b.wantContent(keyX, "x")
	})
}

func TestDependencyThatAppearsLater(t *testing.T) {
	inBubble(t, func(b *box) {
		b.config("test.x", "1.0", "x")
		b.config("test.y", "1.0", "y")
		b.depend(metaconfig.BaseDependency, keyY.name)
		b.start()
		b.settle()
		b.wantReady(true)
		b.wantContent(keyY, "y")
		b.wantLogged(1, "WARN", boxDependency, "kingpin dependency create "+boxDependency)
		b.zk.readsUnder("/")
		b.pass(20 * time.Minute)
		if n := b.zk.readsUnder("/"); n != 0 {
			t.Errorf("%d reads while nothing changed", n)
		}

		b.depend(boxDependency, keyX.name)
		b.settle()
		b.wantContent(keyX, "x")
	})
}

func TestMissingSubDependencyKeepsWhatItHeld(t *testing.T) {
	inBubble(t, func(b *box) {
		b.config("test.x", "1.0", "x")
		b.depend("a.dep", keyX.name)
		b.depend(boxDependency, "a.dep")
		b.start()
		b.settle()
		b.zk.remove(metaconfig.DependencyPath("a.dep"))
		b.settle()
		b.pass(time.Hour)
		b.wantContent(keyX, "x")
		b.wantState(keyX, Fresh, "")
		b.wantLogged(1, "WARN", "a.dep", "not found")

		// It comes back with other members.
		b.config("test.y", "1.0", "y")
		b.depend("a.dep", keyY.name)
		b.settle()
		b.wantContent(keyY, "y")
		b.wantNone(keyX)
	})
}

func TestBadMembersOfADependency(t *testing.T) {
	inBubble(t, func(b *box) {
		b.config("test.x", "1.0", "x")
		b.depend(boxDependency, keyX.name, keyX.name+".lock", ".dep", "a\u0001b")
		b.start()
		b.settle()
		b.wantReady(true)
		b.wantContent(keyX, "x")
		b.wantLogged(1, "WARN", "ignored", ".dep")
		b.engine.Resync(0)
		b.settle()
		b.wantLogged(1, "WARN", "ignored", ".dep")
	})
}

// A metaconfig that moves is added to one dependency before it is removed from
// the other. Whoever reads the removal first must wait for the addition.
func TestMetaconfigMovesBetweenDependencies(t *testing.T) {
	inBubble(t, func(b *box) {
		b.config("test.x", "1.0", "x")
		b.depend("a.dep", keyX.name)
		b.depend("b.dep")
		b.depend(boxDependency, "a.dep", "b.dep")
		b.start()
		b.settle()
		// The two changes are read in any order, and the addition may fail to be
		// read at first.
		for i := range 10 {
			from, to := "a.dep", "b.dep"
			if i%2 == 1 {
				from, to = to, from
			}
			b.depend(to, keyX.name)
			b.independ(from, keyX.name)
			b.settle()
		}
		b.wantContent(keyX, "x")
		if got := b.sink.served(keyX); got != "x" {
			t.Errorf("served were %q, the file was away meanwhile", got)
		}
		if n := b.s3.count(metaconfigRef(keyX.name), "1.0"); n != 1 {
			t.Errorf("the metaconfig was fetched %d times", n)
		}
	})
}

// The same while each is read at another moment, as after a session expired.
func TestMetaconfigMovesWhileDisconnected(t *testing.T) {
	for range 20 {
		inBubble(t, func(b *box) {
			b.config("test.x", "1.0", "x")
			b.depend("a.dep", keyX.name)
			b.depend("b.dep")
			b.depend(boxDependency, "a.dep", "b.dep")
			b.start()
			b.settle()
			b.zk.expire()
			b.depend("b.dep", keyX.name)
			b.independ("a.dep", keyX.name)
			b.pass(time.Minute)
			b.zk.connect(true)
			b.pass(10 * time.Second)
			b.wantContent(keyX, "x")
			if got := b.sink.served(keyX); got != "x" {
				t.Errorf("served were %q, the file was away meanwhile", got)
			}
		})
	}
}

// An ensemble without any of the box's dependencies deletes nothing.
func TestWipedEnsemble(t *testing.T) {
	inBubble(t, func(b *box) {
		b.config("test.x", "1.0", "x")
		b.serverset("search.prod", hosts(1, 3)...)
		b.depend(boxDependency, keyX.name, keyS.name)
		b.start()
		b.settle()
		wiped := newFakeZooKeeper()
		wiped.zxid, wiped.applied, wiped.connected = 3, 3, true
		for _, restart := range []bool{false, true} {
			b.zk.disconnect()
			if restart {
				b.end()
			}
			b.zk, b.cfg.ZooKeeper = wiped, wiped
			if restart {
				wiped.connected = true
				b.start()
			} else {
				b.engine.cfg.ZooKeeper = wiped
				wiped.observer = b.engine
				b.engine.SessionExpired()
				wiped.connect(true)
			}
			b.pass(time.Hour)
			b.wantContent(keyX, "x")
			b.wantState(keyX, Stale, "right ensemble")
			b.wantContent(keyS, lines(hosts(1, 3)))
			b.wantState(keyS, Held, "3 endpoints are gone")
		}
		// Somebody restores a backup, whose zxids are lower.
		b.metaconfig(keyX.name, "1.0", "["+configEntry(keyX.name, configRef("test.x").Path, "")+"]")
		b.write(configRef("test.x"), "1.0", "x")
		b.serverset("search.prod", hosts(2, 4)...)
		b.depend(boxDependency, keyX.name, keyS.name)
		b.sink.letOlder() // of the serverset, whose versions are zxids
		b.settle()
		b.wantState(keyX, Fresh, "")
		b.wantContent(keyS, lines(hosts(2, 4)))
		b.config("test.x", "2.0", "new")
		b.settle()
		b.wantContent(keyX, "new")
	})
}

func TestDeniedDependencyKeepsAndHeals(t *testing.T) {
	inBubble(t, func(b *box) {
		b.config("test.x", "1.0", "x")
		b.depend(boxDependency, keyX.name)
		path := metaconfig.DependencyPath(boxDependency)
		b.zk.denied[path] = true
		b.start()
		b.settle()
		b.wantReady(true)
		b.wantLogged(1, "WARN", "permission denied", boxDependency)
		b.zk.mu.Lock()
		delete(b.zk.denied, path)
		b.zk.mu.Unlock()
		b.pass(40 * time.Second)
		b.wantContent(keyX, "x")
		b.wantLogged(1, "INFO", "recovered", boxDependency)
	})
}

// A file or metaconfig that is dropped and asked for again is read anew.
func TestDroppedAndAddedAgain(t *testing.T) {
	inBubble(t, func(b *box) {
		b.config("test.x", "1.0", "x")
		b.serverset("search.prod", hosts(1, 9)...)
		b.depend(boxDependency, keyX.name, keyS.name)
		b.start()
		b.settle()
		for i := range 3 {
			b.independ(boxDependency, keyX.name)
			b.independ(boxDependency, keyS.name)
			b.settle()
			b.wantNone(keyX)
			b.wantNone(keyS)
			if left := parseJournal(b.readJournal()).records; len(left) != 1 || left[0].Name != boxDependency {
				t.Errorf("of what is gone these records are left: %+v", left)
			}
			if i == 1 {
				b.restart()
				b.settle()
				b.wantNone(keyX)
			}
			b.serverset("search.prod", hosts(1, 9-i)...)
			b.depend(boxDependency, keyX.name, keyS.name)
			b.settle()
			b.wantContent(keyX, "x")
			b.wantContent(keyS, lines(hosts(1, 9-i)))
			b.wantState(keyS, Fresh, "")
			// Removed and added before anybody has looked.
			b.independ(boxDependency, keyX.name)
			b.depend(boxDependency, keyX.name)
			b.settle()
			b.wantContent(keyX, "x")
		}
		b.restart()
		b.settle()
		b.wantContent(keyX, "x")
	})
}
