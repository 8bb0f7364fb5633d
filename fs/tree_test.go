package fs

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// put gives a name a version, as a volume without a mount would.
func put(t testing.TB, tr *tree, d *directory, name string, e Entry) {
	t.Helper()
	tr.begin(d, name)
	v, err := tr.stage(d, name, e)
	check(t, err)
	tr.commit(d, name, tr.versionOf(d, name), v)
}

func contentOf(t *testing.T, tr *tree, v *version) string {
	t.Helper()
	content, err := tr.content(v)
	check(t, err)
	return string(content)
}

func drop(tr *tree, d *directory, name string) {
	tr.begin(d, name)
	tr.commit(d, name, tr.versionOf(d, name), nil)
}

// lookup is what the kernel does to reach a name.
func lookup(t *testing.T, tr *tree, name string) answer {
	t.Helper()
	a, ok := tr.lookup(rootID, name)
	if !ok {
		t.Fatal("the root is no directory")
	}
	return a
}

func TestTreeKeepsVersionsWhileTheyAreReferredTo(t *testing.T) {
	tr := newTestTree(t)
	put(t, tr, tr.root, "x", entry("one"))
	first := lookup(t, tr, "x").version
	lookup(t, tr, "x")
	put(t, tr, tr.root, "x", entry("two"))
	if v := tr.version(first.id); v != first || contentOf(t, tr, v) != "one" {
		t.Fatalf("the first version is %+v while it is referred to", v)
	}
	tr.forget(first.id, 1)
	if tr.version(first.id) == nil {
		t.Error("a version is gone after the first of two references to it")
	}
	tr.forget(first.id, 1)
	if tr.version(first.id) != nil {
		t.Error("a version stays after the last reference to it")
	}
	second := lookup(t, tr, "x").version
	tr.forget(second.id, 1)
	if tr.version(second.id) == nil {
		t.Error("what a name holds is gone after the last reference to it")
	}
	lookup(t, tr, "x")
	drop(tr, tr.root, "x")
	if tr.version(second.id) == nil {
		t.Error("a removed version is gone while it is referred to")
	}
	tr.forget(second.id, 1)
	if n := tr.inodes(); n != 0 {
		t.Errorf("%d versions are left of none", n)
	}
}

func TestTreeKeepsNothingOfManyVersions(t *testing.T) {
	tr := newTestTree(t)
	const rounds = 1000
	seen := map[uint64]bool{}
	for i := range rounds {
		name := fmt.Sprintf("f%d", i%7)
		put(t, tr, tr.root, name, entry(fmt.Sprint(i)))
		if i%3 == 0 {
			v := lookup(t, tr, name).version
			if seen[v.id] {
				t.Fatalf("the number %d is used again", v.id)
			}
			seen[v.id] = true
		}
	}
	for id := range seen {
		tr.forget(id, 1)
	}
	if n := tr.inodes(); n != 7 {
		t.Errorf("%d versions are kept of 7 names", n)
	}
}

func TestTreeAnswersWhileANameChanges(t *testing.T) {
	tr := newTestTree(t)
	put(t, tr, tr.root, "x", entry("one"))
	if a := lookup(t, tr, "x"); !a.settled {
		t.Error("the answer about a name that nobody changes is not to be remembered")
	}
	tr.begin(tr.root, "x")
	tr.begin(tr.root, "new")
	if a := lookup(t, tr, "x"); a.settled || contentOf(t, tr, a.version) != "one" {
		t.Errorf("between begin and commit: %+v, want the old version, not to be remembered", a)
	}
	if a := lookup(t, tr, "new"); a.settled || a.version != nil {
		t.Errorf("between begin and commit of a new name: %+v, want none, not to be remembered", a)
	}
	if a := lookup(t, tr, "y"); !a.settled || a.version != nil {
		t.Errorf("another name: %+v, want none, to be remembered", a)
	}
	tr.list(rootID, 0, true, func(e listed) bool {
		if e.name == "x" && e.settled {
			t.Error("a listing gives a name that is being changed as settled")
		}
		return e.name != "new"
	})
	put(t, tr, tr.root, "x", entry("two"))
	put(t, tr, tr.root, "new", entry("two"))
	for _, name := range []string{"x", "new"} {
		if a := lookup(t, tr, name); a.settled {
			t.Errorf("%s is to be remembered while somebody else changes it", name)
		}
		tr.settle(tr.root, name)
		if a := lookup(t, tr, name); !a.settled || contentOf(t, tr, a.version) != "two" {
			t.Errorf("%s after commit: %+v", name, a)
		}
	}
}

func TestTreeKnowsWhatTheKernelMayRemember(t *testing.T) {
	tr := newTestTree(t)
	put(t, tr, tr.root, "x", entry("one"))
	if tr.mayBeTold(tr.root, "x") || tr.mayBeTold(tr.root, "y") {
		t.Error("the kernel can't know what it never asked")
	}
	v := lookup(t, tr, "x").version
	if !tr.mayBeTold(tr.root, "x") {
		t.Error("the kernel may remember a version that it refers to")
	}
	tr.forget(v.id, 1)
	if tr.mayBeTold(tr.root, "x") {
		t.Error("the kernel can't remember a version that it has forgotten")
	}
	lookup(t, tr, "y")
	if !tr.mayBeTold(tr.root, "y") {
		t.Error("the kernel may remember that there is no such name")
	}
}

// listing returns the names that a listing gives from the cookie on, n at most,
// and the cookie to go on from.
func listing(tr *tree, after uint64, n int) (names []string, next uint64) {
	next = after
	tr.list(rootID, after, false, func(e listed) bool {
		if len(names) == n {
			return false
		}
		names, next = append(names, e.name), e.cookie
		return true
	})
	return names, next
}

func TestTreeListsEveryNameOnceWhileOthersComeAndGo(t *testing.T) {
	tr := newTestTree(t, "sub")
	var steady []string
	for i := range 100 {
		name := fmt.Sprintf("steady%02d", i)
		steady = append(steady, name)
		put(t, tr, tr.root, name, entry("x"))
		put(t, tr, tr.root, fmt.Sprintf("fleeting%02d", i), entry("x"))
	}
	var got []string
	part, cookie := listing(tr, 0, 7)
	for i := 0; len(part) > 0; i++ {
		got = append(got, part...)
		drop(tr, tr.root, fmt.Sprintf("fleeting%02d", i))
		drop(tr, tr.root, fmt.Sprintf("fleeting%02d", 99-i))
		if i < 20 {
			put(t, tr, tr.root, fmt.Sprintf("late%02d", i), entry("x"))
		}
		put(t, tr, tr.root, steady[i], entry("y"))
		part, cookie = listing(tr, cookie, 7)
	}
	for _, name := range append(steady, ".", "..", "sub") {
		n := 0
		for _, g := range got {
			if g == name {
				n++
			}
		}
		if n != 1 {
			t.Errorf("%s is listed %d times", name, n)
		}
	}
}

func TestTreeDirectoryTimeAlwaysMoves(t *testing.T) {
	tr := newTestTree(t)
	before, _ := tr.dirInfo(rootID)
	for i := range 1000 {
		put(t, tr, tr.root, fmt.Sprint(i%3), entry("x"))
		now, ok := tr.dirInfo(rootID)
		if !ok || !now.modTime.After(before.modTime) {
			t.Fatalf("the directory's time went from %v to %v", before.modTime, now.modTime)
		}
		before = now
	}
	drop(tr, tr.root, "none")
	if now, _ := tr.dirInfo(rootID); now != before {
		t.Error("removing nothing changed the directory")
	}
}

func TestTreeNamesAndStatus(t *testing.T) {
	tr := newTestTree(t, "decider")
	sub := tr.directory("decider")
	put(t, tr, tr.root, "b", entry("1"))
	put(t, tr, sub, "a", entry("2"))
	put(t, tr, tr.root, "a", entry("3"))
	if got, want := tr.names(), []string{"a", "b", "decider/a"}; !slices.Equal(got, want) {
		t.Errorf("names %q, want %q", got, want)
	}
	if tr.directory("b") != nil || tr.directory("none") != nil {
		t.Error("what is no subdirectory is one")
	}
	want := Status{State: "held", SyncedAt: time.Unix(1, 0), Err: "why"}
	tr.setStatus(sub, "a", want)
	tr.setStatus(sub, "none", want)
	tr.setStatus(tr.root, "decider", want)
	if e, got, ok := tr.get(sub, "a"); !ok || got != want || string(e.Content) != "2" {
		t.Errorf("get: %+v, %+v, %v", e, got, ok)
	}
	if _, _, ok := tr.get(sub, "none"); ok {
		t.Error("a status makes a file")
	}
	if _, _, ok := tr.get(tr.root, "decider"); ok {
		t.Error("a subdirectory is a file")
	}
	if _, ok := tr.lookup(99, "a"); ok {
		t.Error("a name is found in no directory")
	}
}
