package metaconfig

import (
	"slices"
	"testing"

	"github.com/kingpinfs/kingpin/store"
)

func TestDependencies(t *testing.T) {
	b := newBench(t)
	if names, err := b.ListDependencies(b.ctx); err != nil || len(names) != 0 {
		t.Errorf("ListDependencies = %q, %v; want none in an empty fleet", names, err)
	}
	for _, wantCreated := range []bool{true, false} {
		if created, err := b.CreateDependency(b.ctx, "a.dep"); err != nil || created != wantCreated {
			t.Errorf("CreateDependency = %v, %v; want %v", created, err, wantCreated)
		}
	}
	b.dependency(t, "base.dep")
	if names, err := b.ListDependencies(b.ctx); err != nil || !slices.Equal(names, []string{"a.dep", "base.dep"}) {
		t.Errorf("ListDependencies = %q, %v", names, err)
	}

	name := b.config(t, "spam", "x")
	for _, wantAdded := range []bool{true, false} {
		if added, err := b.AddMember(b.ctx, "a.dep", name); err != nil || added != wantAdded {
			t.Errorf("AddMember = %v, %v; want %v", added, err, wantAdded)
		}
	}
	// Cycles are allowed.
	for _, pair := range [][2]string{{"a.dep", "base.dep"}, {"base.dep", "a.dep"}, {"a.dep", "a.dep"}} {
		if added, err := b.AddMember(b.ctx, pair[0], pair[1]); err != nil || !added {
			t.Errorf("AddMember = %v, %v; want it added", added, err)
		}
	}
	if members, err := b.Members(b.ctx, "a.dep"); err != nil || !slices.Equal(members, []string{"a.dep", "base.dep", name}) {
		t.Errorf("members %q, %v", members, err)
	}
	if data := b.wantZnode(t, "/metaconfig/dependency/a.dep/"+name); len(data) != 0 {
		t.Errorf("the member holds %q, want nothing", data)
	}

	g, err := b.Walk(b.ctx, "base.dep")
	if err != nil || len(g.Metaconfigs) != 1 || g.Metaconfigs[0].Name != name || !slices.Equal(g.Metaconfigs[0].Via, []string{"base.dep", "a.dep"}) {
		t.Errorf("got %+v, %v", g, err)
	}

	if err := b.RemoveMember(b.ctx, "a.dep", name); err != nil {
		t.Fatal(err)
	}
	wantError(t, b.RemoveMember(b.ctx, "a.dep", name), store.NotFound, name, "kingpin dependency show a.dep")
	if members, err := b.Members(b.ctx, "a.dep"); err != nil || !slices.Equal(members, []string{"a.dep", "base.dep"}) {
		t.Errorf("members %q, %v", members, err)
	}
}

func TestDependencyErrors(t *testing.T) {
	b := newBench(t)
	b.dependency(t, "a.dep")
	_, err := b.CreateDependency(b.ctx, "a")
	wantError(t, err, store.Invalid, ".dep")
	_, err = b.Members(b.ctx, "gone.dep")
	wantError(t, err, store.NotFound, "kingpin dependency create gone.dep")
	_, err = b.Members(b.ctx, "x")
	wantError(t, err, store.Invalid, ".dep")

	adds := []struct {
		dependency, member string
		kind               store.Kind
		says               string
	}{
		{"gone.dep", "a.dep", store.NotFound, "kingpin dependency create gone.dep"},
		{"a.dep", "gone.dep", store.NotFound, "kingpin dependency create gone.dep"},
		{"a.dep", "config.manageddata.a.b", store.NotFound, "kingpin metaconfig create-config a b"},
		{"a", "a.dep", store.Invalid, ".dep"},
		{"a.dep", "x/y", store.Invalid, "slash"},
		{"a.dep", "x.lock", store.Invalid, "lock"},
	}
	for _, add := range adds {
		_, err := b.AddMember(b.ctx, add.dependency, add.member)
		wantError(t, err, add.kind, add.says)
	}
	wantError(t, b.RemoveMember(b.ctx, "a", "x"), store.Invalid, ".dep")
	wantError(t, b.RemoveMember(b.ctx, "a.dep", "../x"), store.Invalid, "slash")
	if members, err := b.Members(b.ctx, "a.dep"); err != nil || len(members) != 0 {
		t.Errorf("members %q, %v; want none", members, err)
	}
}

// Whatever somebody made a member can be taken out again.
func TestRemoveBadMember(t *testing.T) {
	b := newBench(t)
	b.dependency(t, "a.dep")
	for _, member := range []string{".dep", "gone", "x.lock"} {
		if err := b.zn.Create(b.ctx, "/metaconfig/dependency/a.dep/"+member, nil); err != nil {
			t.Fatal(err)
		}
		if err := b.RemoveMember(b.ctx, "a.dep", member); err != nil {
			t.Error(err)
		}
	}
}

func TestClientTree(t *testing.T) {
	b := newBench(t)
	name := b.config(t, "spam", "x")
	b.dependency(t, "b.dep", name)
	b.dependency(t, "a.dep", name, "b.dep")
	b.dependency(t, "b.dep", "a.dep")
	if err := b.zn.Create(b.ctx, "/metaconfig/dependency/b.dep/gone", nil); err != nil {
		t.Fatal(err)
	}
	tree, err := b.Tree(b.ctx, "a.dep")
	if err != nil {
		t.Fatal(err)
	}
	want := "a.dep\n  b.dep\n    a.dep (cycle)\n    " + name + "\n    gone (missing)\n  " + name + "\n"
	if got := draw(tree, ""); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	_, err = b.Tree(b.ctx, "gone.dep")
	wantError(t, err, store.NotFound, "kingpin dependency create gone.dep")
	_, err = b.Tree(b.ctx, "x")
	wantError(t, err, store.Invalid)

	b.zn.Fail = func(op, path string) error {
		if path == "/metaconfig/dependency/b.dep" {
			return &store.Error{Op: op, Subject: path, Kind: store.Unavailable}
		}
		return nil
	}
	if tree, err = b.Tree(b.ctx, "a.dep"); err != nil || tree.Members[0].Mark != Failed || tree.Members[0].Problem == "" {
		t.Errorf("got %+v, %v; want b.dep marked as failed", tree, err)
	}
}
