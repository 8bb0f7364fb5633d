package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/kingpinfs/kingpin/store"
)

// Open returns the two backends of a fresh store for one test: nothing is in
// them, and what the test writes disturbs no other.
type Open func(t *testing.T) (store.Znodes, store.Blobs)

// Store is the conformance suite of a store over its backends: what is
// promised of versioned values holds over any Znodes and Blobs.
func Store(t *testing.T, open Open) {
	t.Helper()
	tests := []struct {
		name string
		run  func(*testing.T, *fixture)
	}{
		{"NeverWritten", testNeverWritten},
		{"MissingPointer", testMissingPointer},
		{"WriteAndRead", testWriteAndRead},
		{"WireFormat", testWireFormat},
		{"ReadsPythonsObjects", testReadsPythonsObjects},
		{"OwnPrefix", testOwnPrefix},
		{"VersionsGrow", testVersionsGrow},
		{"ExpectVersion", testExpectVersion},
		{"ExpectContent", testExpectContent},
		{"Update", testUpdate},
		{"UpdateUnchanged", testUpdateUnchanged},
		{"UpdateRefused", testUpdateRefused},
		{"ConcurrentUpdates", testConcurrentUpdates},
		{"TellsWhatIsPublished", testTellsWhatIsPublished},
		{"LockHeld", testLockHeld},
		{"LostLock", testLostLock},
		{"RemovedMeanwhile", testRemovedMeanwhile},
		{"History", testHistory},
		{"BadPointer", testBadPointer},
		{"MissingObject", testMissingObject},
		{"TooLarge", testTooLarge},
		{"EmptyContent", testEmptyContent},
		{"Delete", testDelete},
		{"Index", testIndex},
		{"BadPaths", testBadPaths},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			f := &fixture{ctx: ctx, ref: store.Ref{Path: "/config/manageddata/test/x"}}
			f.zn, f.blobs = open(t)
			f.store = store.New(f.zn, f.blobs, store.Options{MaxContent: 1 << 20})
			test.run(t, f)
		})
	}
}

type fixture struct {
	ctx   context.Context //nolint:containedctx // the context of one test
	zn    store.Znodes
	blobs store.Blobs
	store *store.Store
	ref   store.Ref
}

func (f *fixture) create(t *testing.T) {
	t.Helper()
	if err := f.store.CreatePointer(f.ctx, f.ref); err != nil {
		t.Fatal(err)
	}
}

func (f *fixture) put(t *testing.T, content string) store.Value {
	t.Helper()
	v, err := f.store.Put(f.ctx, f.ref, []byte(content), store.Write{})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func (f *fixture) wantContent(t *testing.T, want string) store.Value {
	t.Helper()
	v, err := f.store.Get(f.ctx, f.ref)
	if err != nil {
		t.Fatal(err)
	}
	if string(v.Content) != want {
		t.Fatalf("content is %q, want %q", v.Content, want)
	}
	return v
}

func wantKind(t *testing.T, err error, want store.Kind) {
	t.Helper()
	if store.KindOf(err) != want || !errors.Is(err, want) {
		t.Fatalf("error is %v (kind %v), want kind %v", err, store.KindOf(err), want)
	}
}

func testNeverWritten(t *testing.T, f *fixture) {
	f.create(t)
	v, err := f.store.Get(f.ctx, f.ref)
	if err != nil || v.Version != "" || v.Content != nil {
		t.Fatalf("Get of a new pointer = %+v, %v; want no version, no content", v, err)
	}
	if v.Stat.Mzxid == 0 {
		t.Error("the stat of the pointer is missing")
	}
	f.create(t) // a second time is fine
}

func testMissingPointer(t *testing.T, f *fixture) {
	_, err := f.store.Get(f.ctx, f.ref)
	wantKind(t, err, store.NotFound)
	_, err = f.store.Put(f.ctx, f.ref, []byte("x"), store.Write{})
	wantKind(t, err, store.NotFound)
	_, err = f.store.History(f.ctx, f.ref, 0)
	wantKind(t, err, store.NotFound)
	wantKind(t, f.store.Delete(f.ctx, f.ref), store.NotFound)
}

func testWriteAndRead(t *testing.T, f *fixture) {
	f.create(t)
	put, err := f.store.Put(f.ctx, f.ref, []byte("one\x00\xff"), store.Write{Author: "Zoë", Comment: "50% + ü\n"})
	if err != nil {
		t.Fatal(err)
	}
	got := f.wantContent(t, "one\x00\xff")
	if got.Version != put.Version || got.Stat.Mzxid != put.Stat.Mzxid {
		t.Errorf("Get returned version %q at %x, Put %q at %x", got.Version, got.Stat.Mzxid, put.Version, put.Stat.Mzxid)
	}
	if got.Author != "Zoë" || got.Comment != "50% + ü\n" {
		t.Errorf("author %q, comment %q", got.Author, got.Comment)
	}
	f.put(t, "two")
	f.wantContent(t, "two")
	old, err := f.store.GetVersion(f.ctx, f.ref, put.Version)
	if err != nil || string(old.Content) != "one\x00\xff" {
		t.Errorf("the old version is %q, %v", old.Content, err)
	}
}

func testWireFormat(t *testing.T, f *fixture) {
	f.create(t)
	v := f.put(t, "content")
	data, _, err := f.zn.Get(f.ctx, "/config/manageddata/test/x")
	if err != nil || string(data) != string(v.Version) {
		t.Errorf("the znode holds %q, %v; want %q", data, err, v.Version)
	}
	seconds, micros, _ := bytes.Cut(data, []byte("."))
	if _, err := strconv.Atoi(string(seconds)); err != nil || len(micros) != 6 {
		t.Errorf("version %q: want Unix seconds with six decimals", data)
	}
	key := fmt.Sprintf("data/config/manageddata/test/x_%s/%s", seconds, micros)
	for key, want := range map[string]string{key: "content", "data/config/manageddata/test/x": string(v.Version)} {
		body, _, err := f.blobs.Get(f.ctx, key, 0)
		if err != nil || string(body) != want {
			t.Errorf("object %q holds %q, %v; want %q", key, body, err, want)
		}
	}
	if children, _, err := f.zn.Children(f.ctx, "/config/manageddata/test/x.lock"); err != nil || len(children) != 0 {
		t.Errorf("after the write the lock has children %q, %v", children, err)
	}
}

func testReadsPythonsObjects(t *testing.T, f *fixture) {
	for _, version := range []string{"1448012345.67", "1448012345.1", "1448012345.0"} {
		if err := f.blobs.Put(f.ctx, "data/metaconfig/metaconfig/config/manageddata/test/x_1448012345/"+version[11:],
			[]byte("at "+version), store.PutOptions{}); err != nil {
			t.Fatal(err)
		}
		ref := store.Ref{Path: "/metaconfig/metaconfig/config.manageddata.test.x"}
		if err := f.store.CreatePointer(f.ctx, ref); err != nil {
			t.Fatal(err)
		}
		if _, err := f.zn.Set(f.ctx, ref.Path, []byte(version), store.AnyVersion); err != nil {
			t.Fatal(err)
		}
		v, err := f.store.Get(f.ctx, ref)
		if err != nil || string(v.Content) != "at "+version || string(v.Version) != version {
			t.Errorf("Get = %q at %q, %v", v.Content, v.Version, err)
		}
	}
}

func testOwnPrefix(t *testing.T, f *fixture) {
	f.ref.Prefix = "//data/elsewhere.d//x"
	f.create(t)
	v := f.put(t, "content")
	body, _, err := f.blobs.Get(f.ctx, f.ref.Key(v.Version), 0)
	if err != nil || string(body) != "content" {
		t.Fatalf("%q, %v", body, err)
	}
	if want := "data/elsewhere/d/x"; f.ref.IndexKey() != want {
		t.Errorf("index key is %q, want %q", f.ref.IndexKey(), want)
	}
	f.wantContent(t, "content")
}

func testVersionsGrow(t *testing.T, f *fixture) {
	f.create(t)
	future := store.Version("99999999999.999999")
	if _, err := f.zn.Set(f.ctx, f.ref.Path, []byte(future), store.AnyVersion); err != nil {
		t.Fatal(err)
	}
	last := future
	for i := range 3 {
		v := f.put(t, strconv.Itoa(i))
		if v.Version.Compare(last) <= 0 {
			t.Fatalf("version %q after %q", v.Version, last)
		}
		last = v.Version
	}
}

func testExpectVersion(t *testing.T, f *fixture) {
	f.create(t)
	none := store.Version("")
	first, err := f.store.Put(f.ctx, f.ref, []byte("one"), store.Write{Expect: &none})
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.store.Put(f.ctx, f.ref, []byte("two"), store.Write{Expect: &none})
	wantKind(t, err, store.Conflict)
	f.wantContent(t, "one")
	if _, err := f.store.Put(f.ctx, f.ref, []byte("two"), store.Write{Expect: &first.Version}); err != nil {
		t.Fatal(err)
	}
	f.wantContent(t, "two")
}

func testExpectContent(t *testing.T, f *fixture) {
	f.create(t)
	f.put(t, "one")
	_, err := f.store.Put(f.ctx, f.ref, []byte("two"), store.Write{ExpectContent: []byte("zero")})
	wantKind(t, err, store.Conflict)
	if _, err := f.store.Put(f.ctx, f.ref, []byte("two"), store.Write{ExpectContent: []byte("one")}); err != nil {
		t.Fatal(err)
	}
	f.wantContent(t, "two")
}

func testUpdate(t *testing.T, f *fixture) {
	f.create(t)
	for want := range 3 {
		_, err := f.store.Update(f.ctx, f.ref, store.Write{}, func(old store.Value) ([]byte, error) {
			n, _ := strconv.Atoi(string(old.Content))
			if n != want {
				t.Errorf("update sees %d, want %d", n, want)
			}
			return strconv.AppendInt(nil, int64(n+1), 10), nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	f.wantContent(t, "3")
}

func testUpdateUnchanged(t *testing.T, f *fixture) {
	f.create(t)
	before := f.put(t, "same")
	after, err := f.store.Update(f.ctx, f.ref, store.Write{}, func(old store.Value) ([]byte, error) { return old.Content, nil })
	if err != nil || after.Version != before.Version {
		t.Fatalf("Update = %q, %v; want version %q", after.Version, err, before.Version)
	}
	if got := f.wantContent(t, "same"); got.Stat.Mzxid != before.Stat.Mzxid {
		t.Error("the pointer was set although nothing changed")
	}
}

func testUpdateRefused(t *testing.T, f *fixture) {
	f.create(t)
	f.put(t, "good")
	mine := errors.New("refused")
	_, err := f.store.Update(f.ctx, f.ref, store.Write{}, func(store.Value) ([]byte, error) { return nil, mine })
	if !errors.Is(err, mine) {
		t.Fatalf("error is %v, want the change's own", err)
	}
	f.wantContent(t, "good")
	f.put(t, "the lock is free")
}

func testConcurrentUpdates(t *testing.T, f *fixture) {
	f.create(t)
	const writers, each = 4, 5
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for range each {
				_, err := f.store.Update(f.ctx, f.ref, store.Write{}, func(old store.Value) ([]byte, error) {
					n, _ := strconv.Atoi(string(old.Content))
					return strconv.AppendInt(nil, int64(n+1), 10), nil
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	f.wantContent(t, strconv.Itoa(writers*each))
}

// Whoever publishes learns which version it will be before anybody can read it,
// and of the pointer's state that orders it among others when it has been.
func testTellsWhatIsPublished(t *testing.T, f *fixture) {
	f.create(t)
	var told []store.Value
	w := store.Write{Author: "me", Publishing: func(v store.Version, content []byte) {
		if now, _, err := f.store.Pointer(f.ctx, f.ref); err != nil || now == v {
			t.Errorf("the pointer names %q, %v already", now, err)
		}
		told = append(told, store.Value{Version: v, Content: content})
	}}
	put, err := f.store.Put(f.ctx, f.ref, []byte("one"), w)
	if err != nil {
		t.Fatal(err)
	}
	updated, err := f.store.Update(f.ctx, f.ref, w, func(store.Value) ([]byte, error) { return []byte("two"), nil })
	if err != nil {
		t.Fatal(err)
	}
	unchanged, err := f.store.Update(f.ctx, f.ref, w, func(old store.Value) ([]byte, error) { return old.Content, nil })
	if err != nil {
		t.Fatal(err)
	}
	never := store.Version("1.0")
	w.Expect = &never
	_, err = f.store.Put(f.ctx, f.ref, []byte("three"), w)
	wantKind(t, err, store.Conflict)
	for i, value := range []store.Value{put, updated} {
		if len(told) != 2 || told[i].Version != value.Version || string(told[i].Content) != string(value.Content) {
			t.Errorf("told of %+v; published were %+v and %+v", told, put, updated)
		}
	}
	now := f.wantContent(t, "two")
	if updated.Stat != now.Stat || unchanged.Stat != now.Stat || put.Stat.Version != 1 || now.Stat.Version != 2 || now.Stat.Mzxid <= put.Stat.Mzxid {
		t.Errorf("the pointer was %+v, %+v and %+v, and is %+v", put.Stat, updated.Stat, unchanged.Stat, now.Stat)
	}
}

func testLockHeld(t *testing.T, f *fixture) {
	f.create(t)
	unlock, err := f.zn.Lock(f.ctx, f.ref.LockPath())
	if err != nil {
		t.Fatal(err)
	}
	soon, cancel := context.WithTimeout(f.ctx, 50*time.Millisecond)
	defer cancel()
	_, err = f.store.Put(soon, f.ref, []byte("x"), store.Write{})
	wantKind(t, err, store.Conflict)
	unlock()
	f.put(t, "y")
	f.wantContent(t, "y")
}

// lostLock publishes on somebody else's behalf between a writer's read under
// the lock and its write, as happens when the writer's session has expired.
type lostLock struct {
	store.Znodes
	once    sync.Once
	meddle  func()
	pointer string
}

func (l *lostLock) Set(ctx context.Context, path string, data []byte, version int32) (store.Stat, error) {
	if path == l.pointer {
		l.once.Do(l.meddle)
	}
	return l.Znodes.Set(ctx, path, data, version)
}

func testLostLock(t *testing.T, f *fixture) {
	f.create(t)
	f.put(t, "a")
	other := store.Version("99999999999.000001")
	meddle := func() {
		if err := f.blobs.Put(f.ctx, f.ref.Key(other), []byte("ab"), store.PutOptions{}); err != nil {
			t.Error(err)
		}
		if _, err := f.zn.Set(f.ctx, f.ref.Path, []byte(other), store.AnyVersion); err != nil {
			t.Error(err)
		}
	}
	appendC := func(old store.Value) ([]byte, error) { return append(bytes.Clone(old.Content), 'c'), nil }

	raced := store.New(&lostLock{Znodes: f.zn, meddle: meddle, pointer: f.ref.Path}, f.blobs, store.Options{})
	_, err := raced.Put(f.ctx, f.ref, []byte("lost"), store.Write{})
	wantKind(t, err, store.Conflict)
	f.wantContent(t, "ab")
	if v, err := f.store.Index(f.ctx, f.ref); err != nil || v != other {
		t.Errorf("after the lost race the index names %q, %v; want %q", v, err, other)
	}

	other = "99999999999.5"
	raced = store.New(&lostLock{Znodes: f.zn, meddle: meddle, pointer: f.ref.Path}, f.blobs, store.Options{})
	if _, err := raced.Update(f.ctx, f.ref, store.Write{}, appendC); err != nil {
		t.Fatal(err)
	}
	f.wantContent(t, "abc")
}

// A value that is removed while somebody writes it isn't brought back.
func testRemovedMeanwhile(t *testing.T, f *fixture) {
	f.create(t)
	f.put(t, "old")
	_, err := f.store.Update(f.ctx, f.ref, store.Write{}, func(store.Value) ([]byte, error) {
		return []byte("new"), f.store.Delete(f.ctx, f.ref)
	})
	wantKind(t, err, store.NotFound)
	_, err = f.store.Get(f.ctx, f.ref)
	wantKind(t, err, store.NotFound)
	f.create(t)
	if v, err := f.store.Get(f.ctx, f.ref); err != nil || v.Version != "" {
		t.Errorf("made anew it has version %q, %v", v.Version, err)
	}
	f.put(t, "newer")
	f.wantContent(t, "newer")
}

func testHistory(t *testing.T, f *fixture) {
	f.create(t)
	if entries, err := f.store.History(f.ctx, f.ref, 0); err != nil || len(entries) != 0 {
		t.Fatalf("history of a new value = %v, %v", entries, err)
	}
	var versions []store.Version
	for i := range 4 {
		v, err := f.store.Put(f.ctx, f.ref, bytes.Repeat([]byte("x"), i), store.Write{Author: "me", Comment: fmt.Sprintf("no. %d", i)})
		if err != nil {
			t.Fatal(err)
		}
		versions = append(versions, v.Version)
	}
	// A neighbour whose name begins with ours has a history of its own.
	neighbour := store.Ref{Path: f.ref.Path + "_1448012345"}
	if err := f.store.CreatePointer(f.ctx, neighbour); err != nil {
		t.Fatal(err)
	}
	if _, err := f.store.Put(f.ctx, neighbour, []byte("n"), store.Write{}); err != nil {
		t.Fatal(err)
	}
	entries, err := f.store.History(f.ctx, f.ref, 0)
	if err != nil || len(entries) != 4 {
		t.Fatalf("history = %+v, %v", entries, err)
	}
	for i, e := range entries {
		n := 3 - i
		if e.Version != versions[n] || e.Size != int64(n) || e.Author != "me" || e.Comment != fmt.Sprintf("no. %d", n) || e.Current != (i == 0) {
			t.Errorf("entry %d = %+v", i, e)
		}
	}
	if entries, err := f.store.History(f.ctx, f.ref, 2); err != nil || len(entries) != 2 || entries[0].Version != versions[3] {
		t.Errorf("the newest two = %+v, %v", entries, err)
	}
}

func testBadPointer(t *testing.T, f *fixture) {
	f.create(t)
	for _, bad := range []string{"yesterday", "1e9", "-1", "1448012345.", "1.2.3", " 1", "1448012345.67/../../x"} {
		if _, err := f.zn.Set(f.ctx, f.ref.Path, []byte(bad), store.AnyVersion); err != nil {
			t.Fatal(err)
		}
		_, err := f.store.Get(f.ctx, f.ref)
		wantKind(t, err, store.Invalid)
	}
	f.put(t, "mended")
	f.wantContent(t, "mended")
}

func testMissingObject(t *testing.T, f *fixture) {
	f.create(t)
	if _, err := f.zn.Set(f.ctx, f.ref.Path, []byte("1448012345.67"), store.AnyVersion); err != nil {
		t.Fatal(err)
	}
	_, err := f.store.Get(f.ctx, f.ref)
	wantKind(t, err, store.NotFound)
	f.put(t, "mended")
	f.wantContent(t, "mended")
}

func testTooLarge(t *testing.T, f *fixture) {
	f.create(t)
	f.put(t, "small")
	_, err := f.store.Put(f.ctx, f.ref, make([]byte, 1<<20+1), store.Write{})
	wantKind(t, err, store.TooLarge)
	f.wantContent(t, "small")
	big := store.New(f.zn, f.blobs, store.Options{MaxContent: 2 << 20})
	if _, err := big.Put(f.ctx, f.ref, make([]byte, 1<<20+1), store.Write{}); err != nil {
		t.Fatal(err)
	}
	_, err = f.store.Get(f.ctx, f.ref)
	wantKind(t, err, store.TooLarge)
}

func testEmptyContent(t *testing.T, f *fixture) {
	f.create(t)
	v := f.put(t, "")
	if got := f.wantContent(t, ""); got.Version != v.Version {
		t.Errorf("version %q, want %q", got.Version, v.Version)
	}
}

func testDelete(t *testing.T, f *fixture) {
	f.create(t)
	f.put(t, "x")
	if err := f.store.Delete(f.ctx, f.ref); err != nil {
		t.Fatal(err)
	}
	_, err := f.store.Get(f.ctx, f.ref)
	wantKind(t, err, store.NotFound)
	_, _, err = f.zn.Get(f.ctx, f.ref.LockPath())
	wantKind(t, err, store.NotFound)
}

func testIndex(t *testing.T, f *fixture) {
	_, err := f.store.Index(f.ctx, f.ref)
	wantKind(t, err, store.NotFound)
	f.create(t)
	v := f.put(t, "x")
	if got, err := f.store.Index(f.ctx, f.ref); err != nil || got != v.Version {
		t.Errorf("index = %q, %v; want %q", got, err, v.Version)
	}
}

func testBadPaths(t *testing.T, f *fixture) {
	for _, bad := range []string{"", "config/x", "/", "/config//x", "/config/../x", "/config/x/", "/config/x\n", "/config/x.lock"} {
		_, err := f.store.Get(f.ctx, store.Ref{Path: bad})
		wantKind(t, err, store.Invalid)
		wantKind(t, f.store.CreatePointer(f.ctx, store.Ref{Path: bad}), store.Invalid)
	}
}
