package serverset

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// provided is a Provider to be tested, and what changes its endpoints.
type provided struct {
	Provider
	set func(endpoints ...string)
}

// everyProvider calls a test with each kind of provider, open and with one
// endpoint, a:1.
func everyProvider(t *testing.T, test func(t *testing.T, p provided)) {
	t.Run("Static", func(t *testing.T) { test(t, ofStatic(t)) })
	t.Run("File", func(t *testing.T) { test(t, ofFile(t)) })
	t.Run("Fallback to the second", func(t *testing.T) {
		p := ofStatic(t)
		test(t, provided{Fallback(mustStatic(t), p), p.set})
	})
	t.Run("Fallback with the first", func(t *testing.T) {
		p := ofFile(t)
		test(t, provided{Fallback(p, mustStatic(t, "other:1")), p.set})
	})
}

func mustStatic(t *testing.T, endpoints ...string) *Static {
	t.Helper()
	s, err := NewStatic(endpoints...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func ofStatic(t *testing.T) provided {
	t.Helper()
	s := mustStatic(t, "a:1")
	return provided{s, func(endpoints ...string) {
		t.Helper()
		if err := s.Set(endpoints...); err != nil {
			t.Fatal(err)
		}
	}}
}

func ofFile(t *testing.T) provided {
	t.Helper()
	path := filepath.Join(t.TempDir(), "discovery.search.prod")
	replace(t, path, "a:1\n")
	f := openFile(t, path, FileOptions{})
	return provided{f, func(endpoints ...string) {
		t.Helper()
		replace(t, path, strings.Join(endpoints, "\n"))
		await(t, f, "the file's content", func(now []string) bool {
			return slices.Equal(now, slices.Compact(slices.Sorted(slices.Values(endpoints))))
		})
	}}
}

// replace puts a file in the place of another.
func replace(t *testing.T, path, content string) {
	t.Helper()
	aside := path + ".new"
	if err := os.WriteFile(aside, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(aside, path); err != nil {
		t.Fatal(err)
	}
}

// await returns when the endpoints are what a test waits for.
func await(t *testing.T, p Provider, what string, done func(endpoints []string) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var last []string
	for endpoints := range p.Watch(ctx) {
		if last = endpoints; done(endpoints) {
			return
		}
	}
	t.Fatalf("waited in vain for %s; the endpoints are %q", what, last)
}

// watching is a watch whose lists are taken one by one.
type watching struct {
	t     *testing.T
	lists chan []string
	stop  context.CancelFunc
	ended chan struct{}
}

func watch(t *testing.T, p Provider) *watching {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	w := &watching{t: t, lists: make(chan []string), stop: cancel, ended: make(chan struct{})}
	go func() {
		defer close(w.ended)
		for endpoints := range p.Watch(ctx) {
			select {
			case w.lists <- endpoints:
			case <-ctx.Done():
			}
		}
	}()
	t.Cleanup(func() {
		cancel()
		w.ends()
	})
	return w
}

func (w *watching) wants(endpoints ...string) {
	w.t.Helper()
	select {
	case list := <-w.lists:
		if !slices.Equal(list, endpoints) {
			w.t.Fatalf("the watch yields %q, want %q", list, endpoints)
		}
	case <-time.After(patience):
		w.t.Fatalf("the watch doesn't yield %q", endpoints)
	}
}

func (w *watching) ends() {
	w.t.Helper()
	select {
	case <-w.ended:
	case <-time.After(patience):
		w.t.Fatal("the watch doesn't end")
	}
}

func TestProvidersShowTheNewest(t *testing.T) {
	everyProvider(t, func(t *testing.T, p provided) {
		if got := p.Endpoints(); !slices.Equal(got, []string{"a:1"}) {
			t.Fatalf("the endpoints are %q", got)
		}
		snapshot := p.Endpoints()
		p.set("c:1", "b:1", "c:1")
		if got := p.Endpoints(); !slices.Equal(got, []string{"b:1", "c:1"}) {
			t.Fatalf("the endpoints are %q, want them sorted and without duplicates", got)
		}
		if !slices.Equal(snapshot, []string{"a:1"}) {
			t.Fatalf("a snapshot has become %q", snapshot)
		}
	})
}

func TestWatchesBeginWithWhatThereIs(t *testing.T) {
	everyProvider(t, func(t *testing.T, p provided) {
		w := watch(t, p)
		w.wants("a:1")
		p.set("b:1")
		w.wants("b:1")
		late := watch(t, p)
		late.wants("b:1")
		p.set("c:1")
		w.wants("c:1")
		late.wants("c:1")
	})
}

// A watch whose caller is busy holds up nobody, and goes on with the newest.
func TestWatchesNeverHoldUpThePublisher(t *testing.T) {
	everyProvider(t, func(t *testing.T, p provided) {
		var seen []string
		for endpoints := range p.Watch(t.Context()) {
			seen = append(seen, endpoints...)
			if len(seen) == 1 {
				p.set("b:1")
				p.set("c:1")
				p.set("d:1")
			}
			if endpoints[0] == "d:1" {
				break
			}
		}
		if !slices.Equal(seen, []string{"a:1", "d:1"}) {
			t.Fatalf("the watch yields %q, want those that were overtaken left out", seen)
		}
	})
}

func TestWatchesEndWithTheirContext(t *testing.T) {
	everyProvider(t, func(t *testing.T, p provided) {
		w := watch(t, p)
		w.wants("a:1")
		w.stop()
		w.ends()
		for range p.Watch(canceled(t)) {
			t.Fatal("a watch yields although its context has ended")
		}
	})
}

func canceled(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

func TestStaticRefusesWhatIsNoEndpoint(t *testing.T) {
	if s, err := NewStatic("a:1", "b"); err == nil || !strings.Contains(err.Error(), `"b"`) {
		t.Errorf("NewStatic gives %v and %v, want an error with the endpoint", s, err)
	}
	s := mustStatic(t, "a:1")
	if err := s.Set("c:1", "b:70000"); err == nil || !slices.Equal(s.Endpoints(), []string{"a:1"}) {
		t.Errorf("Set gives %v and leaves %q", err, s.Endpoints())
	}
}

// What was set again is no news.
func TestStaticTellsNews(t *testing.T) {
	s := mustStatic(t, "a:1", "b:1")
	w := watch(t, s)
	w.wants("a:1", "b:1")
	if err := s.Set("b:1", "a:1", "a:1"); err != nil {
		t.Fatal(err)
	}
	if err := s.Set("c:1"); err != nil {
		t.Fatal(err)
	}
	w.wants("c:1")
}

// The second provider serves until the first has something, for the first time.
func TestFallback(t *testing.T) {
	path := filepath.Join(t.TempDir(), "discovery.search.prod")
	file := openFile(t, path, FileOptions{})
	second := mustStatic(t, "static:1")
	p := Fallback(file, second)
	w := watch(t, p)
	w.wants("static:1")
	if err := second.Set("static:2"); err != nil {
		t.Fatal(err)
	}
	w.wants("static:2")
	replace(t, path, "") // still none
	replace(t, path, "a:1\n")
	w.wants("a:1")
	// What the second has is of no interest any more, whatever the file has.
	if err := second.Set("static:3"); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	awaitErr(t, file, os.ErrNotExist)
	if got := p.Endpoints(); !slices.Equal(got, []string{"a:1"}) {
		t.Fatalf("the endpoints are %q", got)
	}
	replace(t, path, "b:1\n")
	w.wants("b:1")
	file.Close()
	w.ends()
}
