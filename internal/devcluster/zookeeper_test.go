package devcluster

import (
	"context"
	"errors"
	iofs "io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func startZooKeeper(t *testing.T, cfg ZooKeeperConfig) *ZooKeeper {
	t.Helper()
	z, err := StartZooKeeper(t.Context(), cfg)
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

func TestZooKeeperLifecycle(t *testing.T) {
	z := startZooKeeper(t, ZooKeeperConfig{})
	addr := z.Addr()
	if err := z.Kill(); err != nil {
		t.Fatal(err)
	}
	if conn, err := net.Dial("tcp", addr); err == nil {
		_ = conn.Close()
		t.Fatalf("%s accepts connections after Kill", addr)
	}
	if err := z.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if z.Addr() != addr {
		t.Fatalf("after the restart the address is %s, was %s", z.Addr(), addr)
	}
	if err := z.serving(t.Context()); err != nil {
		t.Fatal(err)
	}

	if err := z.Pause(); err != nil {
		t.Fatal(err)
	}
	if err := z.serving(t.Context()); err == nil {
		t.Fatal("a paused server answers")
	}
	if err := z.Resume(); err != nil {
		t.Fatal(err)
	}
	if err := z.serving(t.Context()); err != nil {
		t.Fatal(err)
	}

	if err := z.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(z.Dir()); !errors.Is(err, iofs.ErrNotExist) {
		t.Fatalf("the temporary directory after Stop: %v", err)
	}
	if err := z.Stop(t.Context()); err != nil {
		t.Fatalf("a second Stop: %v", err)
	}
	if err := z.Restart(t.Context()); err == nil || !strings.Contains(err.Error(), "use Kill") {
		t.Fatalf("Restart after Stop: %v", err)
	}
}

func TestZooKeeperKeepsAGivenDir(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "by", "us")
	z := startZooKeeper(t, ZooKeeperConfig{Dir: dir})
	if err := z.Pause(); err != nil { // Stop must work on a paused one
		t.Fatal(err)
	}
	if err := z.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "data", "version-2")); err != nil {
		t.Fatal(err)
	}
}

func TestZooKeeperThatCannotStart(t *testing.T) {
	_, err := StartZooKeeper(t.Context(), ZooKeeperConfig{Settings: map[string]string{"tickTime": "soon"}})
	if err == nil || !strings.Contains(err.Error(), "ended before it was ready") {
		t.Fatalf("got %v", err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := StartZooKeeper(ctx, ZooKeeperConfig{}); err == nil {
		t.Fatal("started with a cancelled context")
	}
}

func TestFindZooKeeperJar(t *testing.T) {
	jar := filepath.Join(t.TempDir(), "zookeeper.jar")
	t.Setenv(JarEnv, jar)
	_, err := FindZooKeeperJar()
	for _, want := range []string{"apt-get install zookeeper", "make deps", JarEnv, jar} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error for a missing jar doesn't name %q: %v", want, err)
		}
	}
	if err := os.WriteFile(jar, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := FindZooKeeperJar(); err != nil || got != jar {
		t.Fatalf("got %q, %v", got, err)
	}
	t.Setenv(JarEnv, filepath.Dir(jar))
	if _, err := FindZooKeeperJar(); err == nil {
		t.Fatal("a directory passes for a jar")
	}
}

func TestEnsemble(t *testing.T) {
	e, err := StartEnsemble(t.Context(), 3, ZooKeeperConfig{TickTime: 200 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	dir := e.dir
	if n := len(strings.Split(e.Addr(), ",")); n != 3 {
		t.Errorf("%d addresses in %q", n, e.Addr())
	}
	if err := e.Members()[0].Kill(); err != nil {
		t.Error(err)
	}
	if err := e.Members()[0].Restart(t.Context()); err != nil {
		t.Error(err)
	}
	if err := e.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, iofs.ErrNotExist) {
		t.Errorf("the temporary directory after Stop: %v", err)
	}
}
