package sync

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/kingpinfs/kingpin/store"
)

func version(i int) store.Version { return store.Version(fmt.Sprintf("%d.0", i)) }

func always(d time.Duration) func(string) time.Duration {
	return func(string) time.Duration { return d }
}

// Twenty changes in two seconds end with the last one at once.
func TestBurstEndsWithTheLast(t *testing.T) {
	withConfig(t, func(b *box) {
		b.s3.setDelay(always(5 * time.Millisecond))
		for i := 2; i <= 21; i++ {
			b.config("test.x", version(i), fmt.Sprint("x", i))
			b.pass(100 * time.Millisecond)
		}
		b.wantContent(keyX, "x21")
		b.wantState(keyX, Fresh, "")
	})
}

// When S3 is slow it isn't asked for the versions between.
func TestBurstWithSlowS3(t *testing.T) {
	withConfig(t, func(b *box) {
		b.s3.setDelay(always(1500 * time.Millisecond))
		b.pass(time.Second)
		start := time.Now()
		for i := 2; i <= 21; i++ {
			b.config("test.x", version(i), fmt.Sprint("x", i))
			b.pass(100 * time.Millisecond)
		}
		b.pass(3500 * time.Millisecond) // the end of one that is under way, and one more
		b.wantContent(keyX, "x21")
		if n := b.s3.attempts(start); n > 3 {
			t.Errorf("%d versions of 20 were fetched", n)
		}
		b.wantLogged(0, "WARN") // nothing failed
	})
}

// A download of an old version that hangs holds up no newer one.
func TestHangingFetchOfAnOldVersion(t *testing.T) {
	withConfig(t, func(b *box) {
		ref := configRef("test.x")
		hanging := ref.Key("2.0")
		b.s3.setHang(func(key string) bool { return key == hanging })
		b.config("test.x", "2.0", "x2")
		b.pass(2 * time.Second)
		b.wantContent(keyX, "x1")
		b.wantState(keyX, Stale, "takes long")
		b.config("test.x", "3.0", "x3")
		b.pass(1100 * time.Millisecond)
		b.wantContent(keyX, "x3")
		b.wantState(keyX, Fresh, "")
		b.wantLogged(0, "WARN")
	})
}

// A value that changes faster than it can be downloaded arrives all the same.
func TestValueChangesFasterThanItDownloads(t *testing.T) {
	withConfig(t, func(b *box) {
		b.s3.setDelay(always(3 * time.Second))
		for i := 2; i <= 40; i++ {
			b.config("test.x", version(i), fmt.Sprint("x", i))
			b.pass(500 * time.Millisecond)
		}
		got := strings.Fields(b.sink.served(keyX))
		if len(got) < 4 {
			t.Errorf("in 20 s arrived %v", got)
		}
		b.pass(8 * time.Second)
		b.wantContent(keyX, "x40")
	})
}

// The same with downloads that take longer than the first attempt may.
func TestValueChangesFasterThanAttemptsMayTake(t *testing.T) {
	withConfig(t, func(b *box) {
		b.s3.setDelay(always(12 * time.Second))
		for i := 2; i <= 200; i++ {
			b.config("test.x", version(i), fmt.Sprint("x", i))
			b.pass(500 * time.Millisecond)
		}
		if got := strings.Fields(b.sink.served(keyX)); len(got) < 2 {
			t.Errorf("in 100 s arrived %v", got)
		}
		b.pass(time.Minute)
		b.wantContent(keyX, "x200")
	})
}

// A connection that has died is waited for only so long.
func TestHangingFetchIsTriedAgain(t *testing.T) {
	withConfig(t, func(b *box) {
		b.s3.setHang(func(string) bool { return true })
		b.config("test.x", "2.0", "x2")
		b.pass(time.Second)
		b.s3.setHang(nil)
		b.pass(5 * time.Second)
		b.wantContent(keyX, "x2")
	})
}

// One broken config holds up no other, and neither do many.
func TestBrokenConfigsHoldUpNoOther(t *testing.T) {
	inBubble(t, func(b *box) {
		b.cfg.Workers = 2
		const broken = 6
		for i := range broken {
			name := fmt.Sprintf("broken.n%d", i)
			b.config(name, "1.0", "old")
			b.depend(boxDependency, configKey(name).name)
		}
		b.config("test.x", "1.0", "x1")
		b.serverset("search.prod", hosts(1, 3)...)
		b.depend(boxDependency, keyX.name, keyS.name)
		b.start()
		b.settle()
		b.wantReady(true)
		b.s3.setHang(func(key string) bool { return strings.Contains(key, "broken") })
		for i := range broken {
			b.config(fmt.Sprintf("broken.n%d", i), "2.0", "new")
			b.settle()
		}
		b.serverset("search.prod", hosts(2, 4)...)
		b.settle()
		b.wantContent(keyS, lines(hosts(2, 4))) // serversets don't need S3 at all
		b.config("test.x", "2.0", "x2")
		b.pass(5 * time.Second)
		b.wantContent(keyX, "x2")
		for i := range broken {
			b.wantContent(configKey(fmt.Sprintf("broken.n%d", i)), "old")
		}
		b.s3.setHang(nil)
		b.pass(time.Minute)
		for i := range broken {
			b.wantContent(configKey(fmt.Sprintf("broken.n%d", i)), "new")
		}
	})
}

// manyConfigs makes n configs at a version, and everything that leads to them.
func (b *box) manyConfigs(n int, v store.Version) {
	for i := range n {
		name := fmt.Sprintf("many.n%d", i)
		b.config(name, v, "many "+string(v))
		if member := configKey(name).name; !b.exists("/metaconfig/dependency/" + boxDependency + "/" + member) {
			b.depend(boxDependency, member)
		}
	}
}

func (b *box) wantMany(n int, v store.Version) {
	b.t.Helper()
	missing := 0
	for i := range n {
		if got, _ := b.sink.content(configKey(fmt.Sprintf("many.n%d", i))); got != "many "+string(v) {
			missing++
		}
	}
	if missing > 0 {
		b.t.Errorf("%d of %d files aren't at version %s", missing, n, v)
	}
}

// While S3 is away a box asks it no more than twenty times a second, however
// many files wait for it, and all are there soon after it is back. It says so
// in a few lines.
func TestS3Away(t *testing.T) {
	faults := map[string]func(b *box){
		"refuses": func(b *box) { b.s3.setFault(unavailable) },
		"hangs":   func(b *box) { b.s3.setHang(func(string) bool { return true }) },
	}
	for name, breakIt := range faults {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(b *box) {
				const n = 1000
				b.manyConfigs(n, "1.0")
				b.s3.setDelay(always(3 * time.Millisecond))
				b.start()
				b.pass(10 * time.Second)
				b.wantReady(true)
				b.wantMany(n, "1.0")
				breakIt(b)
				b.manyConfigs(n, "2.0")
				b.pass(10 * time.Second) // each of those that were asked for at once
				b.wantMany(n, "1.0")
				for range 20 {
					start := time.Now()
					b.pass(10 * time.Second)
					if got := b.s3.attempts(start); got > 200 || got == 0 {
						t.Errorf("%d attempts in ten seconds", got)
					}
				}
				b.engine.Resync(0) // puts off every retry at the same moment
				b.pass(5 * time.Second)
				b.s3.setFault(nil)
				b.s3.setHang(nil)
				b.pass(1500 * time.Millisecond)
				b.wantMany(n, "2.0")
				if lines := b.logs.matching("WARN"); len(lines) > 20 {
					t.Errorf("%d warnings", len(lines))
				}
				if lines := b.logs.matching("INFO"); len(lines) > 150 {
					t.Errorf("%d lines of information, the last %v", len(lines), lines[len(lines)-3:])
				}
				b.wantLogged(1, "INFO", "works again")
			})
		})
	}
}

// A cold start with S3 away ends in being ready, and in everything served when
// S3 is back.
func TestColdStartWithoutS3(t *testing.T) {
	faults := map[string]func(b *box){
		"refuses": func(b *box) { b.s3.setFault(unavailable) },
		"hangs":   func(b *box) { b.s3.setHang(func(string) bool { return true }) },
	}
	for name, breakIt := range faults {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(b *box) {
				const n = 500
				b.manyConfigs(n, "1.0")
				breakIt(b)
				b.start()
				b.settle()
				b.wantReady(false)
				b.pass(15 * time.Second)
				b.wantReady(true)
				if b.sink.count() != 0 {
					t.Error("something is served")
				}
				b.pass(time.Minute)
				b.s3.setFault(nil)
				b.s3.setHang(nil)
				b.pass(3 * time.Second)
				b.wantMany(n, "1.0")
				b.end()
				if lines := b.logs.matching(""); len(lines) > 150 {
					t.Errorf("%d lines logged, the last %v", len(lines), lines[len(lines)-3:])
				}
			})
		})
	}
}

// Wrong credentials, and a bucket that doesn't exist, heal when somebody mends
// them.
func TestS3RefusesEverything(t *testing.T) {
	for _, kind := range []store.Kind{store.Denied, store.NotFound} {
		t.Run(kind.Error(), func(t *testing.T) {
			inBubble(t, func(b *box) {
				const n = 200
				b.manyConfigs(n, "1.0")
				b.s3.setFault(func(key string) error {
					return &store.Error{Op: "reading object", Subject: key, Kind: kind, Err: errors.New("no")}
				})
				b.start()
				b.pass(time.Minute)
				b.wantReady(true)
				start := time.Now()
				b.pass(10 * time.Second)
				if got := b.s3.attempts(start); got > 200 || got == 0 {
					t.Errorf("%d attempts in ten seconds", got)
				}
				b.s3.setFault(nil)
				b.pass(3 * time.Second)
				b.wantMany(n, "1.0")
			})
		})
	}
}

// A cold start of many files says little, and fetches each object once.
func TestColdStartIsQuiet(t *testing.T) {
	inBubble(t, func(b *box) {
		const n = 300
		b.manyConfigs(n, "1.0")
		b.s3.setDelay(always(5 * time.Millisecond))
		b.start()
		b.pass(10 * time.Second)
		b.wantReady(true)
		b.wantMany(n, "1.0")
		if lines := b.logs.matching(""); len(lines) > 3 {
			t.Errorf("%d lines logged: %v", len(lines), lines)
		}
		if n := b.engine.Stats().Fetches.Load(); n != 600 {
			t.Errorf("%d objects fetched, want 600", n)
		}
		if b.s3.maxBusy > 32 {
			t.Errorf("%d downloads at once", b.s3.maxBusy)
		}
		// The roots may be due both for the start and for the connection.
		if reads := b.engine.Stats().Reads.Load(); reads < 602 || reads > 604 {
			t.Errorf("%d znodes read, want 602 to 604", reads)
		}
	})
}

// One object that is never there costs the others nothing and is asked for now
// and then.
func TestMissingObjectAmongOthers(t *testing.T) {
	withConfig(t, func(b *box) {
		b.config("test.y", "1.0", "y1")
		b.depend(boxDependency, keyY.name)
		b.settle()
		b.zk.set(configRef("test.y").Path, "2.0")
		b.pass(5 * time.Minute)
		before := b.s3.count(configRef("test.y"), "2.0")
		for i := 2; i < 200; i++ {
			b.config("test.x", version(i), fmt.Sprint("x", i))
			b.pass(50 * time.Millisecond)
			b.wantContent(keyX, fmt.Sprint("x", i))
		}
		if n := b.s3.count(configRef("test.y"), "2.0") - before; n > 3 {
			t.Errorf("the missing object was asked for %d times in ten seconds", n)
		}
		b.wantContent(keyY, "y1")
	})
}

// Downloads get more time after each failure, but not all of them while S3 is
// away.
func TestFetchTimeout(t *testing.T) {
	e := New(Config{Workers: 4})
	it := newItem(keyX)
	want := []time.Duration{5 * time.Second, 10 * time.Second, 20 * time.Second, 30 * time.Second, 30 * time.Second}
	for failures, want := range want {
		it.failures = failures
		if got := e.fetchTimeout(it); got != want {
			t.Errorf("after %d failures %v, want %v", failures, got, want)
		}
	}
	e.fetches[&fetching{timeout: 30 * time.Second}] = struct{}{}
	e.fetches[&fetching{timeout: 10 * time.Second}] = struct{}{}
	if got := e.fetchTimeout(it); got != 30*time.Second {
		t.Errorf("beside two long ones %v", got)
	}
	e.stages[StageS3].silent = awayAfter
	if got := e.fetchTimeout(it); got != firstFetchTimeout {
		t.Errorf("beside two long ones, with S3 away, %v", got)
	}
}

func TestRetryIn(t *testing.T) {
	away := trouble{StageS3, store.Unavailable}
	missing := trouble{StageS3, store.NotFound}
	for failures := 1; failures < 100; failures++ {
		if wait := retryIn(failures, away, 1); wait > quickRetry || wait < firstRetry/2 {
			t.Fatalf("after %d failures: %v", failures, wait)
		}
		if wait := retryIn(failures, missing, 1); wait > patientRetry || failures > 12 && wait < patientRetry/2 {
			t.Fatalf("missing, after %d failures: %v", failures, wait)
		}
	}
	sum := time.Duration(0)
	for range 10000 {
		sum += retryIn(50, away, 10000)
	}
	if perSecond := 10000 / (sum.Seconds() / 10000); perSecond > 20 || perSecond < 10 {
		t.Errorf("of 10000 items %.1f try again each second", perSecond)
	}
}
