package managed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/kingpinfs/kingpin/metaconfig"
	"github.com/kingpinfs/kingpin/store"
)

var who = store.Write{Author: "ada", Comment: "why"}

func TestListWrites(t *testing.T) {
	b := newBench(t)
	file := b.config(t, "spam", "grey_list")
	list := NewList("spam", "grey_list", Options{Client: b.Client})
	steps := []struct {
		write func(ctx context.Context) (store.Value, error)
		want  string
		same  bool // nothing is published
	}{
		{func(ctx context.Context) (store.Value, error) { return list.Remove(ctx, who, "x") }, `[]`, false},
		{func(ctx context.Context) (store.Value, error) { return list.Add(ctx, who, "b", "a", "b") }, `["b", "a"]`, false},
		{func(ctx context.Context) (store.Value, error) { return list.Add(ctx, who, "a") }, `["b", "a"]`, true},
		{func(ctx context.Context) (store.Value, error) { return list.Add(ctx, who, "ä\"😀") }, `["b", "a", "\u00e4\"\ud83d\ude00"]`, false},
		{func(ctx context.Context) (store.Value, error) { return list.Remove(ctx, who, "b", "zzz") }, `["a", "\u00e4\"\ud83d\ude00"]`, false},
		{func(ctx context.Context) (store.Value, error) { return list.Set(ctx, who, "c", "b") }, `["c", "b"]`, false},
		{func(ctx context.Context) (store.Value, error) { return list.Set(ctx, who, "c", "b") }, `["c", "b"]`, true},
		{func(ctx context.Context) (store.Value, error) { return list.Set(ctx, who) }, `[]`, false},
	}
	var last store.Version
	for i, step := range steps {
		value, err := step.write(t.Context())
		if err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
		if (value.Version == last) != step.same || value.Version == "" {
			t.Errorf("step %d went from version %q to %q", i, last, value.Version)
		}
		last = value.Version
		b.want(t, file, step.want)
	}
	value, err := b.Get(t.Context(), file)
	if err != nil || value.Author != "ada" || value.Comment != "why" {
		t.Errorf("written by %q, %q, %v", value.Author, value.Comment, err)
	}
}

// What others wrote stays exactly as it was.
func TestWritesKeepWhatTheyDontKnow(t *testing.T) {
	b := newBench(t)
	const others = `[12345678901234567890123, 1.1, -0.0, 1e+16, "\ud83d\ude00", null, {"b": 1, "a": 2}, "5"`
	file := b.config(t, "spam", "grey_list")
	b.put(t, file, others+", 5]")
	list := NewList("spam", "grey_list", Options{Client: b.Client})
	if _, err := list.Add(t.Context(), who, "new"); err != nil {
		t.Fatal(err)
	}
	b.want(t, file, others+`, 5, "new"]`)
	if _, err := list.Remove(t.Context(), who, "5", "new"); err != nil {
		t.Fatal(err)
	}
	b.want(t, file, strings.TrimSuffix(others, `, "5"`)+"]")

	limits := b.config(t, "spam", "limits")
	b.put(t, limits, `{"z": {"y": 1e400, "x": 1}}`)
	m := NewMap("spam", "limits", Options{Client: b.Client})
	_, err := m.Set(t.Context(), who, "a", 1)
	if !errors.Is(err, store.Invalid) || !strings.Contains(err.Error(), "(/z/y): the number is not finite") {
		t.Errorf("a value beside one that isn't JSON: %v", err)
	}
	b.want(t, limits, `{"z": {"y": 1e400, "x": 1}}`)
}

func TestMapWrites(t *testing.T) {
	b := newBench(t)
	file := b.config(t, "spam", "limits")
	m := NewMap("spam", "limits", Options{Client: b.Client})
	for _, set := range []struct {
		name  string
		value any
	}{{"rate", 1.0}, {"burst", 10}, {"name", "<ä>"}, {"deep", map[string]any{"b": []int{1}, "a": nil}}, {"raw", json.RawMessage(`{"z":1e2,"big":123456789012345678901}`)}, {"burst", 11}} {
		if _, err := m.Set(t.Context(), who, set.name, set.value); err != nil {
			t.Fatal(err)
		}
	}
	b.want(t, file, `{"burst": 11, "deep": {"a": null, "b": [1]}, "name": "<\u00e4>", "rate": 1, "raw": {"big": 123456789012345678901, "z": 100.0}}`)
	if _, err := m.Unset(t.Context(), who, "deep", "raw", "none"); err != nil {
		t.Fatal(err)
	}
	b.want(t, file, `{"burst": 11, "name": "<\u00e4>", "rate": 1}`)
	view, value, err := m.Fetch(t.Context())
	if n, ok := view.Int("burst"); err != nil || !ok || n != 11 || value.Version == "" {
		t.Errorf("Fetch gives %d, %v at %q, %v", n, ok, value.Version, err)
	}
	if _, err := m.Clear(t.Context(), who); err != nil {
		t.Fatal(err)
	}
	b.want(t, file, `{}`)
	for _, bad := range []any{make(chan int), json.RawMessage(`{`)} {
		if _, err := m.Set(t.Context(), who, "bad", bad); !errors.Is(err, store.Invalid) {
			t.Errorf("Set of %v: %v", bad, err)
		}
	}
}

func TestMappedListWrites(t *testing.T) {
	b := newBench(t)
	file := b.config(t, "spam", "hosts")
	m := NewMappedList("spam", "hosts", Options{Client: b.Client})
	writes := []func(ctx context.Context) (store.Value, error){
		func(ctx context.Context) (store.Value, error) { return m.Add(ctx, who, "web", "b", "a") },
		func(ctx context.Context) (store.Value, error) { return m.Add(ctx, who, "db", "c") },
		func(ctx context.Context) (store.Value, error) { return m.Add(ctx, who, "web", "b", "d") },
		func(ctx context.Context) (store.Value, error) { return m.Remove(ctx, who, "db", "c") },
		func(ctx context.Context) (store.Value, error) { return m.Remove(ctx, who, "none", "c") },
		func(ctx context.Context) (store.Value, error) { return m.Set(ctx, who, "z", "1", "0") },
		func(ctx context.Context) (store.Value, error) { return m.Unset(ctx, who, "z2", "none") },
	}
	for _, write := range writes {
		if _, err := write(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	b.want(t, file, `{"db": [], "web": ["b", "a", "d"], "z": ["1", "0"]}`)
	if view, _, err := m.Fetch(t.Context()); err != nil || !view.List("web").Contains("d") || !view.Has("db") {
		t.Errorf("Fetch gives %v, %v", view, err)
	}
}

func TestJSONWrites(t *testing.T) {
	type document struct {
		Name  string `json:"name"`
		Extra any    `json:"extra,omitempty"`
	}
	b := newBench(t)
	file := b.config(t, "spam", "rules")
	j := NewJSON("spam", "rules", Options{Client: b.Client}, func(d document) error {
		if d.Name == "" {
			return errors.New("it has no name")
		}
		return nil
	})
	if d, value, err := j.Fetch(t.Context()); err != nil || d != (document{}) || value.Version != "" {
		t.Errorf("Fetch of nothing gives %+v, %v", d, err)
	}
	if _, err := j.Set(t.Context(), who, document{Name: "ä", Extra: 1.50}); err != nil {
		t.Fatal(err)
	}
	b.want(t, file, `{"name": "\u00e4", "extra": 1.5}`)
	const given = "{\n  \"extra\": 12345678901234567890,\n  \"name\": \"x\"\n}\n"
	if _, err := j.SetText(t.Context(), who, []byte(given)); err != nil {
		t.Fatal(err)
	}
	b.want(t, file, given)
	if _, err := j.Update(t.Context(), who, func(d document) (document, error) {
		d.Name += "y"
		return d, nil
	}); err != nil {
		t.Fatal(err)
	}
	b.want(t, file, `{"name": "xy", "extra": 12345678901234567890}`)
	_, err := j.Set(t.Context(), who, document{})
	_, err2 := j.SetText(t.Context(), who, []byte(`{"name": ""}`))
	_, err3 := j.Update(t.Context(), who, func(document) (document, error) { return document{}, nil })
	for _, err := range []error{err, err2, err3} {
		if !errors.Is(err, store.Invalid) || !strings.Contains(err.Error(), "it has no name") {
			t.Errorf("the validator's error is %v", err)
		}
	}
	b.want(t, file, `{"name": "xy", "extra": 12345678901234567890}`)
}

// What a validator refuses can't be written, and isn't believed when it is read.
func TestValidators(t *testing.T) {
	b, m := newBench(t), newMachine(t)
	options := m.options()
	options.Client = b.Client
	bad := errors.New("refused by the validator")
	refuse := func(what string) error {
		if strings.Contains(what, "bad") {
			return bad
		}
		return nil
	}
	list := NewList("spam", "list", options, refuse)
	fields := NewMap("spam", "map", options, func(field string, value json.RawMessage) error { return refuse(field + string(value)) })
	lists := NewMappedList("spam", "mapped", options, func(field, item string) error { return refuse(field + item) })
	document := NewJSON("spam", "json", options, func(d map[string]string) error { return refuse(d["a"]) })
	for key, test := range map[string]struct {
		good, bad string
		writes    []func(ctx context.Context) (store.Value, error)
		open      func()
		awaitBad  func()
		state     func() (good bool, err error)
		fetch     func() error
	}{
		"list": {
			`["good"]`, `["good", "bad"]`,
			[]func(ctx context.Context) (store.Value, error){
				func(ctx context.Context) (store.Value, error) { return list.Add(ctx, who, "fine", "bad") },
				func(ctx context.Context) (store.Value, error) { return list.Set(ctx, who, "bad") },
			},
			func() { opened(t, list) },
			func() { awaitChange(t, list.Reader, func() bool { return list.Err() != nil }) },
			func() (bool, error) { return list.Contains("good"), list.Err() },
			func() error { _, _, err := list.Fetch(t.Context()); return err },
		},
		"map": {
			`{"a": "good"}`, `{"a": "good", "b": "bad"}`,
			[]func(ctx context.Context) (store.Value, error){
				func(ctx context.Context) (store.Value, error) { return fields.Set(ctx, who, "a", "bad") },
				func(ctx context.Context) (store.Value, error) { return fields.Set(ctx, who, "bad", 1) },
			},
			func() { opened(t, fields) },
			func() { awaitChange(t, fields.Reader, func() bool { return fields.Err() != nil }) },
			func() (bool, error) { text, _ := fields.Get().Text("a"); return text == "good", fields.Err() },
			func() error { _, _, err := fields.Fetch(t.Context()); return err },
		},
		"mapped": {
			`{"a": ["good"]}`, `{"a": ["good", "bad"]}`,
			[]func(ctx context.Context) (store.Value, error){
				func(ctx context.Context) (store.Value, error) { return lists.Add(ctx, who, "a", "bad") },
				func(ctx context.Context) (store.Value, error) { return lists.Set(ctx, who, "bad", "x") },
			},
			func() { opened(t, lists) },
			func() { awaitChange(t, lists.Reader, func() bool { return lists.Err() != nil }) },
			func() (bool, error) { return lists.Contains("a", "good"), lists.Err() },
			func() error { _, _, err := lists.Fetch(t.Context()); return err },
		},
		"json": {
			`{"a": "good"}`, `{"a": "bad"}`,
			[]func(ctx context.Context) (store.Value, error){
				func(ctx context.Context) (store.Value, error) {
					return document.Set(ctx, who, map[string]string{"a": "bad"})
				},
			},
			func() { opened(t, document) },
			func() { awaitChange(t, document.Reader, func() bool { return document.Err() != nil }) },
			func() (bool, error) { return document.Get()["a"] == "good", document.Err() },
			func() error { _, _, err := document.Fetch(t.Context()); return err },
		},
	} {
		t.Run(key, func(t *testing.T) {
			file := b.config(t, "spam", key)
			b.put(t, file, test.good)
			for i, write := range test.writes {
				if _, err := write(t.Context()); !errors.Is(err, store.Invalid) || !errors.Is(err, bad) {
					t.Errorf("write %d: %v", i, err)
				}
			}
			b.want(t, file, test.good)
			m.write(t, file, test.good)
			test.open()
			m.write(t, file, test.bad)
			test.awaitBad()
			if good, err := test.state(); !good || !errors.Is(err, bad) {
				t.Errorf("of a bad file the good content stays: %v, %v", good, err)
			}
			b.put(t, file, test.bad)
			if err := test.fetch(); !errors.Is(err, store.Invalid) || !errors.Is(err, bad) {
				t.Errorf("Fetch: %v", err)
			}
		})
	}
}

func TestDeciderWrites(t *testing.T) {
	b := newBench(t)
	file := b.config(t, "admin", "decider")
	d := NewDecider(Options{Client: b.Client})
	for name, value := range map[string]int{"new_feed": 50, "always": 100, "never": 0} {
		if _, err := d.Set(t.Context(), who, name, value); err != nil {
			t.Fatal(err)
		}
	}
	b.want(t, file, `{"always": 100, "never": 0, "new_feed": 50}`)
	if _, err := d.Unset(t.Context(), who, "never"); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]int{"a": 101, "b": -1, "C": 1, "": 1, "a/b": 1, "a\xff": 1} {
		if _, err := d.Set(t.Context(), who, name, value); !errors.Is(err, store.Invalid) {
			t.Errorf("Set(%q, %d): %v", name, value, err)
		}
	}
	b.want(t, file, `{"always": 100, "new_feed": 50}`)

	// What somebody else got wrong isn't in the way.
	b.put(t, file, `{"UPPER": 1, "bad": 101}`)
	if _, err := d.Set(t.Context(), who, "good", 1); err != nil {
		t.Error(err)
	}
	b.want(t, file, `{"UPPER": 1, "bad": 101, "good": 1}`)
	if _, err := NewMap("admin", "decider", Options{Client: b.Client}).Set(t.Context(), who, "x", 101); !errors.Is(err, store.Invalid) {
		t.Errorf("Set of a bad decider as a map's field: %v", err)
	}
	if _, err := b.Put(t.Context(), file, []byte(`{"bad": 101}`), who); !errors.Is(err, store.Invalid) {
		t.Errorf("Put of a bad map: %v", err)
	}
}

// Whoever writes at the same time as others loses nothing.
func TestConcurrentWrites(t *testing.T) {
	b := newBench(t)
	file := b.config(t, "spam", "grey_list")
	deciders := b.config(t, "admin", "decider")
	var group errgroup.Group
	const writers, each = 8, 10
	for w := range writers {
		list := NewList("spam", "grey_list", Options{Client: NewClient(b.values)})
		decider := NewDecider(Options{Client: NewClient(b.values)})
		group.Go(func() error {
			for i := range each {
				_, err := list.Add(t.Context(), who, fmt.Sprintf("%d-%d", w, i))
				_, err2 := decider.Set(t.Context(), who, fmt.Sprintf("d%d", w), i)
				if err := errors.Join(err, err2); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	view, _, err := NewList("spam", "grey_list", Options{Client: b.Client}).Fetch(t.Context())
	if err != nil || view.Len() != writers*each || len(view.has) != writers*each {
		t.Errorf("of %d items there are %d, %v", writers*each, view.Len(), err)
	}
	value, err := b.Get(t.Context(), deciders)
	if err != nil || strings.Count(string(value.Content), fmt.Sprintf(": %d", each-1)) != writers {
		t.Errorf("the deciders are %s, %v", value.Content, err)
	}
	if _, err := b.Get(t.Context(), file); err != nil {
		t.Error(err)
	}
}

func TestWriteErrors(t *testing.T) {
	b := newBench(t)
	list := NewList("spam", "grey_list", Options{Client: b.Client})
	_, err := list.Add(t.Context(), who, "a")
	if !errors.Is(err, store.NotFound) || !strings.Contains(err.Error(), "`kingpin metaconfig create-config spam grey_list` creates it") {
		t.Errorf("Add to nothing: %v", err)
	}
	file := b.config(t, "spam", "grey_list")
	b.put(t, file, "{\n}")
	_, err = list.Add(t.Context(), who, "a")
	if !errors.Is(err, store.Invalid) || !strings.Contains(err.Error(), `changing "config.manageddata.spam.grey_list" at version`) ||
		!strings.Contains(err.Error(), "invalid list: line 1, column 1: want a JSON array, not an object") {
		t.Errorf("Add to a map: %v", err)
	}
	if _, err := list.Add(t.Context(), who, "\xff"); !errors.Is(err, store.Invalid) {
		t.Errorf("Add of what isn't UTF-8: %v", err)
	}
	version := b.put(t, file, "[]")
	old := store.Version("1.0")
	if _, err := list.Add(t.Context(), store.Write{Expect: &old}, "a"); !errors.Is(err, store.Conflict) {
		t.Errorf("Add to another version: %v", err)
	}
	if _, err := list.Add(t.Context(), store.Write{Expect: &version}, "a"); err != nil {
		t.Errorf("Add to the expected version: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := list.Add(ctx, who, "b"); store.KindOf(err) != store.Unavailable && !errors.Is(err, context.Canceled) {
		t.Errorf("Add without time: %v", err)
	}
}

func TestSchemaOfAConfig(t *testing.T) {
	b := newBench(t)
	file := b.config(t, "spam", "grey_list")
	list := NewList("spam", "grey_list", Options{Client: b.Client})
	if _, err := b.Schema(t.Context(), file); !errors.Is(err, store.NotFound) {
		t.Errorf("Schema of none: %v", err)
	}
	if err := b.RemoveSchema(t.Context(), file); !errors.Is(err, store.NotFound) {
		t.Errorf("RemoveSchema of none: %v", err)
	}
	const schema = `{"type": "array", "items": {"format": "ipv4"}}`
	if _, err := b.SetSchema(t.Context(), file, []byte(`{"type": 1}`), who); !errors.Is(err, store.Invalid) {
		t.Errorf("SetSchema of none: %v", err)
	}
	if _, err := b.SetSchema(t.Context(), "config.manageddata.no.such", []byte(schema), who); !errors.Is(err, store.NotFound) {
		t.Errorf("SetSchema of no config: %v", err)
	}
	if _, err := b.SetSchema(t.Context(), file, []byte(schema), who); err != nil {
		t.Fatal(err)
	}
	if got, err := b.Schema(t.Context(), file); err != nil || string(got.Content) != schema || got.Author != "ada" {
		t.Errorf("the schema is %+v, %v", got, err)
	}
	if _, err := list.Add(t.Context(), who, "10.0.0.1"); err != nil {
		t.Error(err)
	}
	_, err := list.Add(t.Context(), who, "10.0.0")
	if !errors.Is(err, store.Invalid) || !strings.Contains(err.Error(), "the config's schema refuses it: line 1, column 14 (/1): '10.0.0' is not valid ipv4") {
		t.Errorf("Add of what the schema refuses: %v", err)
	}
	if _, err := b.Put(t.Context(), file, []byte(`{}`), who); !errors.Is(err, store.Invalid) {
		t.Errorf("Put of what the schema refuses: %v", err)
	}
	b.want(t, file, `["10.0.0.1"]`)
	// Another schema counts at once, and none too.
	if _, err := b.SetSchema(t.Context(), file, []byte(`{"maxItems": 2}`), who); err != nil {
		t.Fatal(err)
	}
	if _, err := list.Add(t.Context(), who, "x"); err != nil {
		t.Error(err)
	}
	if _, err := list.Add(t.Context(), who, "y"); !errors.Is(err, store.Invalid) {
		t.Errorf("Add of one too many: %v", err)
	}
	if err := b.RemoveSchema(t.Context(), file); err != nil {
		t.Fatal(err)
	}
	if _, err := list.Add(t.Context(), who, "y"); err != nil {
		t.Error(err)
	}
	// One that can't be understood lets nothing pass, and says what to do.
	if err := b.values.CreatePointer(t.Context(), schemaRef(file)); err != nil {
		t.Fatal(err)
	}
	if _, err := b.values.Put(t.Context(), schemaRef(file), []byte("{"), who); err != nil {
		t.Fatal(err)
	}
	if _, err := list.Add(t.Context(), who, "z"); !errors.Is(err, store.Invalid) || !strings.Contains(err.Error(), "kingpin config schema "+file+" FILE") {
		t.Errorf("Add under a bad schema: %v", err)
	}
}

// Where a value is kept is what its metaconfig says.
func TestRefFollowsTheMetaconfig(t *testing.T) {
	b := newBench(t)
	metaconfigs := metaconfig.NewClient(b.values, b.zn)
	if _, err := metaconfigs.CreateConfig(t.Context(), "spam", "grey_list", who); err != nil {
		t.Fatal(err)
	}
	const file = "config.manageddata.spam.grey_list"
	set := func(options string) {
		t.Helper()
		content := `[{"zk_path": "/config/manageddata/spam/grey_list", "type": "config", "command": "zk_download_data.py -f /var/config/` + file + options + `"}]`
		if _, err := metaconfigs.Set(t.Context(), file, []byte(content), metaconfig.SetOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	set(" --from-s3 /data/elsewhere/x")
	list := NewList("spam", "grey_list", Options{Client: b.Client})
	if _, err := list.Add(t.Context(), who, "a"); err != nil {
		t.Fatal(err)
	}
	want := store.Ref{Path: "/config/manageddata/spam/grey_list", Prefix: "data/elsewhere/x"}
	if ref, err := b.Ref(t.Context(), file); err != nil || ref != want {
		t.Errorf("the value is at %+v, %v", ref, err)
	}
	if value, err := b.values.Get(t.Context(), want); err != nil || string(value.Content) != `["a"]` {
		t.Errorf("there is %q, %v", value.Content, err)
	}
	set("")
	if _, err := list.Add(t.Context(), who, "b"); !errors.Is(err, store.Invalid) || !strings.Contains(err.Error(), "it has no versions") {
		t.Errorf("Add to a value in the znode: %v", err)
	}
	for _, bad := range []string{"", "a/b", "config..x"} {
		if _, err := b.Get(t.Context(), bad); !errors.Is(err, store.Invalid) {
			t.Errorf("Get(%q): %v", bad, err)
		}
	}
}
