package integration

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"testing"

	"github.com/kingpinfs/kingpin/serverset"
)

// A program with a File has each new list, whoever serves the file: a worker, its
// successor, plain files beneath a mount that has gone, or another monitor. It
// never sees a list that isn't one of the fleet's, nor none.
func TestFileProviderOutlivesMonitors(t *testing.T) {
	t.Parallel()
	f := newFleet(t, gofakes3)
	znode, name := f.subscribeServerset("search", "10.0.0.1:80")
	m := f.launchFace("fuse", monitorConfig{})
	m.awaitReady()

	file := serverset.NewFile(m.serverset(name), serverset.FileOptions{})
	if err := file.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(file.Close)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	next, stop := iter.Pull(file.Watch(ctx))
	defer stop()
	var want []string
	joins := func(endpoint string) {
		t.Helper()
		if len(want) > 0 {
			f.zk.join(znode, endpoint)
		}
		want = append(want, endpoint)
		if got, ok := next(); !ok || !slices.Equal(got, want) {
			t.Fatalf("the next list is %q (%v), want %q", got, ok, want)
		}
	}
	joins("10.0.0.1:80")
	joins("10.0.0.2:80")

	dead := m.killWorker()
	joins("10.0.0.3:80")
	m.awaitOtherWorker(dead)
	joins("10.0.0.4:80")

	m.terminate()
	if got := file.Endpoints(); !slices.Equal(got, want) {
		t.Errorf("without a monitor the endpoints are %q, want %q", got, want)
	}
	for i, mode := range []string{"plain", "fuse"} {
		m = f.launchFace(mode, monitorConfig{Dirs: m.dirs})
		m.awaitReady()
		joins(fmt.Sprintf("10.0.0.%d:80", 5+i))
		m.terminate()
	}
	if err := file.Err(); err != nil {
		t.Error(err)
	}
}
