package sync

import (
	"testing"
	"time"
)

// withServerset starts a box that serves search.prod with ten endpoints.
func withServerset(t *testing.T, test func(b *box)) {
	t.Helper()
	inBubble(t, func(b *box) {
		b.serverset("search.prod", hosts(1, 10)...)
		b.depend(boxDependency, keyS.name)
		b.start()
		b.settle()
		b.wantReady(true)
		b.wantContent(keyS, lines(hosts(1, 10)))
		test(b)
	})
}

func TestServersetMembers(t *testing.T) {
	withServerset(t, func(b *box) {
		path := serversetPath("search.prod")
		b.zk.set(path+"/0123456789abcdef0123456789abcdef-10.99.184.69:900010.37.170.125:9006", "")
		b.zk.set(path+"/nohyphen", "")
		b.zk.set(path+"/0123456789abcdef0123456789abcdef-noport", "")
		b.zk.set(path+"/0123456789abcdef0123456789abcdef-a:80\nb:80", "")
		b.zk.set(path+"/fedcba9876543210fedcba9876543210-10.0.0.1:80", "") // a second registration of one endpoint
		b.settle()
		b.wantContent(keyS, lines(append(hosts(1, 10), "10.99.184.69:9000", "10.37.170.125:9006")))
		b.wantState(keyS, Fresh, "")
		b.engine.Resync(0)
		b.settle()
		for _, bad := range []string{"nohyphen", "noport", "b:80"} {
			b.wantLogged(1, "WARN member", bad)
		}
		if n := b.engine.Stats().InvalidMembers.Load(); n < 3 {
			t.Errorf("%d invalid members were counted", n)
		}
		// It is mended and breaks again: that is news.
		b.zk.remove(path + "/nohyphen")
		b.settle()
		b.zk.set(path+"/nohyphen", "")
		b.settle()
		b.wantLogged(2, "WARN member", "nohyphen")
	})
}

// A serverset whose znode is deleted is one that is empty.
func TestDeletedServerset(t *testing.T) {
	withServerset(t, func(b *box) {
		b.zk.remove(serversetPath("search.prod"))
		b.settle()
		b.pass(time.Hour)
		b.wantContent(keyS, lines(hosts(1, 10)))
		b.wantHeld(hosts(1, 10), nil)
		if err := b.engine.AcceptServerset(keyS.name); err != nil {
			t.Error(err)
		}
		b.settle()
		b.wantContent(keyS, "")
		b.wantState(keyS, Stale, "create-serverset")
		version := b.sink.entry(keyS).Version
		b.engine.Resync(0)
		b.settle()
		if now := b.sink.entry(keyS).Version; now != version {
			t.Errorf("version %s became %s", version, now)
		}
		b.serverset("search.prod", hosts(1, 3)...)
		b.settle()
		b.wantContent(keyS, lines(hosts(1, 3)))
		b.wantState(keyS, Fresh, "")
	})
}

func TestServersetThatAppearsLater(t *testing.T) {
	inBubble(t, func(b *box) {
		b.serverset("search.prod")
		b.zk.remove(serversetPath("search.prod"))
		b.depend(boxDependency, keyS.name)
		b.start()
		b.settle()
		b.wantReady(true)
		b.wantNone(keyS)
		b.wantState(keyS, Absent, "create-serverset")
		b.serverset("search.prod", hosts(1, 3)...)
		b.settle()
		b.wantContent(keyS, lines(hosts(1, 3)))
	})
}

// The first list is served whatever it is: holding it back protects nothing.
func TestFirstServersetIsEmpty(t *testing.T) {
	inBubble(t, func(b *box) {
		b.serverset("search.prod")
		b.depend(boxDependency, keyS.name)
		b.start()
		b.settle()
		b.wantReady(true)
		b.wantContent(keyS, "")
		b.wantState(keyS, Fresh, "")
	})
}

// A panic while a serverset is published leaves what readers see and what the
// guard holds it against the same.
func TestPanicWhilePublishingServerset(t *testing.T) {
	withServerset(t, func(b *box) {
		b.sink.setRefuse(func(key) error { panic("poison") })
		b.serverset("search.prod", hosts(1, 6)...)
		b.settle()
		if f := b.fileStatus(keyS); len(f.Endpoints) != 10 {
			t.Errorf("served are %v", f.Endpoints)
		}
		b.checkBooks()
		b.sink.setRefuse(nil)
		b.pass(time.Minute)
		b.wantContent(keyS, lines(hosts(1, 6)))
	})
}

// Other options of the subscription count from the next moment on.
func TestServersetOptionsChange(t *testing.T) {
	withServerset(t, func(b *box) {
		b.shrink()
		path := serversetPath("search.prod")
		b.metaconfig(keyS.name, "2.0", "["+serversetEntry(keyS.name, path, " -r 0.1")+"]")
		b.settle()
		b.wantContent(keyS, lines(hosts(1, 2)))
		b.serverset("search.prod", hosts(1, 10)...)
		b.settle()
		b.metaconfig(keyS.name, "3.0", "["+serversetEntry(keyS.name, path, " -r 0.1 --serverset-minimum-size 9")+"]")
		b.settle()
		b.wantContent(keyS, lines(hosts(1, 10)))
		b.serverset("search.prod", hosts(1, 8)...)
		b.settle()
		b.wantHeld(hosts(1, 10), hosts(1, 8))
	})
}

// The metaconfig names another serverset: what readers see shrinks no less
// suspiciously for that.
func TestServersetNamesAnotherZnode(t *testing.T) {
	withServerset(t, func(b *box) {
		other := serversetPath("search.other")
		b.metaconfig(keyS.name, "2.0", "["+serversetEntry(keyS.name, other, "")+"]")
		b.settle()
		b.wantContent(keyS, lines(hosts(1, 10)))
		b.wantState(keyS, Stale, "create-serverset")
		b.zk.set(other, "")
		b.settle()
		b.wantContent(keyS, lines(hosts(1, 10)))
		b.wantHeld(hosts(1, 10), nil)
		b.zk.set(other+"/"+memberOf("10.0.0.77:80"), "")
		b.settle()
		b.wantContent(keyS, lines(hosts(1, 10)))
		b.wantHeld(hosts(1, 10), []string{"10.0.0.77:80"})
		b.pass(5 * time.Minute)
		b.wantContent(keyS, "10.0.0.77:80\n")
		b.wantState(keyS, Fresh, "")
		if e := b.sink.entry(keyS); e.ZKPath != other {
			t.Errorf("the entry is %+v", e)
		}
	})
}

// The znode that the metaconfig names now is older than the one before, which
// makes no server one that lags.
func TestServersetNamesAnOlderZnode(t *testing.T) {
	inBubble(t, func(b *box) {
		other := serversetPath("search.other")
		b.zk.set(other+"/"+memberOf("10.0.0.77:80"), "")
		b.serverset("search.prod", hosts(1, 2)...)
		b.depend(boxDependency, keyS.name)
		b.start()
		b.settle()
		syncs := b.zk.syncs
		b.metaconfig(keyS.name, "2.0", "["+serversetEntry(keyS.name, other, "")+"]")
		b.settle()
		b.wantContent(keyS, "10.0.0.77:80\n")
		if b.zk.syncs != syncs {
			t.Error("the new znode is held against the zxid of the old one")
		}
	})
}

// A list that can't be written is neither served nor forgotten.
func TestSinkRefusesServerset(t *testing.T) {
	withServerset(t, func(b *box) {
		b.sink.setRefuse(diskFull)
		b.serverset("search.prod", hosts(1, 9)...)
		b.settle()
		b.wantState(keyS, Stale, "no space left")
		if f := b.fileStatus(keyS); len(f.Endpoints) != 10 {
			t.Errorf("served are %v", f.Endpoints)
		}
		b.serverset("search.prod", hosts(1, 4)...) // suspicious for ten, not for nine
		b.settle()
		b.wantHeld(hosts(1, 10), hosts(1, 4))
		if err := b.engine.AcceptServerset(keyS.name); err != nil {
			t.Error(err)
		}
		b.pass(time.Minute)
		b.wantContent(keyS, lines(hosts(1, 10)))
		b.wantState(keyS, Held, "no space left")
		b.sink.setRefuse(nil)
		b.pass(10 * time.Second)
		b.wantContent(keyS, lines(hosts(1, 4))) // it is still accepted
		b.wantState(keyS, Fresh, "")
	})
}

// Members that come and go leave the same list: no new version, but a server
// that shows what was between is known to lag.
func TestServersetFromALaggingServer(t *testing.T) {
	withServerset(t, func(b *box) {
		b.serverset("search.prod", hosts(1, 11)...)
		b.zk.lag(true)
		between := b.zk.now()
		b.zk.lag(false)
		b.settle()
		b.serverset("search.prod", hosts(1, 10)...)
		b.settle()
		before := b.sink.served(keyS)
		for _, restart := range []bool{false, true} {
			b.fallBehind(between, restart)
			b.wantContent(keyS, lines(hosts(1, 10)))
			if restart {
				before = lines(hosts(1, 10))
			}
			if got := b.sink.served(keyS); got != before {
				t.Errorf("served were %q after %q", got, before)
			}
			b.zk.lag(false)
		}
	})
}
