package integration

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"log/slog"
	"slices"
	"strconv"
	"testing"

	"github.com/kingpinfs/kingpin/managed"
)

// Programs read each kind of value from the files that a monitor serves, whichever
// face it shows, and are told of each change.
func TestProgramsReadEveryKindOfValue(t *testing.T) {
	t.Parallel()
	eachFace(t, func(t *testing.T, mode string) {
		f := newFleet(t, gofakes3)
		f.run("dependency", "create", "web.dep")
		for _, key := range []string{"list", "map", "mapped", "rules_json"} {
			f.newConfig("spam", key, "web.dep")
		}
		f.newConfig("admin", "decider", "web.dep")
		m := f.startMonitor(monitorConfig{Mode: mode, Dependencies: []string{"web.dep"}})
		options := managed.Options{Dir: m.config(""), Logger: slog.New(slog.DiscardHandler)}
		type document struct{ Limits map[string]int }

		list := opened(t, managed.NewList("spam", "list", options))
		fields := opened(t, managed.NewMap("spam", "map", options))
		lists := opened(t, managed.NewMappedList("spam", "mapped", options))
		rules := opened(t, managed.NewJSON[document]("spam", "rules_json", options))
		deciders := opened(t, managed.NewDecider(options))
		if list.Get().Len() != 0 || list.Err() == nil || deciders.Err() == nil {
			t.Errorf("before anything was written there is %d, %v", list.Get().Len(), list.Err())
		}
		wait := []string{"--wait", "--admin-addr", m.adminAddr}
		for _, value := range []string{"1", "22"} {
			f.run(append([]string{"list", "add", "spam.list", value}, wait...)...)
			awaitView(t, list.Watch(t.Context()), func(v *managed.ListView) bool { return v.Contains(value) })
			f.run(append([]string{"map", "set", "spam.map", "x", value}, wait...)...)
			awaitView(t, fields.Watch(t.Context()), func(v *managed.MapView) bool { text, _ := v.Text("x"); return text == value })
			f.run(append([]string{"mapped-list", "add", "spam.mapped", "x", value}, wait...)...)
			awaitView(t, lists.Watch(t.Context()), func(v *managed.MappedListView) bool { return v.List("x").Contains(value) })
			f.put("config.manageddata.spam.rules_json", `{"Limits": {"x": `+value+`}}`, wait...)
			awaitView(t, rules.Watch(t.Context()), func(d document) bool { return strconv.Itoa(d.Limits["x"]) == value })
			f.run(append([]string{"decider", "set", "x", value}, wait...)...)
			awaitView(t, deciders.Watch(t.Context()), func(v *managed.DeciderView) bool {
				// Of a hundred ids as many are in as the decider says.
				in := 0
				for id := range int64(100) {
					if v.IsIDInExperiment(id, "X") {
						in++
					}
				}
				return strconv.Itoa(in) == value
			})
		}
		if got := slices.Collect(list.Get().All()); !slices.Equal(got, []string{"1", "22"}) {
			t.Errorf("the list is %q", got)
		}
		if err := errors.Join(list.Err(), fields.Err(), lists.Err(), rules.Err(), deciders.Err()); err != nil {
			t.Error(err)
		}
	})
}

// opened opens a reader, which lasts as long as the test.
func opened[R interface {
	Open(ctx context.Context) error
	Close()
}](t testing.TB, r R) R {
	t.Helper()
	if err := r.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

// awaitView returns when what a reader knows is what is wanted.
func awaitView[V any](t testing.TB, views iter.Seq[V], want func(V) bool) {
	t.Helper()
	for view := range views {
		if want(view) {
			return
		}
	}
	t.Fatal("it is never as wanted")
}

// Every command that prints data prints JSON for programs.
func TestEveryOutputIsJSON(t *testing.T) {
	t.Parallel()
	f := newFleet(t, gofakes3)
	f.run("dependency", "create", "web.dep")
	m := f.startMonitor(monitorConfig{Mode: "plain", Dependencies: []string{"web.dep"}})
	for _, args := range [][]string{
		{"metaconfig", "create-config", "spam", "list"}, {"metaconfig", "create-config", "spam", "map"}, {"metaconfig", "create-config", "spam", "mapped"},
		{"metaconfig", "create-config", "admin", "decider"}, {"metaconfig", "create-serverset", "search", "prod"},
		{"metaconfig", "list"}, {"metaconfig", "show", "config.manageddata.spam.list"}, {"dependency", "list"}, {"dependency", "show", "web.dep"},
		{"list", "add", "spam.list", "a"}, {"list", "remove", "spam.list", "a"}, {"list", "set", "spam.list", "b"}, {"list", "show", "spam.list"}, {"list", "clear", "spam.list"},
		{"map", "set", "spam.map", "x", "1"}, {"map", "get", "spam.map", "x"}, {"map", "show", "spam.map"}, {"map", "unset", "spam.map", "x"}, {"map", "clear", "spam.map"},
		{"mapped-list", "add", "spam.mapped", "x", "1"}, {"mapped-list", "remove", "spam.mapped", "x", "1"}, {"mapped-list", "set", "spam.mapped", "x", "1"},
		{"mapped-list", "show", "spam.mapped"}, {"mapped-list", "unset", "spam.mapped", "x"},
		{"decider", "set", "x", "50"}, {"decider", "get", "x"}, {"decider", "list"}, {"decider", "check", "x", "--id", "1"}, {"decider", "unset", "x"},
		{"config", "list"}, {"config", "get", "config.manageddata.spam.list"}, {"config", "history", "config.manageddata.spam.list"},
		{"config", "diff", "config.manageddata.spam.list"}, {"config", "schema", "config.manageddata.spam.list", "--shape", "list"},
		{"status", "--admin-addr", m.adminAddr}, {"version"},
	} {
		var printed any
		if f.runJSON(&printed, args...); printed == nil {
			t.Errorf("kingpin %q prints null", args)
		}
	}
	var put struct{ Version string }
	if err := json.Unmarshal([]byte(f.put("config.manageddata.spam.list", `["c"]`, "--output", "json")), &put); err != nil || put.Version == "" {
		t.Errorf("config put prints %+v, %v", put, err)
	}
	f.run("list", "add", "spam.list", "d")
	var rolled struct{ Version string }
	if f.runJSON(&rolled, "config", "rollback", "config.manageddata.spam.list", put.Version); rolled.Version <= put.Version {
		t.Errorf("a rollback to %s is %+v", put.Version, rolled)
	}
}
