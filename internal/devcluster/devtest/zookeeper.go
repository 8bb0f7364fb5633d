package devtest

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/kingpinfs/kingpin/internal/devcluster"
)

// tick is short, so that tests of session expiry are.
const tick = 200 * time.Millisecond

// shared is the server that SharedZooKeeper hands out.
var shared struct {
	once   sync.Once
	server *devcluster.ZooKeeper
	err    error
	chroot atomic.Int64 // the number of the last chroot made
}

// ZooKeeper starts a server for this test alone: one that may be killed,
// paused and restarted. It is stopped when the test ends. Sessions may be as
// short as 400 ms.
func ZooKeeper(t testing.TB) *devcluster.ZooKeeper {
	t.Helper()
	return ZooKeeperWith(t, devcluster.ZooKeeperConfig{TickTime: tick})
}

// ZooKeeperWith is ZooKeeper with a configuration of the caller's.
func ZooKeeperWith(t testing.TB, cfg devcluster.ZooKeeperConfig) *devcluster.ZooKeeper {
	t.Helper()
	z, err := devcluster.StartZooKeeper(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := z.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return z
}

// Ensemble starts n servers that replicate one tree, for this test alone.
func Ensemble(t testing.TB, n int) *devcluster.Ensemble {
	t.Helper()
	e, err := devcluster.StartEnsemble(t.Context(), n, devcluster.ZooKeeperConfig{TickTime: tick})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return e
}

// SharedZooKeeper returns "127.0.0.1:port/chroot": a server that all tests of
// the package share, and a chroot, empty and existing, that only this test
// has. The server must not be hurt. The package must use Main, which stops it.
func SharedZooKeeper(t testing.TB) string {
	t.Helper()
	shared.once.Do(func() {
		AtExit(t, func() error {
			if shared.server == nil {
				return nil
			}
			return shared.server.Stop(context.Background())
		})
		// Not the test's context: the server outlives the test.
		shared.server, shared.err = devcluster.StartZooKeeper(context.Background(),
			devcluster.ZooKeeperConfig{TickTime: tick})
	})
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	if shared.server == nil {
		t.Fatal("the shared ZooKeeper server was not started: see the first test's failure")
	}
	chroot := fmt.Sprintf("/test-%d", shared.chroot.Add(1))
	if err := createZnode(shared.server.Addr(), chroot); err != nil {
		t.Fatal(err)
	}
	return shared.server.Addr() + chroot
}

// createZnode creates an empty persistent znode by a connection of its own.
func createZnode(addr, path string) error {
	conn, events, err := zk.Connect([]string{addr}, 10*time.Second, zk.WithLogger(quiet{}))
	if err != nil {
		return fmt.Errorf("connecting to %s: %w", addr, err)
	}
	_, err = conn.Create(path, nil, 0, zk.WorldACL(zk.PermAll))
	closeRaw(conn, events)
	if err != nil {
		return fmt.Errorf("creating znode %q: %w", path, err)
	}
	return nil
}

// RawZooKeeper connects to "host:port,…/chroot" with the plain client library,
// for tests that must not depend on ours. The paths of its calls are without
// the chroot if they are made through the returned prefix. The connection is
// closed when the test ends.
func RawZooKeeper(t testing.TB, addr string) (conn *zk.Conn, chroot string) {
	t.Helper()
	servers, chroot, _ := strings.Cut(addr, "/")
	if chroot != "" {
		chroot = "/" + chroot
	}
	conn, events, err := zk.Connect(strings.Split(servers, ","), 10*time.Second, zk.WithLogger(quiet{}))
	if err != nil {
		t.Fatalf("connecting to %s: %v", addr, err)
	}
	t.Cleanup(func() { closeRaw(conn, events) })
	return conn, chroot
}

// closeRaw closes a connection and waits until its goroutines are gone.
func closeRaw(conn *zk.Conn, events <-chan zk.Event) {
	conn.Close()
	for open := true; open; {
		_, open = <-events
	}
}

// quiet drops the client library's log lines.
type quiet struct{}

// Printf drops one.
func (quiet) Printf(string, ...any) {}
