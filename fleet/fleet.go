// Package fleet connects Go programs to a fleet's ZooKeeper and S3, for what they
// do beyond reading this machine's files: see Fleet.Configs.
package fleet

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"

	"github.com/kingpinfs/kingpin/internal/s3blob"
	"github.com/kingpinfs/kingpin/internal/zkconn"
	"github.com/kingpinfs/kingpin/managed"
	"github.com/kingpinfs/kingpin/store"
)

// Config says where a fleet is kept, and who we are there. ZooKeeper or
// ZooKeeperHostsFile, and Bucket, are needed.
type Config struct {
	// ZooKeeper is a connect string, as ZooKeeper's own tools know it:
	// "host:port,host:port/chroot".
	ZooKeeper string
	// ZooKeeperHostsFile is a file that names the servers instead, one
	// host:port a line, as the fleet's machines have it.
	ZooKeeperHostsFile string
	// ZooKeeperAuth is "user:password" for the digest scheme; "" for none.
	ZooKeeperAuth string
	// ZooKeeperTLS makes the connections TLS ones; nil: plain TCP.
	ZooKeeperTLS *tls.Config
	// Bucket is the S3 bucket that holds the contents.
	Bucket string
	// Endpoint is the URL of the S3 server; "": AWS's. A bare host means https.
	Endpoint string
	// KeyFile is a boto file that holds our credentials; "": those of the AWS
	// SDK, from environment, files and instance.
	KeyFile string
	// Logger hears of connections made and lost; nil: nobody does.
	Logger *slog.Logger
}

// Fleet is a connection to both backends. Connections that are lost are made
// again. It is safe for concurrent use.
type Fleet struct {
	znodes *zkconn.Conn
	blobs  *s3blob.Client
	store  *store.Store
}

// Open connects, and returns when ZooKeeper has answered. S3 isn't asked before
// something is read or written. Errors: Invalid if the configuration is wrong;
// Denied; Unavailable, also when ctx is done. The caller must call Close.
func Open(ctx context.Context, cfg Config) (*Fleet, error) {
	f, err := connect(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("opening the fleet: %w", err)
	}
	if err := f.znodes.WaitConnected(ctx); err != nil {
		f.Close()
		return nil, fmt.Errorf("opening the fleet: %w", err)
	}
	return f, nil
}

func connect(ctx context.Context, cfg Config) (*Fleet, error) {
	zookeeper, err := cfg.zookeeper()
	if err != nil {
		return nil, err
	}
	blobs, err := s3blob.New(ctx, s3blob.Config{Bucket: cfg.Bucket, Endpoint: cfg.Endpoint, KeyFile: cfg.KeyFile, Logger: cfg.Logger})
	if err != nil {
		return nil, err
	}
	znodes := zkconn.New(zookeeper)
	if err := znodes.Open(); err != nil {
		blobs.Close()
		return nil, err
	}
	return &Fleet{znodes, blobs, store.New(znodes, blobs, store.Options{})}, nil
}

func (cfg Config) zookeeper() (zkconn.Config, error) {
	config := zkconn.Config{Auth: cfg.ZooKeeperAuth, TLS: cfg.ZooKeeperTLS, Logger: cfg.Logger}
	var err error
	config.Servers, config.Chroot, err = zkconn.FindServers(cfg.ZooKeeper, cfg.ZooKeeperHostsFile)
	return config, err
}

// Close ends the connections. Locks that are held are lost.
func (f *Fleet) Close() {
	f.znodes.Close()
	f.blobs.Close()
}

// Configs returns a client that reads and publishes configs, and through which
// managed values are written. It lasts as long as the fleet is open.
func (f *Fleet) Configs() *managed.Client { return managed.NewClient(f.store) }

// Store returns what configs are kept in, for values that are none.
func (f *Fleet) Store() *store.Store { return f.store }
