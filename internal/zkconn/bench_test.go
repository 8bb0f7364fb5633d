package zkconn_test

import (
	"fmt"
	"runtime"
	"sync"
	"testing"

	"github.com/kingpinfs/kingpin/internal/devcluster/devtest"
	"github.com/kingpinfs/kingpin/internal/zkconn"
)

// BenchmarkWatchedPaths tells what a watched path costs in memory: the
// library's part and ours. A box that serves 10,000 configs and 1,000
// serversets watches some 22,000 paths.
func BenchmarkWatchedPaths(b *testing.B) {
	const paths = 22000
	addr := devtest.SharedZooKeeper(b)
	cfg := config(b, addr)
	cfg.Logger = nil
	writer := open(b, cfg)
	path := func(i int) string { return fmt.Sprintf("/config/manageddata/domain/some_config_%05d", i) }
	inParallel(b, paths, func(i int) error { return writer.Create(b.Context(), path(i), []byte("1448012345.67")) })
	for b.Loop() {
		before := heap()
		c := zkconn.New(cfg)
		if err := c.Open(); err != nil {
			b.Fatal(err)
		}
		inParallel(b, paths, func(i int) error {
			_, _, err := c.GetWatched(b.Context(), path(i))
			return err
		})
		b.ReportMetric(float64(heap()-before)/paths, "heap-B/path")
		b.ReportMetric(float64(runtime.NumGoroutine()), "goroutines")
		c.Close()
	}
}

// heap returns how many bytes are reachable.
func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

// inParallel calls do for 0 to n-1.
func inParallel(b *testing.B, n int, do func(i int) error) {
	b.Helper()
	const workers = 32
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := w; i < n; i += workers {
				if err := do(i); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// BenchmarkGet compares a read, and a repeated watched one, with the bare
// library's.
func BenchmarkGet(b *testing.B) {
	addr := devtest.SharedZooKeeper(b)
	cfg := config(b, addr)
	cfg.Logger = nil
	c := open(b, cfg)
	raw, chroot := devtest.RawZooKeeper(b, addr)
	if err := c.Create(b.Context(), "/x", []byte("1448012345.67")); err != nil {
		b.Fatal(err)
	}
	b.Run("Library", func(b *testing.B) {
		for b.Loop() {
			if _, _, err := raw.Get(chroot + "/x"); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("Get", func(b *testing.B) {
		for b.Loop() {
			if _, _, err := c.Get(b.Context(), "/x"); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("GetWatched", func(b *testing.B) {
		for b.Loop() {
			if _, _, err := c.GetWatched(b.Context(), "/x"); err != nil {
				b.Fatal(err)
			}
		}
	})
}
