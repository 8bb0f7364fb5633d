package storetest_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/kingpinfs/kingpin/internal/devcluster/devtest"
	"github.com/kingpinfs/kingpin/internal/s3blob"
	"github.com/kingpinfs/kingpin/internal/zkconn"
	"github.com/kingpinfs/kingpin/store"
	"github.com/kingpinfs/kingpin/store/storetest"
)

func TestMain(m *testing.M) { devtest.Main(m) }

func TestStoreOnZooKeeperAndGofakes3(t *testing.T) {
	storetest.Store(t, func(t *testing.T) (store.Znodes, store.Blobs) {
		server, bucket := devtest.SharedS3(t)
		return openZooKeeper(t), openS3(t, s3blob.Config{Bucket: bucket, Endpoint: server.Endpoint()})
	})
}

func TestStoreOnZooKeeperAndVersityGW(t *testing.T) {
	storetest.Store(t, func(t *testing.T) (store.Znodes, store.Blobs) {
		server, bucket := devtest.SharedVersityGW(t)
		keys := filepath.Join(t.TempDir(), "boto")
		boto := "[Credentials]\naws_access_key_id = " + server.AccessKey() + "\naws_secret_access_key = " + server.SecretKey() + "\n"
		if err := os.WriteFile(keys, []byte(boto), 0o600); err != nil {
			t.Fatal(err)
		}
		return openZooKeeper(t), openS3(t, s3blob.Config{
			Bucket: bucket, Endpoint: server.Endpoint(), Region: server.Region(), KeyFile: keys,
		})
	})
}

func openZooKeeper(t *testing.T) store.Znodes {
	t.Helper()
	servers, chroot, err := zkconn.ParseServers(devtest.SharedZooKeeper(t))
	if err != nil {
		t.Fatal(err)
	}
	conn := zkconn.New(zkconn.Config{Servers: servers, Chroot: chroot})
	if err := conn.Open(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	return conn
}

func openS3(t *testing.T, cfg s3blob.Config) store.Blobs {
	t.Helper()
	client, err := s3blob.New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}
