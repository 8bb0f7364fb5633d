package managed

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/kingpinfs/kingpin/store"
	"github.com/kingpinfs/kingpin/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long to wait for what should come at once.
const patience = 30 * time.Second

// bench is a client over backends in memory.
type bench struct {
	*Client
	zn     *storetest.MemoryZnodes
	values *store.Store
}

func newBench(t *testing.T) *bench {
	t.Helper()
	zn := storetest.NewMemoryZnodes()
	values := store.New(zn, storetest.NewMemoryBlobs(), store.Options{})
	return &bench{NewClient(values), zn, values}
}

// config creates a config that was never written.
func (b *bench) config(t *testing.T, domain, key string) (file string) {
	t.Helper()
	file, err := File(domain, key)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.values.CreatePointer(t.Context(), store.Ref{Path: managedRoot + domain + "/" + key}); err != nil {
		t.Fatal(err)
	}
	return file
}

// put publishes a content as somebody else would.
func (b *bench) put(t *testing.T, file, content string) store.Version {
	t.Helper()
	value, err := b.PutUnchecked(t.Context(), file, []byte(content), store.Write{})
	if err != nil {
		t.Fatal(err)
	}
	return value.Version
}

func (b *bench) want(t *testing.T, file, content string) {
	t.Helper()
	value, err := b.Get(t.Context(), file)
	if err != nil || string(value.Content) != content {
		t.Errorf("%s holds %s, %v; want %s", file, value.Content, err, content)
	}
}

// machine is a directory of configs, written as a monitor does.
type machine string

func newMachine(t *testing.T) machine { t.Helper(); return machine(t.TempDir()) }

func (m machine) write(t *testing.T, file, content string) {
	t.Helper()
	aside := filepath.Join(string(m), ".aside")
	if err := os.WriteFile(aside, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(aside, filepath.Join(string(m), file)); err != nil {
		t.Fatal(err)
	}
}

func (m machine) remove(t *testing.T, file string) {
	t.Helper()
	if err := os.Remove(filepath.Join(string(m), file)); err != nil {
		t.Fatal(err)
	}
}

// opened opens a reader until the test ends.
func opened[R interface {
	Open(ctx context.Context) error
	Close()
}](t *testing.T, r R) R {
	t.Helper()
	if err := r.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

// awaitChange returns when check is true of what a reader knows.
func awaitChange[T any](t *testing.T, r *Reader[T], check func() bool) {
	t.Helper()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for {
		s := r.current.Load()
		if check() {
			return
		}
		select {
		case <-s.changed:
		case <-timeout.C:
			t.Fatalf("the change doesn't come: %+v, %v", s.value, s.err)
		}
	}
}
