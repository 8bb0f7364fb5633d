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
	sharedS3 struct {
		once   sync.Once
		server *devcluster.S3
		err    error
	}
	sharedVersityGW struct {
		once   sync.Once
		server *devcluster.VersityGW
		err    error
	}
	buckets atomic.Int64 // the number of the last bucket made
)

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
	shared := &sharedS3
	shared.once.Do(func() {
		// Not the test's context: the server outlives the test.
		shared.server, shared.err = devcluster.StartS3(context.Background(), devcluster.S3Config{})
		if shared.err == nil {
			atExit(tb, shared.server.Stop)
		}
	})
	if shared.err != nil {
		tb.Fatal(shared.err)
	}
	if shared.server == nil {
		tb.Fatal("the shared S3 server was not started: see the first test's failure")
	}
	return shared.server, newBucket(tb, shared.server.CreateBucket)
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
	shared := &sharedVersityGW
	shared.once.Do(func() {
		// Not the test's context: the server outlives the test.
		shared.server, shared.err = devcluster.StartVersityGW(context.Background(), devcluster.VersityGWConfig{})
		if shared.err == nil {
			atExit(tb, func() error { return shared.server.Stop(context.Background()) })
		}
	})
	if shared.err != nil {
		tb.Fatal(shared.err)
	}
	if shared.server == nil {
		tb.Fatal("the shared versitygw was not started: see the first test's failure")
	}
	return shared.server, newBucket(tb, shared.server.CreateBucket)
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
