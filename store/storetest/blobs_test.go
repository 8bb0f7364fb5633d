package storetest_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/kingpinfs/kingpin/store"
	"github.com/kingpinfs/kingpin/store/storetest"
)

func TestMemoryBlobs(t *testing.T) {
	storetest.Blobs(t, func(*testing.T) store.Blobs { return storetest.NewMemoryBlobs() })
}

func TestMemoryBlobsFail(t *testing.T) {
	b := storetest.NewMemoryBlobs()
	if err := b.Put(t.Context(), "k", []byte("old"), store.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	failure := &store.Error{Op: "being tested", Subject: "k", Kind: store.Unavailable}
	var asked []string
	b.Fail = func(op, key string) error {
		asked = append(asked, op+" "+key)
		return failure
	}
	_, _, getErr := b.Get(t.Context(), "k", 0)
	_, headErr := b.Head(t.Context(), "k")
	putErr := b.Put(t.Context(), "k", []byte("new"), store.PutOptions{})
	errs := []error{getErr, headErr, putErr}
	for _, err := range b.List(t.Context(), "k") {
		errs = append(errs, err)
	}
	if want := []string{"get k", "head k", "put k", "list k"}; !slices.Equal(asked, want) {
		t.Fatalf("Fail was asked for %q, want %q", asked, want)
	}
	for i, err := range errs {
		if !errors.Is(err, failure) {
			t.Errorf("%q returned %v, want what Fail returned", asked[i], err)
		}
	}
	if len(errs) != len(asked) {
		t.Errorf("there were %d errors, want %d", len(errs), len(asked))
	}
	b.Fail = nil
	if content, _, err := b.Get(t.Context(), "k", 0); err != nil || string(content) != "old" {
		t.Errorf("after a failed Put the content is %q, %v, want the old one", content, err)
	}
	b.Delete("k")
	if _, err := b.Head(t.Context(), "k"); store.KindOf(err) != store.NotFound {
		t.Errorf("after Delete, Head returned %v", err)
	}
}
