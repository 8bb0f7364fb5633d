package serverset

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"
)

// BenchmarkPick has callers at once pick a host of a hundred and report that it
// has answered: the cost that a call has of the Balancer.
func BenchmarkPick(b *testing.B) {
	selectors := []struct {
		name string
		make func() Selector
	}{{"random", Random}, {"roundrobin", RoundRobin}, {"least", LeastOutstanding}}
	for _, selector := range selectors {
		for _, callers := range []int{1, 256} {
			b.Run(fmt.Sprintf("%s/callers=%d", selector.name, callers), func(b *testing.B) {
				benchmarkPick(b, newRig(b, 100, BalancerOptions{Selector: selector.make()}), callers)
			})
		}
	}
	b.Run("least/callers=256/ejected=20", func(b *testing.B) {
		r := newRig(b, 100, BalancerOptions{})
		for i := range 20 {
			r.fail(host(i+1), 3)
		}
		benchmarkPick(b, r, 256)
	})
	b.Run("least/callers=256/ejected=20/trying", func(b *testing.B) {
		r := newRig(b, 100, BalancerOptions{})
		for i := range 20 {
			r.fail(host(i+1), 3)
		}
		r.due(r.options.Ejection.Time)
		for range 20 {
			if l, err := r.Pick(); err != nil || !l.Trial() {
				b.Fatal(err)
			}
		}
		benchmarkPick(b, r, 256)
	})
	b.Run("least/callers=256/excluded=2", func(b *testing.B) {
		benchmarkPick(b, newRig(b, 100, BalancerOptions{}), 256, host(1), host(50))
	})
}

func benchmarkPick(b *testing.B, r *rig, callers int, exclude ...string) {
	b.Helper()
	procs := runtime.GOMAXPROCS(0)
	if callers == 1 {
		procs = runtime.GOMAXPROCS(1)
		defer runtime.GOMAXPROCS(procs)
		procs = 1
	}
	b.SetParallelism(max(1, callers/procs))
	b.ReportAllocs()
	var failed atomic.Int64
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			l, err := r.Pick(exclude...)
			if err != nil {
				failed.Add(1)
			}
			l.Done(Answered)
		}
	})
	if failed.Load() > 0 {
		b.Errorf("%d calls were given no host", failed.Load())
	}
}

// BenchmarkFileEndpoints is the cost of asking a File for its endpoints.
func BenchmarkFileEndpoints(b *testing.B) {
	path := filepath.Join(b.TempDir(), "f")
	if err := os.WriteFile(path, Render(hosts(1, 100)), 0o644); err != nil {
		b.Fatal(err)
	}
	f := NewFile(path, FileOptions{})
	if err := f.Open(b.Context()); err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if len(f.Endpoints()) != 100 {
				b.Error("the endpoints are incomplete")
			}
		}
	})
}

// BenchmarkUpdate is the cost of a changed list of a thousand hosts.
func BenchmarkUpdate(b *testing.B) {
	r := newRig(b, 1000, BalancerOptions{OnEvent: func(Event) {}})
	lists := [][]string{hosts(2, 1001), hosts(1, 1000)}
	b.ReportAllocs()
	for i := range b.N {
		r.update(lists[i%2])
	}
}
