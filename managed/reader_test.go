package managed

import (
	"context"
	"errors"
	iofs "io/fs"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/kingpinfs/kingpin/store"
)

const listFile = "config.manageddata.spam.grey_list"

func (m machine) options() Options {
	return Options{Dir: string(m), Logger: slog.New(slog.DiscardHandler)}
}

func items(v *ListView) string { return strings.Join(slices.Collect(v.All()), " ") }

func TestReaderFollowsTheFile(t *testing.T) {
	m := newMachine(t)
	list := opened(t, NewList("Spam", "grey_list", m.options()))
	if !errors.Is(list.Err(), iofs.ErrNotExist) || list.Get().Len() != 0 || list.Contains("a") {
		t.Errorf("without a file there is %q, %v", items(list.Get()), list.Err())
	}
	impatient, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("no time"))
	if err := list.Wait(impatient); err == nil || !strings.Contains(err.Error(), "no time") || !errors.Is(err, iofs.ErrNotExist) {
		t.Errorf("Wait: %v", err)
	}

	m.write(t, listFile, `["a", "b"]`)
	if err := list.Wait(t.Context()); err != nil || items(list.Get()) != "a b" || list.Err() != nil {
		t.Fatalf("the list is %q, %v, %v", items(list.Get()), err, list.Err())
	}
	old := list.Get()
	m.write(t, listFile, `["b", 5, 1.50, null, {"z": 1, "a": [true]}]`)
	awaitChange(t, list.Reader, func() bool { return list.Contains("5") })
	if got := items(list.Get()); got != `b 5 1.5 null {"a": [true], "z": 1}` || list.Get().At(1) != "5" {
		t.Errorf("the list is %q", got)
	}
	if items(old) != "a b" || !old.Contains("a") {
		t.Errorf("the old snapshot became %q", items(old))
	}
}

func TestReaderKeepsTheLastGoodContent(t *testing.T) {
	m := newMachine(t)
	m.write(t, listFile, `["good"]`)
	refuse := errors.New("refused by the validator")
	list := opened(t, NewList("spam", "grey_list", m.options(), func(item string) error {
		if item == "bad" {
			return refuse
		}
		return nil
	}))
	for content, want := range map[string]string{
		`{"a": 1}`:        "line 1, column 1: want a JSON array, not an object",
		`["good", "bad"]`: `item "bad": refused by the validator`,
		"[\n1,,]":         "line 2, column 3",
		"":                "it is empty",
	} {
		m.write(t, listFile, content)
		awaitChange(t, list.Reader, func() bool { return list.Err() != nil && strings.Contains(list.Err().Error(), want) })
		if items(list.Get()) != "good" {
			t.Errorf("%s made the list %q", content, items(list.Get()))
		}
	}
	m.remove(t, listFile)
	awaitChange(t, list.Reader, func() bool { return errors.Is(list.Err(), iofs.ErrNotExist) })
	if !list.Contains("good") {
		t.Error("without a file the last good content is gone")
	}
	m.write(t, listFile, `["better"]`)
	awaitChange(t, list.Reader, func() bool { return list.Contains("better") && list.Err() == nil })
}

func TestWatch(t *testing.T) {
	m := newMachine(t)
	list := opened(t, NewList("spam", "grey_list", m.options()))
	contents := []string{`["1"]`, `["1", "2"]`, `["1", "2", "3"]`}
	var seen []string
	m.write(t, listFile, contents[0])
	for view := range list.Watch(t.Context()) {
		seen = append(seen, items(view))
		if view.Len() == len(contents) {
			break
		}
		m.write(t, listFile, contents[view.Len()])
	}
	if want := []string{"1", "1 2", "1 2 3"}; !slices.Equal(seen, want) {
		t.Errorf("seen %q, want %q", seen, want)
	}

	// Who comes late starts with what is current; the last one always comes.
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for view := range list.Watch(ctx) {
		if view.Len() != 3 {
			t.Errorf("the current list is %q", items(view))
		}
		cancel()
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range list.Watch(context.Background()) {
		}
	}()
	list.Close()
	<-done
	if !errors.Is(list.Err(), errClosed) || list.Get().Len() != 3 {
		t.Errorf("a closed list has %q, %v", items(list.Get()), list.Err())
	}
}

// Readers wait for nobody: with the lock held, and the file changing, all answers
// come.
func TestReadingTakesNoLock(t *testing.T) {
	m := newMachine(t)
	m.write(t, listFile, `["a"]`)
	m.write(t, DeciderFile, `{"x": 100}`)
	list, deciders := opened(t, NewList("spam", "grey_list", m.options())), opened(t, NewDecider(m.options()))
	list.mu.Lock()
	defer list.mu.Unlock()
	deciders.mu.Lock()
	defer deciders.mu.Unlock()
	if !list.Contains("a") || list.Get().Len() != 1 || list.Err() != nil || list.Wait(t.Context()) != nil {
		t.Errorf("the list is %q, %v", items(list.Get()), list.Err())
	}
	m.write(t, listFile, `["a", "b"]`)
	for view := range list.Watch(t.Context()) {
		if view.Contains("b") {
			break
		}
	}
	if !deciders.DecideExperiment("x") || !deciders.IsIDInExperiment(99, "x") || !deciders.IsHashedIDInExperiment("0", "x") {
		t.Error("the decider isn't 100")
	}
}

func TestReaderErrors(t *testing.T) {
	m := newMachine(t)
	bad := NewList("spam", "grey.list", m.options())
	if err := bad.Open(t.Context()); !errors.Is(err, store.Invalid) {
		t.Errorf("Open with a bad key: %v", err)
	}
	if _, err := bad.Add(t.Context(), store.Write{}, "x"); !errors.Is(err, store.Invalid) {
		t.Errorf("Add with a bad key: %v", err)
	}
	list := NewList("spam", "grey_list", m.options())
	list.Close() // nothing to do
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("no time"))
	if err := list.Open(ctx); err != nil && !strings.Contains(err.Error(), "no time") {
		t.Errorf("Open: %v", err)
	}
	list.Close()
	if err := list.Wait(t.Context()); !errors.Is(err, errClosed) {
		t.Errorf("Wait for a closed list: %v", err)
	}
	if err := list.Open(t.Context()); !errors.Is(err, errOpen) {
		t.Errorf("a second Open: %v", err)
	}
	if _, _, err := list.Fetch(t.Context()); err == nil || !strings.Contains(err.Error(), "Options.Client") {
		t.Errorf("Fetch without a client: %v", err)
	}
}

func TestMapAndMappedListViews(t *testing.T) {
	m := newMachine(t)
	m.write(t, "config.manageddata.spam.limits", `{"rate": 1.10, "burst": 12345678901234567890123, "n": 7, "name": "x\u00e4", "deep": {"b": 1, "a": 2}}`)
	limits := opened(t, NewMap("spam", "limits", m.options()))
	view := limits.Get()
	if got := strings.Join(slices.Collect(view.Names()), " "); got != "burst deep n name rate" || view.Len() != 5 {
		t.Errorf("the names are %q", got)
	}
	for name, want := range map[string]string{"rate": "1.1", "burst": "12345678901234567890123", "name": "xä", "deep": `{"a": 2, "b": 1}`} {
		if got, ok := view.Text(name); !ok || got != want {
			t.Errorf("%s is %q, %v", name, got, ok)
		}
		if _, ok := view.Int(name); ok {
			t.Errorf("%s is an int64", name)
		}
	}
	if n, ok := view.Int("n"); !ok || n != 7 {
		t.Errorf("n is %d, %v", n, ok)
	}
	if string(view.JSON("name")) != `"x\u00e4"` || view.JSON("none") != nil {
		t.Errorf("JSON gives %s and %s", view.JSON("name"), view.JSON("none"))
	}
	var deep struct{ A, B int }
	if err := view.Decode("deep", &deep); err != nil || deep.A != 2 || deep.B != 1 {
		t.Errorf("Decode gives %+v, %v", deep, err)
	}
	if err := view.Decode("none", &deep); !errors.Is(err, store.NotFound) {
		t.Errorf("Decode of nothing: %v", err)
	}
	if err := view.Decode("n", &deep); !errors.Is(err, store.Invalid) {
		t.Errorf("Decode of what doesn't fit: %v", err)
	}

	m.write(t, "config.manageddata.spam.hosts", `{"b": ["x", "y"], "a": []}`)
	hosts := opened(t, NewMappedList("spam", "hosts", m.options()))
	lists := hosts.Get()
	if got := strings.Join(slices.Collect(lists.Names()), " "); got != "a b" || lists.Len() != 2 || !lists.Has("a") || lists.Has("c") {
		t.Errorf("the names are %q", got)
	}
	if !hosts.Contains("b", "y") || hosts.Contains("a", "y") || lists.List("c").Len() != 0 || items(lists.List("b")) != "x y" {
		t.Errorf("the lists are wrong")
	}
}
