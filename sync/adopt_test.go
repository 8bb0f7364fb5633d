package sync

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kingpinfs/kingpin/metaconfig"
)

// pythons is a serverset's file as the Python monitor wrote it: unsorted, and
// without the last newline.
func pythons(endpoints []string) string {
	reversed := slices.Clone(endpoints)
	slices.Reverse(reversed)
	return strings.Join(reversed, "\n")
}

var keyForeign = key{configItem, "README"}

// withPython runs a test of a box on which a Python monitor has run: it left a
// config and a serverset, and somebody put a file beside the configs. Both
// backends are down.
func withPython(t *testing.T, test func(b *box)) {
	t.Helper()
	inBubble(t, func(b *box) {
		b.config("test.x", "1448012345.67", "x1")
		b.serverset("search.prod", hosts(1, 10)...)
		b.depend(boxDependency, keyX.name, keyS.name)
		b.sink.disk[keyX] = []byte("x1")
		b.sink.disk[keyS] = []byte(pythons(hosts(1, 10)))
		b.sink.disk[keyForeign] = []byte("hands off")
		b.zk.connected = false
		b.s3.setFault(unavailable)
		test(b)
	})
}

// reach lets both backends come back.
func (b *box) reach() {
	b.s3.setFault(nil)
	b.zk.connect(true)
	b.pass(time.Minute)
}

// wantFound checks that a file is served as it was found.
func (b *box) wantFound(k key, content string) {
	b.t.Helper()
	b.wantContent(k, content)
	if e := b.sink.entry(k); !e.ModTime.Equal(diskTime) || e.Version != "" || e.ZKPath != "" {
		b.t.Errorf("%q is served as %+v, want the time %v and no version", k.name, e, diskTime)
	}
	if state := b.sink.status(k).State; state != Stale {
		b.t.Errorf("%q is %s", k.name, state)
	}
}

func TestFirstStartAdopts(t *testing.T) {
	withPython(t, func(b *box) {
		for range 3 { // whichever start it is
			b.start()
			for k, content := range map[key]string{keyX: "x1", keyS: pythons(hosts(1, 10)), keyForeign: "hands off"} {
				b.wantContent(k, content)
				if e := b.sink.entry(k); !e.ModTime.Equal(diskTime) || e.Version != "" || e.ZKPath != "" {
					t.Errorf("%q is served as %+v", k.name, e)
				}
				b.wantState(k, Stale, "can't be reached")
			}
			b.pass(time.Hour)
			b.wantReady(false)
			if b.sink.count() != 3 || b.sink.publishCount() != 0 {
				t.Errorf("%d files are served, %d were written", b.sink.count(), b.sink.publishCount())
			}
			b.end()
		}
	})
}

// What is as the fleet has it gets its version, and is neither written again nor
// given another time.
func TestAdoptedIsConfirmed(t *testing.T) {
	withPython(t, func(b *box) {
		b.sink.disk[keyS] = []byte(lines(hosts(1, 10)))
		b.start()
		b.reach()
		b.wantReady(true)
		for _, k := range []key{keyX, keyS} {
			b.wantState(k, Fresh, "")
			if e := b.sink.entry(k); !e.ModTime.Equal(diskTime) || e.Version == "" || e.ZKPath == "" {
				t.Errorf("%q is served as %+v", k.name, e)
			}
		}
		if n := b.sink.publishCount(); n != 0 {
			t.Errorf("%d files were written", n)
		}
		// It is an ordinary file from now on.
		b.zk.expire()
		b.restart()
		b.wantContent(keyX, "x1")
		if e := b.sink.entry(keyX); !e.ModTime.Equal(diskTime) || e.Version != "1448012345.67" {
			t.Errorf("after a restart it is %+v", e)
		}
		b.config("test.x", "1448012346.67", "x2")
		b.zk.connect(true)
		b.pass(time.Minute)
		b.wantContent(keyX, "x2")
		if e := b.sink.entry(keyX); e.ModTime.Equal(diskTime) {
			t.Error("the content has changed and its time hasn't")
		}
	})
}

// Endpoints in another order, and without the last newline, are no shrink. Their
// file is brought into the fleet's form once, and then has another time, as it
// has other bytes.
func TestAdoptedServersetGetsItsFormOnce(t *testing.T) {
	withPython(t, func(b *box) {
		b.start()
		b.reach()
		b.wantContent(keyS, lines(hosts(1, 10)))
		b.wantState(keyS, Fresh, "")
		if states := b.sink.statesOf(keyS); slices.Contains(states, Held) {
			t.Errorf("its states were %v", states)
		}
		if e := b.sink.entry(keyS); e.ModTime.Equal(diskTime) {
			t.Error("its bytes have changed and its time hasn't")
		}
		b.pass(2 * time.Hour)
		if n := b.sink.publishCount(); n != 1 {
			t.Errorf("files were written %d times", n)
		}
	})
}

// What most endpoints have gone from since the Python monitor ended is as
// suspicious as any shrink.
func TestShrinkOfAnAdoptedServerset(t *testing.T) {
	withPython(t, func(b *box) {
		b.serverset("search.prod", hosts(1, 2)...)
		b.start()
		b.reach()
		b.wantReady(true)
		b.wantContent(keyS, pythons(hosts(1, 10)))
		b.wantState(keyS, Held, "2 of 10 endpoints are left")
		b.zk.expire()
		b.restart()
		b.wantContent(keyS, pythons(hosts(1, 10)))
		b.zk.connect(true)
		b.pass(time.Minute)
		b.wantState(keyS, Held, "2 of 10 endpoints are left")
		b.serverset("search.prod", hosts(1, 9)...)
		b.pass(time.Second)
		b.wantContent(keyS, lines(hosts(1, 9)))
		b.wantState(keyS, Fresh, "")
	})
}

// Nothing is taken from an adopted file's place because its znode isn't there.
func TestZnodeOfAnAdoptedFileIsMissing(t *testing.T) {
	withPython(t, func(b *box) {
		b.zk.remove(configRef("test.x").Path)
		b.zk.remove("/discovery/search/prod")
		b.start()
		b.reach()
		b.wantReady(true)
		b.wantFound(keyX, "x1")
		b.wantFound(keyS, pythons(hosts(1, 10)))
		b.wantState(keyX, Stale, "create-config")
	})
}

// A server that lags behind may know an older version than the one that was
// found, whose version nobody knows.
func TestAdoptedNeverGoesBack(t *testing.T) {
	withPython(t, func(b *box) {
		at := b.zk.zxid
		b.config("test.x", "1448012400.0", "x2")
		b.serverset("search.prod", hosts(1, 12)...)
		b.sink.disk[keyX] = []byte("x2")
		b.sink.disk[keyS] = []byte(pythons(hosts(1, 12)))
		b.start()
		b.zk.lagAt(at)
		b.s3.setFault(nil)
		b.zk.connect(true)
		b.pass(time.Minute)
		if got := b.sink.served(keyX); strings.Contains(got, "x1") {
			t.Errorf("served were %q", got)
		}
		if got := b.sink.served(keyS); strings.Contains(got, lines(hosts(1, 10))+" ") {
			t.Errorf("served were %q", got)
		}
		b.wantState(keyX, Fresh, "")
		b.wantState(keyS, Fresh, "")
		// Each file's worker may be the first to ask.
		if b.zk.syncs != 1 && b.zk.syncs != 2 {
			t.Errorf("the server was made to catch up %d times", b.zk.syncs)
		}
	})
}

// What the fleet doesn't ask for isn't ours, and stays where it lies. The box is
// ready when that is settled.
func TestForeignFilesAreDisowned(t *testing.T) {
	withPython(t, func(b *box) {
		b.start()
		b.zk.latency = time.Second
		b.s3.setFault(nil)
		b.zk.connect(true)
		b.settle()
		b.wantFound(keyForeign, "hands off")
		<-b.engine.Ready()
		b.wantNone(keyForeign)
		b.settle()
		b.wantLogged(1, "WARN nothing of the fleet asks for files", keyForeign.name, "count=1")
		b.wantReady(true)
		if got := string(b.sink.disk[keyForeign]); got != "hands off" {
			t.Errorf("its file holds %q", got)
		}
		if s := b.engine.Snapshot(); len(s.Configs) != 1 {
			t.Errorf("the snapshot has %+v", s.Configs)
		}
		b.pass(time.Minute)
		b.zk.expire()
		b.restart()
		b.wantNone(keyForeign)
		b.wantContent(keyX, "x1")
	})
}

// What can't be read may ask for anything.
func TestAdoptedStaysWhileSomethingCanNotBeRead(t *testing.T) {
	withPython(t, func(b *box) {
		b.metaconfig(keyY.name, "1.0", "not JSON")
		b.depend(boxDependency, keyY.name)
		b.start()
		b.reach()
		b.wantReady(true)
		b.wantFound(keyForeign, "hands off")
		b.metaconfig(keyY.name, "2.0", "["+configEntry(keyForeign.name, configRef("test.y").Path, "")+"]")
		b.config("test.y", "1.0", "now ours")
		b.pass(time.Minute)
		b.wantContent(keyForeign, "now ours")
		b.wantState(keyForeign, Fresh, "")
		// It is removed like any other file then.
		b.metaconfig(keyY.name, "3.0", "[]")
		b.pass(time.Minute)
		b.wantNone(keyForeign)
		if content, ok := b.sink.disk[keyForeign]; ok {
			t.Errorf("its file holds %q", content)
		}
	})
}

// Something that can't be read comes up in the very moment in which what is
// foreign is about to be disowned: the box is ready all the same.
func TestReadyWhileNothingCanBeDisowned(t *testing.T) {
	withPython(t, func(b *box) {
		b.start()
		b.engine.mu.Lock()
		b.engine.leaving[keyForeign] = struct{}{}
		b.engine.loaded = true
		it := b.engine.items[keyForeign]
		b.engine.mu.Unlock()
		if err := b.engine.retire(it); err == nil {
			t.Error("it was disowned before anything was read")
		}
		b.wantReady(true)
		b.wantFound(keyForeign, "hands off")
	})
}

// Endpoints that run together are split, what is no endpoint is left out, and a
// file without any endpoint is no serverset's.
func TestAdoptedServersetIsMended(t *testing.T) {
	withPython(t, func(b *box) {
		other := key{serversetItem, "notes.txt"}
		b.sink.disk[keyS] = []byte("10.0.0.9:9000\n10.0.0.1:900010.0.0.2:9001\nnonsense\n")
		b.sink.disk[other] = []byte("no endpoint\nat all\n")
		b.start()
		mended := "10.0.0.1:9000\n10.0.0.2:9001\n10.0.0.9:9000\n"
		b.wantContent(keyS, mended)
		b.wantState(keyS, Stale, "can't be reached")
		if e := b.sink.entry(keyS); e.ModTime.Equal(diskTime) {
			t.Error("its bytes have changed and its time hasn't")
		}
		if got := string(b.sink.disk[keyS]); got != mended {
			t.Errorf("its file holds %q", got)
		}
		b.wantNone(other)
		b.wantLogged(1, "WARN the file of a serverset", keyS.name, "left_out=1")
		if n := b.engine.Stats().InvalidMembers.Load(); n != 1 {
			t.Errorf("%d members were counted as invalid", n)
		}
		b.restart()
		b.wantContent(keyS, mended)
	})
}

// Of a damaged journal no more is lost than its damaged lines say; what they
// spoke of is served as it was found, but for what may be torn itself.
func TestAdoptsBesideADamagedJournal(t *testing.T) {
	damage := func(journal []byte, name string) []byte {
		var damaged, rest []byte
		for line := range bytes.Lines(journal) {
			if r, ok := decodeRecord(line); ok && r.File != nil && r.Name == name {
				damaged = append(append(damaged, line[0]^1), line[1:]...)
			} else {
				rest = append(rest, line...)
			}
		}
		return append(damaged, rest...)
	}
	for _, test := range []struct {
		name    string
		journal func(journal []byte) []byte
		disk    string
		want    string // of keyX; "": nothing
	}{
		{"a hole", func(j []byte) []byte { return damage(j, keyX.name) }, "x1", "x1"},
		{"a hole, and the file is empty", func(j []byte) []byte { return damage(j, keyX.name) }, "", ""},
		{"a hole, and the file is zeros", func(j []byte) []byte { return damage(j, keyX.name) }, "\x00\x00", ""},
		{"a hole elsewhere, and the file isn't what was saved", func(j []byte) []byte { return damage(j, keyS.name) }, "x?", ""},
		{"nothing is left", func(j []byte) []byte { return bytes.Repeat([]byte("\x00"), len(j)) }, "x1", "x1"},
		{"nothing is left, and the file is empty", func(j []byte) []byte { return j[:10] }, "", ""},
		{"it is empty", func([]byte) []byte { return nil }, "x1", "x1"},
		{"its end is torn", func(j []byte) []byte {
			var kept, torn []byte
			for line := range bytes.Lines(j) {
				if r, ok := decodeRecord(line); ok && r.Kind == recordConfig {
					torn = line[:len(line)/2]
				} else {
					kept = append(kept, line...)
				}
			}
			return append(kept, torn...)
		}, "x1", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			withState(t, func(b *box) {
				b.writeJournal(test.journal(b.readJournal()))
				b.sink.disk[keyX] = []byte(test.disk)
				for range 2 {
					b.start()
					b.pass(time.Minute)
					if test.want == "" {
						b.wantNone(keyX)
					} else {
						b.wantContent(keyX, test.want)
					}
					b.wantContent(keyS, lines(hosts(1, 3)))
					b.end()
				}
				b.start()
				b.reach()
				b.wantContent(keyX, "x1")
				b.wantState(keyX, Fresh, "")
				b.wantState(keyS, Fresh, "")
				if p := parseJournal(b.readJournal()); p.damaged != 0 {
					t.Errorf("the journal still has %d damaged lines", p.damaged)
				}
			})
		})
	}
}

// A mount that has outlived its process serves what the journal, on a disk that
// was full, doesn't know. Its next process goes on serving that.
func TestTakeover(t *testing.T) {
	withState(t, func(b *box) {
		newer := configKey("test.newer")
		b.sink.disk[keyX] = []byte("x2")
		b.sink.disk[keyS] = []byte(lines(hosts(1, 4)))
		b.sink.disk[newer] = []byte("n1")
		b.sink.disk[keyForeign] = []byte("hands off")
		b.sink.seen = map[key]bool{keyX: true, keyS: true, newer: true}
		b.start()
		b.wantNone(keyForeign) // readers don't see it
		b.wantFound(keyX, "x2")
		b.wantFound(keyS, lines(hosts(1, 4)))
		b.wantFound(newer, "n1")
		b.config("test.x", "1448012346.0", "x2")
		b.reach()
		b.wantContent(keyX, "x2")
		b.wantState(keyX, Fresh, "")
		b.wantNone(newer)
	})
}

// The directories can't be written: what may not be served as it lies is mended
// for readers of the mount alone.
func TestAdoptedServersetIsMendedOnAReadOnlyDisk(t *testing.T) {
	withPython(t, func(b *box) {
		b.sink.disk[keyS] = []byte("10.0.0.1:900010.0.0.2:9001")
		b.cfg.Sink = readOnlySink{b.sink}
		b.engine = New(b.cfg)
		b.engine.Restore()
		b.wantContent(keyS, "10.0.0.1:9000\n10.0.0.2:9001\n")
		b.wantFound(keyX, "x1")
		if got := string(b.sink.disk[keyS]); got != "10.0.0.1:900010.0.0.2:9001" {
			t.Errorf("its file holds %q", got)
		}
		if err := b.engine.journal.Close(); err != nil {
			t.Error(err)
		}
	})
}

type readOnlySink struct{ *fakeSink }

// Publish implements Sink.
func (readOnlySink) Publish(metaconfig.Type, string, Entry) error {
	return errors.New("read-only file system")
}
