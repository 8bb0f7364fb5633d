package sync

import (
	"context"
	"testing"
	"time"
)

func TestColdStart(t *testing.T) {
	inBubble(t, func(b *box) {
		b.config("test.x", "1.0", "one")
		b.config("test.y", "2.0", "two")
		b.serverset("search.prod", hosts(1, 3)...)
		b.depend(boxDependency, configKey("test.x").name, configKey("test.y").name, serversetKey("search.prod").name)
		b.start()
		b.settle()
		b.wantReady(true)
		b.wantContent(configKey("test.x"), "one")
		b.wantContent(configKey("test.y"), "two")
		b.wantContent(serversetKey("search.prod"), lines(hosts(1, 3)))
		b.wantState(configKey("test.x"), Fresh, "")
		b.wantState(serversetKey("search.prod"), Fresh, "")

		b.config("test.x", "3.0", "three")
		b.serverset("search.prod", hosts(2, 4)...)
		b.settle()
		b.wantContent(configKey("test.x"), "three")
		b.wantContent(serversetKey("search.prod"), lines(hosts(2, 4)))

		b.independ(boxDependency, configKey("test.x").name)
		b.settle()
		b.wantNone(configKey("test.x"))
		b.wantLogged(0, "ERROR")
		b.wantLogged(0, "WARN")
	})
}

// Run ends at once, whatever is under way, and nothing happens afterwards.
func TestShutdown(t *testing.T) {
	situations := map[string]func(b *box){
		"idle": func(*box) {},
		"fetches hang": func(b *box) {
			b.s3.setHang(func(string) bool { return true })
			b.manyConfigs(100, "2.0")
		},
		"S3 is away": func(b *box) {
			b.s3.setFault(unavailable)
			b.manyConfigs(100, "2.0")
		},
		"ZooKeeper hangs": func(b *box) {
			b.zk.mu.Lock()
			b.zk.latency = time.Hour
			b.zk.mu.Unlock()
			b.engine.Resync(0)
		},
		"a list is held": func(b *box) {
			b.serverset("search.prod", hosts(1, 1)...)
		},
		"disconnected": func(b *box) { b.zk.disconnect() },
		"the state can't be saved": func(b *box) {
			b.breakJournal()
			b.manyConfigs(100, "2.0")
		},
	}
	for name, situation := range situations {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(b *box) {
				b.manyConfigs(100, "1.0")
				b.serverset("search.prod", hosts(1, 10)...)
				b.depend(boxDependency, keyS.name)
				b.start()
				b.settle()
				b.wantReady(true)
				situation(b)
				b.pass(1500 * time.Millisecond)
				start := time.Now()
				b.end()
				if took := time.Since(start); took != 0 {
					t.Errorf("it took %v", took)
				}
				b.sink.close()
				b.zk.disconnect()
				b.zk.connect(true)
				b.engine.Resync(0)
				b.engine.ZnodeChanged(configRef("many.n1").Path)
				b.pass(time.Hour)
			})
		})
	}
}

// It is stopped before it was ready, before it was connected, before it ran.
func TestEarlyShutdown(t *testing.T) {
	inBubble(t, func(b *box) {
		b.zk.connected = false
		b.config("test.x", "1.0", "x1")
		b.depend(boxDependency, keyX.name)
		b.start()
		b.settle()
		b.restart()
		b.zk.latency = time.Second
		b.zk.connect(true)
		b.pass(1500 * time.Millisecond)
		b.end()
		b.restore()
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if err := b.engine.Run(ctx); err != nil {
			t.Error(err)
		}
	})
}

// When nothing changes nothing is done.
func TestNothingChanges(t *testing.T) {
	inBubble(t, func(b *box) {
		b.manyConfigs(10, "1.0")
		b.serverset("search.prod", hosts(1, 3)...)
		b.depend(boxDependency, keyS.name)
		b.start()
		b.pass(10 * time.Second)
		b.wantReady(true)
		b.zk.readsUnder("/")
		flushes, start := b.sink.flushCount(), time.Now()
		b.pass(26 * time.Minute)
		if reads := b.zk.readsUnder("/"); reads != 0 {
			t.Errorf("%d znodes were read", reads)
		}
		if n := b.s3.attempts(start); n != 0 {
			t.Errorf("%d objects were fetched", n)
		}
		if n := b.sink.flushCount() - flushes; n != 0 {
			t.Errorf("%d flushes", n)
		}
		b.engine.mu.Lock()
		defer b.engine.mu.Unlock()
		for _, l := range b.engine.lanes {
			if len(l.queue.later) > 0 {
				t.Errorf("%d items wait for their time", len(l.queue.later))
			}
		}
	})
}
