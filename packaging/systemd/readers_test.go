//go:build systemdboot

package systemd

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// readers read files again and again, and note what goes wrong.
type readers struct {
	t       *testing.T
	stop    chan struct{}
	running sync.WaitGroup
	reads   atomic.Int64
	longest atomic.Int64 // the longest read, in ns

	mu       sync.Mutex // guards failures
	failures []string
}

// contentOf is the content of a config's nth version in these tests.
func contentOf(n int) string { return fmt.Sprintf("version %d\n", n) }

// read starts a reader of each file, which must hold what contentOf returns, and
// never less than before; and one of the names beside it.
func read(t *testing.T, files ...string) *readers {
	t.Helper()
	r := &readers{t: t, stop: make(chan struct{})}
	for _, file := range files {
		newest := 0
		r.loop(func() error {
			content, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			n, err := strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(string(content), "version "), "\n"))
			switch {
			case err != nil || string(content) != contentOf(n):
				return fmt.Errorf("%s reads %q", file, content)
			case n < newest:
				return fmt.Errorf("%s reads version %d after version %d", file, n, newest)
			}
			newest = n
			return nil
		})
		r.loop(func() error {
			entries, err := os.ReadDir(filepath.Dir(file))
			if err != nil {
				return err
			}
			for _, entry := range entries {
				if entry.Name() == filepath.Base(file) {
					_, err := entry.Info()
					return err
				}
			}
			return fmt.Errorf("%s isn't listed", file)
		})
	}
	t.Cleanup(func() { r.halt() })
	return r
}

func (r *readers) loop(once func() error) {
	r.running.Go(func() {
		for {
			select {
			case <-r.stop:
				return
			default:
			}
			began := time.Now()
			err := once()
			took := time.Since(began)
			r.reads.Add(1)
			for longest := r.longest.Load(); took > time.Duration(longest) && !r.longest.CompareAndSwap(longest, int64(took)); {
				longest = r.longest.Load()
			}
			if err != nil {
				r.mu.Lock()
				r.failures = append(r.failures, err.Error())
				r.mu.Unlock()
			}
		}
	})
}

// halt ends the readers. It reports whether they have ended: one may be stuck.
func (r *readers) halt() bool {
	select {
	case <-r.stop:
	default:
		close(r.stop)
	}
	ended := make(chan struct{})
	go func() { r.running.Wait(); close(ended) }()
	select {
	case <-ended:
		return true
	case <-time.After(patience):
		return false
	}
}

// awaitMore waits until each reader has read again, whatever it waits for now.
func (r *readers) awaitMore(m *machine) {
	m.t.Helper()
	const several = 1000
	target := r.reads.Load() + several
	m.await("more reads", func() bool { return r.reads.Load() > target })
}

// check ends the readers and fails the test if a read failed.
func (r *readers) check(during string) {
	r.t.Helper()
	if !r.halt() {
		r.t.Fatalf("%s: a reader is stuck", during)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.t.Logf("%s: %d reads, %d failed, the longest took %v", during, r.reads.Load(), len(r.failures), time.Duration(r.longest.Load()).Round(time.Millisecond))
	if len(r.failures) > 0 {
		r.t.Errorf("%s: %d reads failed; the first: %s", during, len(r.failures), r.failures[0])
	}
}
