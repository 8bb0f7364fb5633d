package fleet_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kingpinfs/kingpin/fleet"
	"github.com/kingpinfs/kingpin/internal/devcluster/devtest"
	"github.com/kingpinfs/kingpin/managed"
	"github.com/kingpinfs/kingpin/store"
)

func TestMain(m *testing.M) { devtest.Main(m) }

func TestWriteAndFetch(t *testing.T) {
	s3, bucket := devtest.SharedS3(t)
	t.Setenv("AWS_ACCESS_KEY_ID", "any")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "any")
	config := fleet.Config{ZooKeeper: devtest.SharedZooKeeper(t), Bucket: bucket, Endpoint: s3.Endpoint()}
	f, err := fleet.Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Store().CreatePointer(t.Context(), store.Ref{Path: "/config/manageddata/spam/grey_list"}); err != nil {
		t.Fatal(err)
	}
	list := managed.NewList("spam", "grey_list", managed.Options{Client: f.Configs()})
	if _, err := list.Add(t.Context(), store.Write{Author: "test"}, "10.0.0.7"); err != nil {
		t.Fatal(err)
	}
	if view, value, err := list.Fetch(t.Context()); err != nil || !view.Contains("10.0.0.7") || value.Author != "test" {
		t.Errorf("the fleet has %v by %q, %v", view, value.Author, err)
	}
}

func TestHostsFile(t *testing.T) {
	addr, _, _ := strings.Cut(devtest.SharedZooKeeper(t), "/")
	path := filepath.Join(t.TempDir(), "hosts")
	if err := os.WriteFile(path, []byte(addr+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := fleet.Open(t.Context(), fleet.Config{ZooKeeperHostsFile: path, Bucket: "any", Endpoint: "http://127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
}

func TestOpenErrors(t *testing.T) {
	for _, config := range []fleet.Config{
		{}, {ZooKeeper: "a", ZooKeeperHostsFile: "b", Bucket: "x"}, {ZooKeeper: "zk:port", Bucket: "x"}, {ZooKeeper: "127.0.0.1:1"},
	} {
		if _, err := fleet.Open(t.Context(), config); !errors.Is(err, store.Invalid) {
			t.Errorf("Open(%+v): %v", config, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := fleet.Open(ctx, fleet.Config{ZooKeeper: "127.0.0.1:1", Bucket: "x"})
	if !errors.Is(err, store.Unavailable) {
		t.Errorf("Open of a fleet that isn't there: %v", err)
	}
}

// A program that reads the machine's file, and writes to the fleet.
func Example() {
	ctx := context.Background()
	f, err := fleet.Open(ctx, fleet.Config{ZooKeeper: "zk1:2181,zk2:2181", Bucket: "fleet"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer f.Close()

	list := managed.NewList("spam", "grey_list", managed.Options{Client: f.Configs()})
	if err := list.Open(ctx); err != nil {
		fmt.Println(err)
		return
	}
	defer list.Close()
	if !list.Contains("10.0.0.7") {
		value, err := list.Add(ctx, store.Write{Author: "example", Comment: "seen in the logs"}, "10.0.0.7")
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println("published", value.Version)
	}
}
