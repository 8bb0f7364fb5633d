package fleet_test

import (
	"testing"

	"github.com/kingpinfs/kingpin/fleet"
	"github.com/kingpinfs/kingpin/internal/devcluster/devtest"
	"github.com/kingpinfs/kingpin/managed"
	"github.com/kingpinfs/kingpin/store"
)

// BenchmarkDeciderSet is one change of a decider, from the call to its end, with
// nobody else writing, and a plain publication for comparison.
func BenchmarkDeciderSet(b *testing.B) {
	s3, bucket := devtest.SharedS3(b)
	b.Setenv("AWS_ACCESS_KEY_ID", "any")
	b.Setenv("AWS_SECRET_ACCESS_KEY", "any")
	f, err := fleet.Open(b.Context(), fleet.Config{ZooKeeper: devtest.SharedZooKeeper(b), Bucket: bucket, Endpoint: s3.Endpoint()})
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	ref := store.Ref{Path: "/config/manageddata/admin/decider"}
	if err := f.Store().CreatePointer(b.Context(), ref); err != nil {
		b.Fatal(err)
	}
	b.Run("managed", func(b *testing.B) {
		deciders := managed.NewDecider(managed.Options{Client: f.Configs()})
		for i := 0; b.Loop(); i++ {
			if _, err := deciders.Set(b.Context(), store.Write{}, "new_feed", i%100); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("store", func(b *testing.B) {
		for b.Loop() {
			if _, err := f.Store().Put(b.Context(), ref, []byte(`{"new_feed": 1}`), store.Write{}); err != nil {
				b.Fatal(err)
			}
		}
	})
}
