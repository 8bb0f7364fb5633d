package sync

import (
	"bytes"
	"errors"
	iofs "io/fs"
	"testing"
	"time"

	"github.com/kingpinfs/kingpin/metaconfig"
	"github.com/kingpinfs/kingpin/store"
)

// withState runs a test of a box that has served a config and a serverset and
// has been stopped, with both backends down.
func withState(t *testing.T, test func(b *box)) {
	t.Helper()
	inBubble(t, func(b *box) {
		b.config("test.x", "1448012345.67", "x1")
		b.serverset("search.prod", hosts(1, 3)...)
		b.depend(boxDependency, "sub.dep")
		b.depend("sub.dep", keyX.name, keyS.name)
		b.start()
		b.settle()
		b.wantReady(true)
		b.pass(time.Minute)
		b.zk.expire()
		b.end()
		b.s3.setFault(unavailable)
		b.pass(time.Hour)
		test(b)
	})
}

func TestRestoreServesWithBothBackendsDown(t *testing.T) {
	withState(t, func(b *box) {
		before := b.sink.entry(keyX)
		b.start()
		b.wantContent(keyX, "x1")
		b.wantContent(keyS, lines(hosts(1, 3)))
		b.pass(24 * time.Hour)
		b.wantReady(false)
		b.wantContent(keyX, "x1")
		b.wantState(keyX, Stale, "can't be reached")
		b.wantState(keyS, Stale, "can't be reached")
		if e := b.sink.entry(keyX); !e.ModTime.Equal(before.ModTime) || e.Version != before.Version || e.ZKPath != before.ZKPath {
			t.Errorf("%+v was restored as %+v", before, e)
		}
		if f := b.fileStatus(keyS); len(f.Endpoints) != 3 || f.Metaconfig != keyS.name || !f.SyncedAt.IsZero() || f.ChangedAt.IsZero() {
			t.Errorf("the status is %+v", f)
		}
		published := b.sink.publishCount()

		// ZooKeeper alone comes back: nothing needs S3.
		b.zk.connect(true)
		b.settle()
		b.wantReady(true)
		b.wantState(keyX, Fresh, "")
		b.wantState(keyS, Fresh, "")
		if b.sink.publishCount() != published {
			t.Error("something was published though nothing changed")
		}
	})
}

// What changed while the box was down arrives, after what needs ZooKeeper
// alone.
func TestRestoreThenReconcile(t *testing.T) {
	withState(t, func(b *box) {
		b.config("test.x", "1448012400.0", "x2")
		b.serverset("search.prod", hosts(2, 5)...)
		b.start()
		b.zk.connect(true)
		b.pass(10 * time.Second)
		b.wantReady(true)
		b.wantContent(keyX, "x1")
		b.wantState(keyX, Stale, "503")
		b.wantContent(keyS, lines(hosts(2, 5)))
		b.s3.setFault(nil)
		b.pass(6 * time.Second)
		b.wantContent(keyX, "x2")
		b.wantState(keyX, Fresh, "")
	})
}

// A file that nothing asks for any more goes away, but not before that is
// certain.
func TestUnsubscribedWhileDown(t *testing.T) {
	withState(t, func(b *box) {
		b.independ("sub.dep", keyX.name)
		b.start()
		b.pass(time.Hour)
		b.wantContent(keyX, "x1")
		b.zk.latency = time.Second
		b.zk.connect(true)
		b.pass(500 * time.Millisecond)
		b.wantContent(keyX, "x1") // the dependency is being read
		b.pass(time.Minute)
		b.wantReady(true)
		b.wantNone(keyX)
		b.wantContent(keyS, lines(hosts(1, 3)))
		if s := b.engine.Snapshot(); len(s.Configs) != 0 || len(s.Metaconfigs) != 1 {
			t.Errorf("left are %v and %v", s.Configs, s.Metaconfigs)
		}
		b.restart()
		if b.sink.count() != 1 {
			t.Errorf("%d files are restored", b.sink.count())
		}
	})
}

// The box is told to follow another dependency. What the old one asked for goes
// away, unless the new one doesn't exist: somebody may have mistyped it.
func TestOtherDependencyAfterRestart(t *testing.T) {
	withState(t, func(b *box) {
		b.s3.setFault(nil)
		b.config("test.y", "1.0", "y1")
		b.cfg.Dependencies = []string{"other.dep"}
		b.start()
		b.zk.connect(true)
		b.pass(time.Hour)
		b.wantReady(true)
		b.wantContent(keyX, "x1")
		b.wantContent(keyS, lines(hosts(1, 3)))
		b.wantLogged(1, "WARN", "other.dep", "not found")
		b.depend("other.dep", keyY.name, keyS.name)
		b.pass(time.Second)
		b.wantContent(keyY, "y1")
		b.wantNone(keyX)
		b.wantContent(keyS, lines(hosts(1, 3)))
		if got := b.sink.served(keyS); got != lines(hosts(1, 3)) {
			t.Errorf("served were %q", got)
		}
	})
}

// An end that was torn off by a crash, and damage in between, cost no more than
// what they hit.
func TestDamagedJournal(t *testing.T) {
	withState(t, func(b *box) {
		journal := b.readJournal()
		b.writeJournal(append(bytes.Clone(journal), `5f3c21aa {"kind":"config","name":"torn`...))
		b.start()
		b.wantContent(keyX, "x1")
		b.wantContent(keyS, lines(hosts(1, 3)))
		b.wantLogged(1, "WARN parts of the saved state are damaged", "damaged_records=1")
		b.zk.connect(true)
		b.s3.setFault(nil)
		b.config("test.x", "1448012399.0", "x2")
		b.pass(10 * time.Second)
		b.wantContent(keyX, "x2")
		// What came after the torn end is found again.
		b.zk.expire()
		b.restart()
		b.wantContent(keyX, "x2")
		b.end()
	})
}

// Whatever record is lost, the file stays if it can, and is asked for again
// when the backends are back. In no case is it removed because of the loss.
func TestAnyRecordIsLost(t *testing.T) {
	withState(t, func(b *box) {
		journal := b.readJournal()
		all := bytes.SplitAfter(journal, []byte("\n"))
		all = all[:len(all)-1]
		disk := map[key][]byte{}
		for k, content := range b.sink.disk {
			disk[k] = content
		}
		for lost := range all {
			record, ok := decodeRecord(all[lost])
			if !ok {
				t.Fatalf("record %d isn't one: %q", lost, all[lost])
			}
			damaged := bytes.Clone(journal)
			at := bytes.Index(damaged, all[lost])
			damaged[at+len(all[lost])/2] ^= 1
			b.writeJournal(damaged)
			clear(b.sink.disk)
			for k, content := range disk {
				b.sink.disk[k] = content
			}
			b.s3.setFault(unavailable)
			b.start()
			if record.File == nil && b.sink.count() != 2 {
				t.Errorf("without the %s %q %d files are served", record.Kind, record.Name, b.sink.count())
			}
			count := b.sink.count()
			b.zk.connect(true)
			b.pass(5 * time.Minute) // with S3 away
			b.wantReady(true)
			if b.sink.count() < count {
				t.Errorf("without the %s %q a file was removed", record.Kind, record.Name)
			}
			b.s3.setFault(nil)
			b.pass(time.Minute)
			b.wantContent(keyX, "x1")
			b.wantContent(keyS, lines(hosts(1, 3)))
			b.wantState(keyX, Fresh, "")
			b.zk.expire()
			b.end()
		}
	})
}

// All records are lost but those of the files: none is taken away before it is
// known what asks for it.
func TestAllOtherRecordsAreLost(t *testing.T) {
	withState(t, func(b *box) {
		var kept []byte
		for line := range bytes.Lines(b.readJournal()) {
			if r, ok := decodeRecord(line); ok && r.File != nil {
				kept = append(kept, line...)
			}
		}
		b.writeJournal(kept)
		b.s3.setFault(nil)
		b.s3.setDelay(always(100 * time.Millisecond))
		b.start()
		b.zk.latency = 100 * time.Millisecond
		b.zk.connect(true)
		b.pass(time.Minute)
		b.wantReady(true)
		b.wantState(keyX, Fresh, "")
		b.wantState(keyS, Fresh, "")
		if x, s := b.sink.served(keyX), b.sink.served(keyS); x != "x1" || s != lines(hosts(1, 3)) {
			t.Errorf("served were %q and %q", x, s)
		}
	})
}

// The same for records of files that are unsubscribed meanwhile: they go away
// in the end.
func TestLostMetaconfigRecordOfAnUnsubscribedFile(t *testing.T) {
	withState(t, func(b *box) {
		var kept []byte
		for line := range bytes.Lines(b.readJournal()) {
			if r, ok := decodeRecord(line); ok && r.Kind != recordMetaconfig {
				kept = append(kept, line...)
			}
		}
		b.writeJournal(kept)
		b.independ("sub.dep", keyX.name)
		b.start()
		b.wantContent(keyX, "x1")
		b.zk.connect(true)
		b.pass(time.Minute)
		b.wantReady(true)
		b.wantNone(keyX)                        // the dependency was read
		b.wantContent(keyS, lines(hosts(1, 3))) // its metaconfig couldn't be
		b.s3.setFault(nil)
		b.metaconfig(keyS.name, "2.0", "[]")
		b.pass(time.Minute)
		b.wantNone(keyS)
	})
}

// A dependency whose members can't be read may still ask for what it asked for
// before the restart.
func TestUnreadableDependencyKeepsRestoredFiles(t *testing.T) {
	withState(t, func(b *box) {
		var kept []byte
		for line := range bytes.Lines(b.readJournal()) {
			if r, ok := decodeRecord(line); ok && r.Kind != recordDependency {
				kept = append(kept, line...)
			}
		}
		b.writeJournal(kept)
		path := metaconfig.DependencyPath("sub.dep")
		b.zk.denied[path] = true
		b.start()
		b.zk.connect(true)
		b.pass(10 * time.Minute)
		b.wantReady(true)
		b.wantContent(keyX, "x1")
		b.wantContent(keyS, lines(hosts(1, 3)))
		b.independ("sub.dep", keyX.name)
		b.zk.mu.Lock()
		delete(b.zk.denied, path)
		b.zk.mu.Unlock()
		b.pass(time.Minute)
		b.wantNone(keyX)
		b.wantContent(keyS, lines(hosts(1, 3)))
		b.wantState(keyS, Fresh, "")
	})
}

// The box crashed between the record and the file, or the power failed and took
// back what was written last.
func TestContentOfAnEarlierRecord(t *testing.T) {
	withState(t, func(b *box) {
		old := b.sink.entry(keyX)
		b.s3.setFault(nil)
		b.start()
		b.zk.connect(true)
		for _, v := range []string{"2", "3", "4"} {
			b.config("test.x", store.Version("144802000"+v), "x"+v)
			b.pass(10 * time.Second)
		}
		b.wantContent(keyX, "x4")
		b.zk.expire()
		b.end()
		b.s3.setFault(unavailable)
		b.sink.disk[keyX] = []byte("x1")
		b.start()
		b.wantContent(keyX, "x1")
		if e := b.sink.entry(keyX); e.Version != old.Version || !e.ModTime.Equal(old.ModTime) {
			t.Errorf("%+v was restored as %+v", old, e)
		}
		b.end()
		b.sink.disk[keyX] = []byte("somebody else's")
		b.start()
		b.wantNone(keyX)
		b.wantLogged(1, "WARN a saved file isn't what was saved", keyX.name)
		b.s3.setFault(nil)
		b.zk.connect(true)
		b.pass(10 * time.Second)
		b.wantContent(keyX, "x4")
	})
}

func TestMissingAndUnreadableFile(t *testing.T) {
	withState(t, func(b *box) {
		delete(b.sink.disk, keyX)
		b.s3.setFault(nil)
		b.start()
		b.wantNone(keyX)
		b.wantLogged(0, "WARN")
		b.zk.connect(true)
		b.settle()
		b.wantContent(keyX, "x1")
	})
}

func TestRunWithoutRestore(t *testing.T) {
	b := newBox(t)
	b.cfg.Sink = b.sink
	if err := New(b.cfg).Run(t.Context()); err == nil {
		t.Error("an engine ran without its past")
	}
}

func TestRestoreReportsUnreadableFiles(t *testing.T) {
	withState(t, func(b *box) {
		b.sink = newFakeSink(t, b.sink.disk)
		b.cfg.Sink = unreadableSink{b.sink}
		b.engine = New(b.cfg)
		b.engine.Restore()
		b.wantLogged(2, "WARN a saved file can't be read", "input/output error")
		if err := b.engine.journal.Close(); err != nil {
			t.Error(err)
		}
	})
}

type unreadableSink struct{ *fakeSink }

// Read implements Sink.
func (unreadableSink) Read(metaconfig.Type, string) ([]byte, time.Time, error) {
	return nil, time.Time{}, &iofs.PathError{Op: "read", Path: "x", Err: errors.New("input/output error")}
}
