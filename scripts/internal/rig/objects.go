package rig

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/kingpinfs/kingpin/internal/devcluster"
	"github.com/kingpinfs/kingpin/internal/s3blob"
	"github.com/kingpinfs/kingpin/store"
)

const (
	roleS3 = "s3"
	bucket = "kingpin-bench"
)

// S3Kind is a kind of S3 server.
type S3Kind int

const (
	// VersityGW keeps objects in files and checks signatures, as real ones do.
	VersityGW S3Kind = iota
	// MemoryS3 answers faster than any real one, which makes the most of
	// whatever else takes time. It checks no signatures.
	MemoryS3
)

// s3Server is a server that runs.
type s3Server struct {
	endpoint string
	keyFile  string // a boto file; "" where none is needed
	stop     func() error
}

// startS3 starts a server; dir is for its files.
func startS3(ctx context.Context, kind S3Kind, dir string) (*s3Server, error) {
	if kind == MemoryS3 {
		return startMemoryS3(ctx)
	}
	server, err := devcluster.StartVersityGW(ctx, devcluster.VersityGWConfig{Dir: filepath.Join(dir, "s3"), Buckets: []string{bucket}})
	if err != nil {
		return nil, err
	}
	s := &s3Server{
		endpoint: server.Endpoint(), keyFile: filepath.Join(dir, "boto"),
		stop: func() error { return server.Stop(context.Background()) },
	}
	keys := fmt.Sprintf("[Credentials]\naws_access_key_id = %s\naws_secret_access_key = %s\n", server.AccessKey(), server.SecretKey())
	return s, os.WriteFile(s.keyFile, []byte(keys), 0o600)
}

// startMemoryS3 starts the server in a process of its own.
func startMemoryS3(ctx context.Context) (*s3Server, error) {
	endpoint := make(chan string, 1)
	process, err := startRole(ctx, roleS3, func(line string) { endpoint <- line })
	if err != nil {
		return nil, err
	}
	s := &s3Server{stop: process.finish}
	select {
	case s.endpoint = <-endpoint:
		return s, nil
	case <-process.done:
		return nil, process.ended()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// serveS3 is a role: an S3 server, which prints its endpoint.
func serveS3(ctx context.Context, _ []string, out io.Writer) error {
	server, err := devcluster.StartS3(ctx, devcluster.S3Config{Buckets: []string{bucket}})
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(out, server.Endpoint()); err != nil {
		return err
	}
	<-ctx.Done()
	return server.Stop()
}

// objects is the bucket, by the client that the monitor has, so that a GET costs
// the same everywhere.
type objects struct{ client *s3blob.Client }

func openObjects(ctx context.Context, endpoint, keyFile string) (*objects, error) {
	client, err := s3blob.New(ctx, s3blob.Config{Bucket: bucket, Endpoint: endpoint, KeyFile: keyFile})
	if err != nil {
		return nil, err
	}
	return &objects{client}, nil
}

func (o *objects) put(ctx context.Context, key, body string) error {
	return o.client.Put(ctx, key, []byte(body), store.PutOptions{})
}

func (o *objects) get(ctx context.Context, key string) ([]byte, error) {
	content, _, err := o.client.Get(ctx, key, store.DefaultMaxContent)
	return content, err
}

func (o *objects) close() { o.client.Close() }
