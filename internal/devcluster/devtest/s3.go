package devtest

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/kingpinfs/kingpin/internal/devcluster"
)

// Bucket is the bucket of the servers that S3 and VersityGW start.
const Bucket = "kingpin-test"

// sharedS3 and sharedVersityGW are the servers that SharedS3 and
// SharedVersityGW hand out.
var (
	sharedS3        sharedServer[devcluster.S3]
	sharedVersityGW sharedServer[devcluster.VersityGW]
	buckets         atomic.Int64 // the number of the last bucket made
)

// sharedServer is a server that the tests of a package share.
type sharedServer[T any] struct {
	once   sync.Once
	server *T
	err    error
}

// get returns the server. The first call starts it, with a context that
// outlives the test, and has Main stop it.
func (s *sharedServer[T]) get(tb testing.TB, start func(context.Context) (*T, error), stop func(*T) error) *T {
	tb.Helper()
	s.once.Do(func() {
		if s.server, s.err = start(context.Background()); s.err == nil {
			AtExit(tb, func() error { return stop(s.server) })
		}
	})
	if s.err != nil {
		tb.Fatal(s.err)
	}
	return s.server
}

// S3 starts a server for this test alone, which may be stopped, restarted and
// given faults. It holds one bucket, Bucket, and asks for no credentials. It
// is stopped when the test ends.
func S3(tb testing.TB) *devcluster.S3 {
	tb.Helper()
	s, err := devcluster.StartS3(tb.Context(), devcluster.S3Config{Buckets: []string{Bucket}})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.Stop(); err != nil {
			tb.Error(err)
		}
	})
	return s
}

// SharedS3 returns a server that all tests of the package share, and a bucket,
// empty and existing, that only this test has. The server must not be hurt.
// The package must use Main, which stops it.
func SharedS3(tb testing.TB) (s *devcluster.S3, bucket string) {
	tb.Helper()
	s = sharedS3.get(tb,
		func(ctx context.Context) (*devcluster.S3, error) {
			return devcluster.StartS3(ctx, devcluster.S3Config{})
		},
		(*devcluster.S3).Stop)
	return s, newBucket(tb, s.CreateBucket)
}

// VersityGW starts a server for this test alone, which may be killed, paused
// and restarted, and which checks credentials. It holds one bucket, Bucket. It
// is stopped when the test ends.
func VersityGW(tb testing.TB) *devcluster.VersityGW {
	tb.Helper()
	v, err := devcluster.StartVersityGW(tb.Context(), devcluster.VersityGWConfig{Buckets: []string{Bucket}})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := v.Stop(context.Background()); err != nil {
			tb.Error(err)
		}
	})
	return v
}

// SharedVersityGW returns a server that all tests of the package share, and a
// bucket, empty and existing, that only this test has. The server must not be
// hurt. The package must use Main, which stops it.
func SharedVersityGW(tb testing.TB) (v *devcluster.VersityGW, bucket string) {
	tb.Helper()
	v = sharedVersityGW.get(tb,
		func(ctx context.Context) (*devcluster.VersityGW, error) {
			return devcluster.StartVersityGW(ctx, devcluster.VersityGWConfig{})
		},
		func(v *devcluster.VersityGW) error { return v.Stop(context.Background()) })
	return v, newBucket(tb, v.CreateBucket)
}

// newBucket creates a bucket that no other test has.
func newBucket(tb testing.TB, create func(string) error) string {
	tb.Helper()
	bucket := fmt.Sprintf("test-%d", buckets.Add(1))
	if err := create(bucket); err != nil {
		tb.Fatal(err)
	}
	return bucket
}
