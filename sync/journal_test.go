package sync

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func (b *box) journal() string { return filepath.Join(b.cfg.StateDir, journalName) }

func (b *box) readJournal() []byte {
	b.t.Helper()
	content, err := os.ReadFile(b.journal())
	if err != nil {
		b.t.Fatal(err)
	}
	return content
}

func (b *box) writeJournal(content []byte) {
	b.t.Helper()
	if err := os.WriteFile(b.journal(), content, 0o600); err != nil {
		b.t.Fatal(err)
	}
}

func encode(tb testing.TB, r record) []byte {
	tb.Helper()
	var text bytes.Buffer
	if err := encodeRecord(&text, r); err != nil {
		tb.Fatal(err)
	}
	return text.Bytes()
}

func mustParse(t *testing.T, journal []byte) []record {
	t.Helper()
	p := parseJournal(journal)
	if p.damaged > 0 {
		t.Errorf("%d records are damaged", p.damaged)
	}
	return p.records
}

// Before readers can see a version its record is on disk, beside that of the
// one before, even in a journal that has been written anew in that moment.
func TestRecordPrecedesContent(t *testing.T) {
	for _, rewrite := range []bool{false, true} {
		withConfig(t, func(b *box) {
			b.sink.setDuring(func(key) {
				if rewrite {
					if err := b.engine.journal.Rewrite(b.engine.records(), func() error { return nil }); err != nil {
						t.Error(err)
					}
				}
				for _, r := range parseJournal(b.readJournal()).records {
					if r.File == nil {
						continue
					}
					if old, ok := r.match([]byte("x1")); !ok || old.Version != "1.0" {
						t.Errorf("the old content is %+v (%v)", old, ok)
					}
					if next, ok := r.match([]byte("x2")); !ok || next.Version != "2.0" {
						t.Errorf("the new content is %+v (%v)", next, ok)
					}
				}
			})
			b.config("test.x", "2.0", "x2")
			b.settle()
			b.wantContent(keyX, "x2")
		})
	}
}

// What is appended while the journal is written anew is in it, after what it
// replaces, and the journal takes its place after the contents are durable.
func TestAppendDuringRewrite(t *testing.T) {
	b := newBox(t)
	j, _, err := openJournal(b.cfg.StateDir, b.cfg.Logger)
	if err != nil {
		t.Fatal(err)
	}
	at := func(version string) record {
		return record{Kind: recordMetaconfig, Name: "m", Version: version, Content: []byte("[]")}
	}
	if err := j.Append(at("1.0")); err != nil {
		t.Error(err)
	}
	before := b.readJournal()
	flushed := false
	err = j.Rewrite(slices.Values([]record{at("2.0")}), func() error {
		flushed = true
		if got := b.readJournal(); !bytes.Equal(got, before) {
			t.Errorf("before the flush the journal is %q", got)
		}
		return j.Append(at("3.0"))
	})
	if err != nil || !flushed {
		t.Errorf("flushed %v: %v", flushed, err)
	}
	if err := j.Append(at("4.0")); err != nil {
		t.Error(err)
	}
	if n := bytes.Count(b.readJournal(), []byte("\n")); n != 3 {
		t.Errorf("the journal has %d records", n)
	}
	if p := parseJournal(b.readJournal()); len(p.records) != 1 || p.damaged != 0 || p.records[0].Version != "4.0" {
		t.Errorf("it holds %+v", p)
	}
	if err := j.Rewrite(slices.Values([]record{at("5.0")}), func() error { return errors.New("input/output error") }); err == nil {
		t.Error("the contents aren't durable, and the journal was replaced all the same")
	}
	if err := j.Close(); err != nil {
		t.Error(err)
	}
	if p := parseJournal(b.readJournal()); p.records[0].Version != "4.0" {
		t.Errorf("after a failure it holds %+v", p)
	}
	if err := j.Append(at("6.0")); err == nil {
		t.Error("a closed journal was written to")
	}
	if err := j.Rewrite(slices.Values([]record{at("7.0")}), func() error { return nil }); err == nil {
		t.Error("a closed journal was written anew")
	}
}

// Few records can be large.
func TestLargeJournalIsCompacted(t *testing.T) {
	b := newBox(t)
	j, _, err := openJournal(b.cfg.StateDir, b.cfg.Logger)
	if err != nil {
		t.Fatal(err)
	}
	r := record{Kind: recordMetaconfig, Name: "m", Version: "1.0", Content: make([]byte, 1<<20)}
	n := 0
	for ; !j.WantsRewrite(1); n++ {
		if err := j.Append(r); err != nil {
			t.Fatal(err)
		}
	}
	if n < 10 || n > 16 {
		t.Errorf("a journal of %d MiB is to be written anew", n)
	}
	if err := j.Rewrite(slices.Values([]record{r}), func() error { return nil }); err != nil || j.WantsRewrite(1) {
		t.Errorf("the journal is written anew again and again: %v", err)
	}
	if err := j.Close(); err != nil {
		t.Error(err)
	}
}

func TestJournalIsCompacted(t *testing.T) {
	withConfig(t, func(b *box) {
		most := 0
		for i := 2; i < 4000; i++ {
			b.config("test.x", version(i), "x"+strings.Repeat("y", i%7))
			b.settle()
			if i%50 == 0 {
				b.pass(2 * time.Second)
				most = max(most, bytes.Count(b.readJournal(), []byte("\n")))
			}
		}
		if most < compactAbove/2 || most > compactAbove+100 {
			t.Errorf("the journal grew to %d records", most)
		}
		want, _ := b.sink.content(keyX)
		b.zk.expire()
		b.restart()
		b.wantContent(keyX, want)
	})
}

// A state directory that can't be written is complained of once, and caught up
// with when it can, whether or not anything changes then.
func TestStateDirectoryIsFull(t *testing.T) {
	withConfig(t, func(b *box) {
		b.breakJournal()
		b.config("test.x", "2.0", "x2")
		b.settle()
		b.config("test.x", "3.0", "x3")
		b.pass(time.Minute)
		b.wantContent(keyX, "x3")
		b.wantState(keyX, Fresh, "")
		b.wantLogged(1, "WARN the state can't be saved", b.cfg.StateDir)
		if b.engine.Stats().StateErrors.Load() == 0 {
			t.Error("nothing was counted")
		}
		b.mendJournal()
		b.pass(10 * time.Second)
		b.wantLogged(1, "INFO the state is saved again")
		b.zk.expire()
		b.restart()
		b.wantContent(keyX, "x3")
	})
}

// breakJournal makes appending fail, as on a full disk, and writing anew.
func (b *box) breakJournal() {
	b.t.Helper()
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		b.t.Fatal(err)
	}
	j := b.engine.journal
	j.mu.Lock()
	defer j.mu.Unlock()
	_ = j.file.Close()
	j.file = full
	if err := os.Mkdir(j.path()+".new", 0o700); err != nil {
		b.t.Fatal(err)
	}
}

func (b *box) mendJournal() {
	b.t.Helper()
	if err := os.Remove(b.engine.journal.path() + ".new"); err != nil {
		b.t.Fatal(err)
	}
}

// A state directory that can't be used keeps nothing from being served, and is
// used as soon as it can be.
func TestUnusableStateDirectory(t *testing.T) {
	obstacles := map[string]func(b *box) (path string){
		"a file in place of the directory": func(b *box) string {
			path := filepath.Join(b.t.TempDir(), "file")
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				b.t.Fatal(err)
			}
			b.cfg.StateDir = filepath.Join(path, "state")
			return path
		},
		"a directory in place of the journal": func(b *box) string {
			if err := os.Mkdir(b.journal(), 0o700); err != nil {
				b.t.Fatal(err)
			}
			return b.journal()
		},
	}
	for name, obstacle := range obstacles {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(b *box) {
				path := obstacle(b)
				b.config("test.x", "1.0", "x1")
				b.depend(boxDependency, keyX.name)
				b.start()
				b.pass(time.Minute)
				b.wantReady(true)
				b.wantContent(keyX, "x1")
				b.wantLogged(1, "WARN the state can't be saved", path)
				if problem := b.engine.Snapshot().StateErr; !strings.Contains(problem, path) {
					t.Errorf("the snapshot says %q", problem)
				}
				if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
				b.pass(10 * time.Second)
				b.wantLogged(1, "INFO the state is saved again")
				if problem := b.engine.Snapshot().StateErr; problem != "" {
					t.Errorf("the snapshot says %q", problem)
				}
				b.zk.expire()
				b.restart()
				b.wantContent(keyX, "x1")
			})
		})
	}
}

// A journal that is cut off anywhere, or damaged anywhere, gives nothing that
// was never written.
func TestJournalSurvivesAnyDamage(t *testing.T) {
	withState(t, func(b *box) {
		journal := b.readJournal()
		if p := parseJournal(journal); p.damaged != 0 || len(p.records) < 4 {
			t.Fatalf("it holds %+v", p)
		}
		for range 500 {
			broken := bytes.Clone(journal[:rand.IntN(len(journal)+1)])
			for range rand.IntN(4) {
				if len(broken) > 0 {
					broken[rand.IntN(len(broken))] = byte(rand.IntN(256))
				}
			}
			for _, r := range parseJournal(broken).records {
				if !bytes.Contains(journal, encode(t, r)) {
					t.Fatalf("found %+v, which was never written", r)
				}
			}
		}
	})
}

func FuzzParseJournal(f *testing.F) {
	for _, r := range []record{
		{Kind: recordConfig, Name: "x", File: newFileRecord(&served{ZKPath: "/x", Version: "1.0"}), Owner: "m"},
		{Kind: recordDependency, Name: "a.dep", Members: []string{"x"}, Zxid: 7},
		{Kind: recordMetaconfig, Name: "m", Version: "1.0", Content: []byte("[]")},
		{Kind: recordServerset, Name: "s", Dropped: true},
	} {
		line := encode(f, r)
		f.Add(line)
		f.Add(append(bytes.Clone(line), line[:len(line)/2]...))
	}
	f.Add([]byte("00000000 {}\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		p := parseJournal(content)
		if len(p.records) > p.good || p.good+p.damaged > bytes.Count(content, []byte("\n"))+1 || p.holes && p.damaged == 0 {
			t.Errorf("%+v is in %q", p, content)
		}
		for _, r := range p.records {
			again, ok := decodeRecord(encode(t, r))
			if !ok || again.Name != r.Name || again.Kind != r.Kind {
				t.Errorf("%+v became %+v", r, again)
			}
		}
	})
}
