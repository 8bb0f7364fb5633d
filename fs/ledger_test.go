package fs

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// succeed returns the ledger as the next process would find it.
func succeed(t *testing.T, l *ledger) (*ledger, []recovered, error) {
	t.Helper()
	fd, err := unix.Dup(l.fd)
	check(t, err)
	next, err := attachLedger(fd)
	if err != nil {
		check(t, unix.Close(fd))
		return nil, nil, err
	}
	t.Cleanup(func() { check(t, next.close()) })
	left, err := next.recover()
	return next, left, err
}

func TestTreeIsWhatItsPredecessorWas(t *testing.T) {
	tr := newTestTree(t, "sub")
	put(t, tr, tr.root, "x", entry("old"))
	old := lookup(t, tr, "x").version
	put(t, tr, tr.root, "x", entry("new"))
	put(t, tr, tr.dirs[firstSubID], "y", entry("y"))
	put(t, tr, tr.root, "unread", entry("unread"))
	put(t, tr, tr.root, "gone", entry("gone"))
	drop(tr, tr.root, "gone")
	if _, err := tr.stage(tr.root, "staged", entry("staged")); err != nil {
		t.Fatal(err)
	}

	l, left, err := succeed(t, tr.ledger)
	check(t, err)
	next := newTree([]string{"sub"}, l, left)
	if got, want := next.names(), tr.names(); !slices.Equal(got, want) {
		t.Fatalf("names %q, want %q", got, want)
	}
	for _, name := range []string{"x", "unread"} {
		was, _, _ := tr.get(tr.root, name)
		is, _, ok := next.get(next.root, name)
		if !ok || !bytes.Equal(is.Content, was.Content) || !is.ModTime.Equal(was.ModTime) || is.Version != was.Version || is.ZKPath != was.ZKPath {
			t.Errorf("%s is %+v, want %+v", name, is, was)
		}
		if is, was := next.root.slots[name], tr.root.slots[name]; is.cookie != was.cookie || is.current.id != was.current.id {
			t.Errorf("%s is inode %d at %d, want %d at %d", name, is.current.id, is.cookie, was.current.id, was.cookie)
		}
	}
	v := next.version(old.id)
	if v == nil || contentOf(t, next, v) != "old" || next.lookups(v) != 1 {
		t.Fatalf("what the kernel refers to is %+v", v)
	}
	next.forget(old.id, 1)
	if next.version(old.id) != nil || next.inodes() != 3 {
		t.Errorf("%d versions are kept, want 3", next.inodes())
	}
	put(t, next, next.root, "z", entry("z"))
	if z := next.root.slots["z"]; z.current.id <= tr.lastID || z.cookie <= next.root.slots["unread"].cookie {
		t.Errorf("a new file is inode %d at %d, after %d at %d", z.current.id, z.cookie, tr.lastID, next.root.slots["unread"].cookie)
	}
	if got := next.since(old.id); len(got) != 4 {
		t.Errorf("new since the first version: %v", got)
	}
}

// A predecessor may have died between any two steps of a commit.
func TestTreeAfterHalfACommit(t *testing.T) {
	tr := newTestTree(t)
	put(t, tr, tr.root, "x", entry("old"))
	lookup(t, tr, "x")
	v, err := tr.stage(tr.root, "x", entry("new"))
	check(t, err)
	tr.ledger.table[v.at].state.Store(slotCurrent)
	l, left, err := succeed(t, tr.ledger)
	check(t, err)
	slices.Reverse(left)
	next := newTree(nil, l, left)
	if e, _, _ := next.get(next.root, "x"); string(e.Content) != "new" || next.inodes() != 2 {
		t.Errorf("x is %q, of %d versions", e.Content, next.inodes())
	}
}

func TestLedgerGivesMemoryBack(t *testing.T) {
	l, err := newLedger()
	check(t, err)
	defer func() { check(t, l.close()) }()
	held := map[uint32][]byte{}
	var total int
	for i := range uint64(20_000) {
		content := make([]byte, rand.IntN(3000))
		for j := range content {
			content[j] = byte(i)
		}
		r := &record{id: i + 1, dir: rootID, name: fmt.Sprint(i), modTime: time.Unix(int64(i), 5)}
		check(t, l.add(r, content))
		l.table[r.slot].state.Store(slotCurrent)
		held[r.slot] = content
		total += len(content)
		if len(held) > 200 {
			for slot := range held { // any
				delete(held, slot)
				l.release(slot)
				break
			}
		}
	}
	live := int64(0)
	for slot, want := range held {
		live += int64(len(want))
		got := make([]byte, len(want)+1)
		if n, err := l.read(slot, got, 0); err != nil || !bytes.Equal(got[:n], want) {
			t.Fatalf("a content of %d bytes is read as %d, %v", len(want), n, err)
		}
	}
	var st unix.Stat_t
	check(t, unix.Fstat(l.fd, &st))
	if most := 2*live + cleanAbove + 1<<20; st.Blocks*512 > most {
		t.Errorf("%d bytes are in use for %d of %d, want at most %d", st.Blocks*512, live, total, most)
	}
	if l.header.slots.Load() > 300 {
		t.Errorf("%d slots have been in use", l.header.slots.Load())
	}
	next, left, err := succeed(t, l)
	check(t, err)
	if len(left) != len(held) || next.live != l.live {
		t.Errorf("%d versions of %d bytes are found, want %d of %d", len(left), next.live, len(held), l.live)
	}
	for _, r := range left {
		got := make([]byte, r.size)
		if n, err := next.read(r.slot, got, 0); err != nil || !bytes.Equal(got[:n], held[r.slot]) {
			t.Fatalf("version %d is not what it was", r.id)
		}
	}
}

// A memory that isn't whole is refused, whatever is wrong with it.
func TestLedgerRefusesWhatIsDamaged(t *testing.T) {
	for name, damage := range map[string]func(l *ledger) error{
		"another format": func(l *ledger) error { l.header.format++; return nil },
		"no ledger":      func(l *ledger) error { l.header.magic = 0; return nil },
		"an end that is off": func(l *ledger) error {
			l.header.head.Add(5)
			return writeAt(l.fd, make([]byte, 5), l.header.head.Load()-5)
		},
		"no end":        func(l *ledger) error { l.header.head.Store(0); return nil },
		"a flipped bit": func(l *ledger) error { return writeAt(l.fd, []byte{'X'}, l.header.head.Load()-1) },
		"too short":     func(l *ledger) error { return unix.Ftruncate(l.fd, 100) },
	} {
		t.Run(name, func(t *testing.T) {
			l, err := newLedger()
			check(t, err)
			// It may be too short to be touched by now.
			defer func() { check(t, errors.Join(unix.Munmap(l.mem), unix.Close(l.fd))) }()
			r := &record{id: 1, dir: rootID, name: "x"}
			check(t, l.add(r, []byte("content")))
			l.table[r.slot].state.Store(slotCurrent)
			check(t, damage(l))
			_, _, err = succeed(t, l)
			wantErr(t, err, errLedger)
		})
	}
}

func FuzzLedgerRecord(f *testing.F) {
	f.Add(append(encodeLedgerRecord(&record{id: 1, size: 3, name: "n", version: "v", zkPath: "/z"}, []byte("abc")), "abc"...))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, p, err := decodeLedgerRecord(b)
		if err != nil {
			wantErr(t, err, errLedger)
			return
		}
		content := b[p.header:p.size]
		if again := append(encodeLedgerRecord(&r, content), content...); len(again) != int(p.size) {
			t.Errorf("%d bytes are encoded as %d", p.size, len(again))
		}
	})
}
