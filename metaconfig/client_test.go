package metaconfig

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/kingpinfs/kingpin/store"
	"github.com/kingpinfs/kingpin/store/storetest"
)

// bench is a client over backends in memory.
type bench struct {
	*Client
	ctx    context.Context //nolint:containedctx // the context of one test
	zn     *storetest.MemoryZnodes
	blobs  *storetest.MemoryBlobs
	values *store.Store
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{ctx: t.Context(), zn: storetest.NewMemoryZnodes(), blobs: storetest.NewMemoryBlobs()}
	b.values = store.New(b.zn, b.blobs, store.Options{})
	b.Client = NewClient(b.values, b.zn)
	return b
}

func (b *bench) wantZnode(t *testing.T, path string) []byte {
	t.Helper()
	data, _, err := b.zn.Get(b.ctx, path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func (b *bench) dependency(t *testing.T, name string, members ...string) {
	t.Helper()
	if _, err := b.CreateDependency(b.ctx, name); err != nil {
		t.Fatal(err)
	}
	for _, member := range members {
		if _, err := b.AddMember(b.ctx, name, member); err != nil {
			t.Fatal(err)
		}
	}
}

func (b *bench) config(t *testing.T, domain, key string) string {
	t.Helper()
	created, err := b.CreateConfig(b.ctx, domain, key, store.Write{})
	if err != nil || !created.New {
		t.Fatalf("CreateConfig = %+v, %v; want a new one", created, err)
	}
	return created.Subscription.Metaconfig
}

// wantError checks the kind of an error and what it says.
func wantError(t *testing.T, err error, kind store.Kind, parts ...string) {
	t.Helper()
	if store.KindOf(err) != kind {
		t.Fatalf("error %v, want one of kind %v", err, kind)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q, want it to say %q", err, part)
		}
	}
}

func TestCreateConfig(t *testing.T) {
	b := newBench(t)
	created, err := b.CreateConfig(b.ctx, "Spam", "test_grey_list", store.Write{Author: "ada", Comment: "new"})
	if want := (Created{Subscription: configSub, New: true}); err != nil || created != want {
		t.Fatalf("got %+v, %v; want %+v", created, err, want)
	}
	if data := b.wantZnode(t, configSub.ZKPath); len(data) != 0 {
		t.Errorf("the pointer holds %q, want nothing", data)
	}
	// Read without this package, as docs/wire-format.md has it.
	version := string(b.wantZnode(t, "/metaconfig/metaconfig/config.manageddata.spam.test_grey_list"))
	key := "data/metaconfig/metaconfig/config/manageddata/spam/test_grey_list_" + strings.ReplaceAll(version, ".", "/")
	content, _, err := b.blobs.Get(b.ctx, key, 0)
	if want := strings.ReplaceAll(configExample, "\n  ", " "); err != nil || string(content) != want {
		t.Errorf("the object %q holds %q, %v; want %q", key, content, err, want)
	}

	m, err := b.Get(b.ctx, configSub.Metaconfig)
	if err != nil || m.Err != nil || m.Warnings != nil || !slices.Equal(m.Subscriptions, []Subscription{configSub}) {
		t.Fatalf("got %+v, %v", m, err)
	}
	if m.Value.Author != "ada" || m.Value.Comment != "new" || string(m.Value.Version) != version {
		t.Errorf("written by %q, %q at %q", m.Value.Author, m.Value.Comment, m.Value.Version)
	}

	// Once more changes nothing.
	again, err := b.CreateConfig(b.ctx, "spam", "test_grey_list", store.Write{})
	if want := (Created{Subscription: configSub}); err != nil || again != want {
		t.Errorf("got %+v, %v; want %+v", again, err, want)
	}
	if got := string(b.wantZnode(t, Path(configSub.Metaconfig))); got != version {
		t.Errorf("the version changed from %q to %q", version, got)
	}
}

func TestCreateServerset(t *testing.T) {
	b := newBench(t)
	created, err := b.CreateServerset(b.ctx, "test_service", "prod", store.Write{})
	if want := (Created{Subscription: serversetSub, New: true}); err != nil || created != want {
		t.Fatalf("got %+v, %v; want %+v", created, err, want)
	}
	b.wantZnode(t, "/discovery/test_service/prod")
	if names, err := b.List(b.ctx); err != nil || !slices.Equal(names, []string{"discovery.test_service.prod"}) {
		t.Errorf("List = %q, %v", names, err)
	}
}

func TestCreateRefusesNames(t *testing.T) {
	b := newBench(t)
	_, err := b.CreateConfig(b.ctx, "a.b", "x", store.Write{})
	wantError(t, err, store.Invalid, `"a.b"`)
	_, err = b.CreateServerset(b.ctx, "svc", "$(id)", store.Write{})
	wantError(t, err, store.Invalid, `"$(id)"`)
	if names, _, err := b.zn.Children(b.ctx, "/"); err != nil || len(names) != 0 {
		t.Errorf("znodes %q were created, error %v", names, err)
	}
}

// A metaconfig that is there stays as it is, whoever wrote it.
func TestCreateLeavesOthersAlone(t *testing.T) {
	python := `[{"type": "config", "command": "` + configCommand + `", "max_wait_in_secs": 0, "owner": "spam",` +
		` "zk_path": "/config/manageddata/spam/test_grey_list", "config_section_name": "config.manageddata.spam.test_grey_list"}]`
	other := strings.Replace(python, `"max_wait_in_secs": 0`, `"max_wait_in_secs": 60`, 1)
	for _, test := range []struct {
		content string
		differs bool
	}{{python, false}, {other, true}, {"garbage", true}} {
		b := newBench(t)
		if err := b.values.CreatePointer(b.ctx, ref(configSub.Metaconfig)); err != nil {
			t.Fatal(err)
		}
		if _, err := b.values.Put(b.ctx, ref(configSub.Metaconfig), []byte(test.content), store.Write{}); err != nil {
			t.Fatal(err)
		}
		created, err := b.CreateConfig(b.ctx, "spam", "test_grey_list", store.Write{})
		if want := (Created{Subscription: configSub, Differs: test.differs}); err != nil || created != want {
			t.Errorf("got %+v, %v; want %+v", created, err, want)
		}
		if m, err := b.Get(b.ctx, configSub.Metaconfig); err != nil || string(m.Value.Content) != test.content {
			t.Errorf("the content became %q, %v", m.Value.Content, err)
		}
		b.wantZnode(t, configSub.ZKPath)
	}
}

// What a failed creation leaves, the next one completes.
func TestCreateAfterFailure(t *testing.T) {
	b := newBench(t)
	down := &store.Error{Op: "writing", Subject: "x", Kind: store.Unavailable}
	b.blobs.Fail = func(string, string) error { return down }
	_, err := b.CreateConfig(b.ctx, "spam", "test_grey_list", store.Write{})
	wantError(t, err, store.Unavailable, configSub.Metaconfig)
	b.blobs.Fail = nil
	if m, err := b.Get(b.ctx, configSub.Metaconfig); err != nil || m.Value.Version != "" || !errors.Is(m.Err, store.Invalid) {
		t.Errorf("got %+v, %v; want one that was never written", m, err)
	}
	b.config(t, "spam", "test_grey_list")
}

func TestConcurrentCreate(t *testing.T) {
	b := newBench(t)
	var news atomic.Int32
	var done sync.WaitGroup
	for range 8 {
		done.Go(func() {
			created, err := b.CreateConfig(b.ctx, "spam", "test_grey_list", store.Write{})
			if err != nil || created.Differs {
				t.Errorf("got %+v, %v", created, err)
			}
			if created.New {
				news.Add(1)
			}
		})
	}
	done.Wait()
	if n := news.Load(); n != 1 {
		t.Errorf("%d of them say that theirs is new, want one", n)
	}
}

func TestGetErrors(t *testing.T) {
	b := newBench(t)
	tests := []struct{ name, command string }{
		{"config.manageddata.a.b", "kingpin metaconfig create-config a b"},
		{"discovery.svc.prod", "kingpin metaconfig create-serverset svc prod"},
		{"config.services.x", "kingpin metaconfig set config.services.x FILE"},
	}
	for _, test := range tests {
		_, err := b.Get(b.ctx, test.name)
		wantError(t, err, store.NotFound, test.name, test.command)
	}
	_, err := b.Get(b.ctx, "a.dep")
	wantError(t, err, store.Invalid, "dependency")

	// The pointer is there, its content isn't: creating it is no remedy.
	if err := b.zn.Create(b.ctx, Path("x"), []byte("1448012345.67")); err != nil {
		t.Fatal(err)
	}
	_, err = b.Get(b.ctx, "x")
	wantError(t, err, store.NotFound, "x_1448012345/67")
	if strings.Contains(err.Error(), "creates it") {
		t.Errorf("error %q names a command that doesn't help", err)
	}
}

func TestList(t *testing.T) {
	b := newBench(t)
	if names, err := b.List(b.ctx); err != nil || len(names) != 0 {
		t.Errorf("List = %q, %v; want none in an empty fleet", names, err)
	}
	b.config(t, "b", "x")
	b.config(t, "a", "x")
	if err := b.zn.Create(b.ctx, LockPath("gone"), nil); err != nil {
		t.Fatal(err)
	}
	want := []string{"config.manageddata.a.x", "config.manageddata.b.x"}
	if names, err := b.List(b.ctx); err != nil || !slices.Equal(names, want) {
		t.Errorf("List = %q, %v; want %q", names, err, want)
	}
}

func TestSet(t *testing.T) {
	b := newBench(t)
	content := []byte(serversetExample)
	m, err := b.Set(b.ctx, "svc", content, SetOptions{Write: store.Write{Author: "ada"}})
	if err != nil || m.Value.Version == "" || len(m.Subscriptions) != 1 || m.Subscriptions[0].Metaconfig != "svc" {
		t.Fatalf("got %+v, %v", m, err)
	}
	wantParts(t, m.Warnings, []string{`znode "/discovery/test_service/prod" doesn't exist yet`})
	got, err := b.Get(b.ctx, "svc")
	if err != nil || string(got.Value.Content) != string(content) || got.Value.Author != "ada" {
		t.Errorf("got %+v, %v", got, err)
	}

	// The znode exists: nothing to warn of. The condition holds.
	if err := b.zn.Create(b.ctx, serversetSub.ZKPath, nil); err != nil {
		t.Fatal(err)
	}
	opts := SetOptions{Write: store.Write{Expect: &m.Value.Version}}
	if m, err := b.Set(b.ctx, "svc", content, opts); err != nil || m.Warnings != nil {
		t.Errorf("got %+v, %v; want no warnings", m, err)
	}
	_, err = b.Set(b.ctx, "svc", content, opts)
	wantError(t, err, store.Conflict, "svc")
	// Expecting a version creates nothing.
	_, err = b.Set(b.ctx, "other", content, opts)
	wantError(t, err, store.NotFound, "other")
	if names, err := b.List(b.ctx); err != nil || !slices.Equal(names, []string{"svc"}) {
		t.Errorf("List = %q, %v", names, err)
	}
}

func TestSetRefuses(t *testing.T) {
	b := newBench(t)
	_, err := b.Set(b.ctx, "m", []byte("[{}]"), SetOptions{})
	wantError(t, err, store.Invalid, "[0].command")
	_, err = b.Set(b.ctx, "m.dep", []byte(configExample), SetOptions{})
	wantError(t, err, store.Invalid, "m.dep")

	shell := []byte(strings.Replace(configExample, configCommand, configCommand+" && service x restart", 1))
	m, err := b.Set(b.ctx, "m", shell, SetOptions{})
	wantError(t, err, store.Invalid, "[0].command", "as root")
	wantParts(t, m.Warnings, []string{"service x restart"})
	if names, err := b.List(b.ctx); err != nil || len(names) != 0 {
		t.Errorf("List = %q, %v; want nothing created", names, err)
	}
	if _, err = b.Set(b.ctx, "m", shell, SetOptions{AllowShell: true}); err != nil {
		t.Error(err)
	}
}

// Writing a metaconfig is how one that can't be read is mended.
func TestSetMends(t *testing.T) {
	b := newBench(t)
	if err := b.zn.Create(b.ctx, Path("m"), []byte("no version")); err != nil {
		t.Fatal(err)
	}
	_, err := b.Get(b.ctx, "m")
	wantError(t, err, store.Invalid, "no version")
	if _, err := b.Set(b.ctx, "m", []byte(configExample), SetOptions{}); err != nil {
		t.Fatal(err)
	}
	if m, err := b.Get(b.ctx, "m"); err != nil || m.Err != nil {
		t.Errorf("got %+v, %v", m, err)
	}
}

func TestRemove(t *testing.T) {
	b := newBench(t)
	_, err := b.Remove(b.ctx, "config.manageddata.a.x", false)
	wantError(t, err, store.NotFound, "config.manageddata.a.x")

	name := b.config(t, "a", "x")
	other := b.config(t, "b", "x")
	b.dependency(t, "two.dep", name, other)
	b.dependency(t, "one.dep", name)
	b.dependency(t, "none.dep", other)

	_, err = b.Remove(b.ctx, name, false)
	wantError(t, err, store.Conflict, "one.dep, two.dep", "kingpin dependency remove one.dep "+name)
	if _, err := b.Get(b.ctx, name); err != nil {
		t.Errorf("a refused removal took it away: %v", err)
	}

	from, err := b.Remove(b.ctx, name, true)
	if err != nil || !slices.Equal(from, []string{"one.dep", "two.dep"}) {
		t.Errorf("removed from %q, %v", from, err)
	}
	if members, err := b.Members(b.ctx, "two.dep"); err != nil || !slices.Equal(members, []string{other}) {
		t.Errorf("members %q, %v; want %q alone", members, err, other)
	}
	if names, err := b.List(b.ctx); err != nil || !slices.Equal(names, []string{other}) {
		t.Errorf("List = %q, %v; want %q alone", names, err, other)
	}
	// The value itself is another matter.
	b.wantZnode(t, "/config/manageddata/a/x")
	_, err = b.Remove(b.ctx, "two.dep", true)
	wantError(t, err, store.Invalid, "two.dep")
}

func TestRemoveWithoutHolders(t *testing.T) {
	b := newBench(t)
	name := b.config(t, "a", "x")
	if from, err := b.Remove(b.ctx, name, false); err != nil || from != nil {
		t.Errorf("removed from %q, %v", from, err)
	}
	if children, _, err := b.zn.Children(b.ctx, "/metaconfig/metaconfig"); err != nil || len(children) != 0 {
		t.Errorf("%q are left, error %v", children, err)
	}
}

// Somebody else takes it out of a dependency at the same time.
func TestRemoveRace(t *testing.T) {
	b := newBench(t)
	name := b.config(t, "a", "x")
	b.dependency(t, "one.dep", name)
	b.zn.Fail = func(op, path string) error {
		if op == "delete" && path == "/metaconfig/dependency/one.dep/"+name {
			return &store.Error{Op: op, Subject: path, Kind: store.NotFound}
		}
		return nil
	}
	if _, err := b.Remove(b.ctx, name, true); err != nil {
		t.Error(err)
	}
}

func TestRemoveStopsAtFailure(t *testing.T) {
	b := newBench(t)
	name := b.config(t, "a", "x")
	for i := range 40 {
		b.dependency(t, fmt.Sprintf("%02d.dep", i), name)
	}
	b.zn.Fail = func(op, path string) error {
		if op == "get" && path == "/metaconfig/dependency/33.dep/"+name {
			return &store.Error{Op: op, Subject: path, Kind: store.Unavailable}
		}
		return nil
	}
	_, err := b.Remove(b.ctx, name, true)
	wantError(t, err, store.Unavailable, "33.dep")
	b.zn.Fail = nil
	if members, err := b.Members(b.ctx, "00.dep"); err != nil || len(members) != 1 {
		t.Errorf("members %q, %v; want nothing removed", members, err)
	}
}
