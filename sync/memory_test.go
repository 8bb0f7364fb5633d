package sync

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/kingpinfs/kingpin/metaconfig"
	"github.com/kingpinfs/kingpin/store"
)

// largeFleet is a fleet that is made up as it is read: nothing of it is in
// memory but what the engine keeps.
type largeFleet struct{ configs, serversets, endpoints int }

// GetWatched implements ZooKeeper.
func (f largeFleet) GetWatched(context.Context, string) ([]byte, store.Stat, error) {
	return []byte("1448012345.67"), store.Stat{Mzxid: 7}, nil
}

// ChildrenWatched implements ZooKeeper.
func (f largeFleet) ChildrenWatched(_ context.Context, path string) ([]string, store.Stat, error) {
	var names []string
	switch {
	case path == metaconfig.DependencyPath(boxDependency):
		for i := range f.configs {
			names = append(names, fmt.Sprintf("config.manageddata.some_domain.some_key_%d", i))
		}
		for i := range f.serversets {
			names = append(names, fmt.Sprintf("discovery.some_service_%d.prod", i))
		}
	case strings.HasPrefix(path, "/discovery/"):
		for i := range f.endpoints {
			names = append(names, fmt.Sprintf("0123456789abcdef0123456789abcdef-10.%d.%d.%d:%d", len(path), i/250, i%250, 8000+i))
		}
	default:
		return nil, store.Stat{}, &store.Error{Op: "listing", Subject: path, Kind: store.NotFound}
	}
	return names, store.Stat{Pzxid: 7}, nil
}

// Sync implements ZooKeeper.
func (f largeFleet) Sync(context.Context, string) error { return nil }

// GetVersion implements Contents.
func (f largeFleet) GetVersion(_ context.Context, ref store.Ref, v store.Version) (store.Value, error) {
	name, isMetaconfig := strings.CutPrefix(ref.Path, "/metaconfig/metaconfig/")
	if !isMetaconfig {
		return store.Value{Version: v, Content: []byte(ref.Path)}, nil
	}
	parts := strings.Split(name, ".")
	var sub metaconfig.Subscription
	var err error
	if parts[0] == "config" {
		sub, err = metaconfig.ConfigSubscription(parts[2], parts[3])
	} else {
		sub, err = metaconfig.ServersetSubscription(parts[1], parts[2])
	}
	if err != nil {
		return store.Value{}, err
	}
	content, err := metaconfig.Render(sub)
	return store.Value{Version: v, Content: content}, err
}

// noSink serves nothing.
type noSink struct{}

func (noSink) Serves(metaconfig.Type, string) bool { return false }
func (noSink) Leftovers(metaconfig.Type) []string  { return nil }
func (noSink) Read(metaconfig.Type, string) (content []byte, modTime time.Time, err error) {
	return nil, time.Time{}, nil
}
func (noSink) Disown(metaconfig.Type, string)                  {}
func (noSink) Adopt(metaconfig.Type, string, Entry)            {}
func (noSink) Publish(metaconfig.Type, string, Entry) error    { return nil }
func (noSink) Remove(metaconfig.Type, string) error            { return nil }
func (noSink) SetStatus(t metaconfig.Type, n string, s Status) {}
func (noSink) Flush() error                                    { return nil }

// loadLarge starts an engine for a fleet and waits until it is ready.
func loadLarge(tb testing.TB, fleet largeFleet) (e *Engine, stop func()) {
	tb.Helper()
	e = New(Config{
		Dependencies: []string{boxDependency}, ZooKeeper: fleet, Contents: fleet, Sink: noSink{},
		StateDir: tb.TempDir(), Logger: slog.New(slog.DiscardHandler),
	})
	e.Restore()
	ctx, cancel := context.WithCancel(tb.Context())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	e.Connected(true)
	<-e.Ready()
	return e, func() {
		cancel()
		if err := <-done; err != nil {
			tb.Error(err)
		}
	}
}

// kept waits until an engine does nothing that takes memory for the moment, and
// returns the memory in use.
func kept(e *Engine) float64 {
	for e.journal.WantsRewrite(e.size()) {
		<-time.After(10 * time.Millisecond)
	}
	return heapInUse()
}

func heapInUse() float64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// BenchmarkMemory says how much memory a large subscription takes: in all, and
// for each config with its metaconfig and each endpoint of a serverset.
func BenchmarkMemory(b *testing.B) {
	measure := func(fleet largeFleet) float64 {
		before := heapInUse()
		e, stop := loadLarge(b, fleet)
		after := kept(e)
		stop()
		runtime.KeepAlive(e)
		return after - before
	}
	for b.Loop() {
		const configs, serversets, endpoints = 10000, 1000, 100
		all := measure(largeFleet{configs, serversets, endpoints})
		justConfigs := measure(largeFleet{configs: configs})
		b.ReportMetric(all/(1<<20), "MiB")
		b.ReportMetric(justConfigs/configs, "B/config")
		b.ReportMetric((all-justConfigs)/(serversets*endpoints), "B/endpoint")
	}
}

// BenchmarkColdStart says how long the engine itself takes to load a large
// subscription from backends that answer at once.
func BenchmarkColdStart(b *testing.B) {
	for b.Loop() {
		_, stop := loadLarge(b, largeFleet{10000, 1000, 100})
		b.StopTimer()
		stop()
		b.StartTimer()
	}
}

// TestMemory holds the whole engine to what a box can spare for it.
func TestMemory(t *testing.T) {
	const configs, serversets, endpoints = 2000, 200, 100
	before := heapInUse()
	e, stop := loadLarge(t, largeFleet{configs, serversets, endpoints})
	defer stop()
	// A fifth of the fleet for which 30 MiB are allowed, and what the race
	// detector takes.
	if used := (kept(e) - before) / (1 << 20); used > 9 {
		t.Errorf("the engine keeps %.1f MiB", used)
	}
	if s := e.Snapshot(); len(s.Configs) != configs || len(s.Serversets) != serversets || len(s.Metaconfigs) != configs+serversets {
		t.Errorf("%d configs, %d serversets, %d metaconfigs", len(s.Configs), len(s.Serversets), len(s.Metaconfigs))
	}
}
