package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/kingpinfs/kingpin/store"
)

// blobsAtOnce is how many requests the suite makes at the same time.
const blobsAtOnce = 16

// Blobs is the conformance suite of store.Blobs: what any implementation must
// do. open returns an empty one; it is called for every subtest and cleans up
// after itself.
func Blobs(t *testing.T, open func(t *testing.T) store.Blobs) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, store.Blobs)
	}{
		{"Content", blobContent},
		{"Replace", blobReplace},
		{"NotFound", blobNotFound},
		{"Metadata", blobMetadata},
		{"IfAbsent", blobIfAbsent},
		{"IfAbsentRace", blobIfAbsentRace},
		{"Limit", blobLimit},
		{"Keys", blobKeys},
		{"List", blobList},
		{"ListPages", blobListPages},
		{"Ownership", blobOwnership},
		{"ReplacedWhileRead", blobReplacedWhileRead},
		{"Context", blobContext},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, open(t)) })
	}
}

// mustPut writes an object, without metadata.
func mustPut(t *testing.T, b store.Blobs, key string, content []byte) {
	t.Helper()
	if err := b.Put(t.Context(), key, content, store.PutOptions{}); err != nil {
		t.Fatal(err)
	}
}

// wantBlob reads an object without a limit and compares its content.
func wantBlob(t *testing.T, b store.Blobs, key string, want []byte) store.Object {
	t.Helper()
	got, object, err := b.Get(t.Context(), key, 0)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("Get(%q) returned %d bytes that are not the %d written", key, len(got), len(want))
	}
	return object
}

// wantBlobError fails the test unless err is a store.Error of the kind that names
// the key and matches no other kind.
func wantBlobError(t *testing.T, err error, kind store.Kind, key string) {
	t.Helper()
	e, ok := errors.AsType[*store.Error](err)
	if !ok {
		t.Fatalf("the error is %v (%T), want a *store.Error that is %q", err, err, kind)
	}
	if e.Kind != kind || store.KindOf(err) != kind {
		t.Fatalf("the error %q is %q, want %q", err, store.KindOf(err), kind)
	}
	for other := store.NotFound; other <= store.TooLarge; other++ {
		if other != kind && errors.Is(err, other) {
			t.Errorf("the error %q is %q too, want %q alone", err, other, kind)
		}
	}
	if e.Op == "" || !strings.Contains(e.Subject, key) {
		t.Errorf("the error %q says %q was done to %q, want some operation on %q", err, e.Op, e.Subject, key)
	}
}

// randomBytes returns the same n bytes every time.
func randomBytes(n int) []byte {
	content := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(content) // never fails
	return content
}

func blobContent(t *testing.T, b store.Blobs) {
	for _, content := range [][]byte{
		{},
		[]byte("x"),
		[]byte("line\r\nline\n\x00\xff\xfe"),
		randomBytes(1 << 10),
		randomBytes(300 << 10),
		bytes.Repeat([]byte("compressible "), 50_000),
	} {
		key := fmt.Sprintf("content/of-%d", len(content))
		mustPut(t, b, key, content)
		read := wantBlob(t, b, key, content)
		head, err := b.Head(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		for _, object := range []store.Object{read, head} {
			if object.Key != key || object.Size != int64(len(content)) {
				t.Errorf("the object is %q with %d bytes, want %q with %d", object.Key, object.Size, key, len(content))
			}
			if object.Modified.IsZero() {
				t.Errorf("the object %q has no modification time", key)
			}
		}
		if !read.Modified.Equal(head.Modified) {
			t.Errorf("Get says %q was modified at %v, Head says %v", key, read.Modified, head.Modified)
		}
	}
}

func blobReplace(t *testing.T, b store.Blobs) {
	const key = "replaced"
	for _, content := range []string{"long content of the first write", "short", "", "again"} {
		meta := map[string]string{"now": fmt.Sprintf("[%s]", content)}
		if err := b.Put(t.Context(), key, []byte(content), store.PutOptions{Metadata: meta}); err != nil {
			t.Fatal(err)
		}
		object := wantBlob(t, b, key, []byte(content))
		if object.Metadata["now"] != meta["now"] {
			t.Errorf("the metadata is %q, want %q", object.Metadata, meta)
		}
	}
}

func blobNotFound(t *testing.T, b store.Blobs) {
	mustPut(t, b, "dir/there", []byte("x"))
	for _, key := range []string{"missing", "dir", "dir/", "dir/the", "dir/there2", "dir/missing/deeper"} {
		content, _, err := b.Get(t.Context(), key, 0)
		wantBlobError(t, err, store.NotFound, key)
		if content != nil {
			t.Errorf("Get(%q) returned content with its error", key)
		}
		_, err = b.Head(t.Context(), key)
		wantBlobError(t, err, store.NotFound, key)
	}
}

func blobMetadata(t *testing.T, b store.Blobs) {
	want := map[string]string{
		"kingpin-author":  "alice%20b",
		"kingpin-comment": `punctuation: "a=b", <c>; (d)`,
		"x":               strings.Repeat("long", 200),
	}
	if err := b.Put(t.Context(), "with", nil, store.PutOptions{Metadata: want}); err != nil {
		t.Fatal(err)
	}
	mustPut(t, b, "without", nil)

	read := wantBlob(t, b, "with", nil)
	head, err := b.Head(t.Context(), "with")
	if err != nil {
		t.Fatal(err)
	}
	for key, value := range want {
		if read.Metadata[key] != value || head.Metadata[key] != value {
			t.Errorf("metadata %q: Get says %q, Head says %q, want %q", key, read.Metadata[key], head.Metadata[key], value)
		}
		if other := wantBlob(t, b, "without", nil).Metadata[key]; other != "" {
			t.Errorf("an object written without metadata has %q=%q", key, other)
		}
	}
}

func blobIfAbsent(t *testing.T, b store.Blobs) {
	const key = "once/1448012345/670000"
	if err := b.Put(t.Context(), key, []byte("first"), store.PutOptions{IfAbsent: true}); err != nil {
		t.Fatal(err)
	}
	wantBlobError(t, b.Put(t.Context(), key, []byte("second"), store.PutOptions{IfAbsent: true}), store.Exists, key)
	wantBlob(t, b, key, []byte("first"))
	mustPut(t, b, key, []byte("third"))
	wantBlob(t, b, key, []byte("third"))
}

func blobIfAbsentRace(t *testing.T, b store.Blobs) {
	const key = "raced"
	var group errgroup.Group
	var winner atomic.Int64 // the number of the writer that succeeded
	for i := range int64(blobsAtOnce) {
		group.Go(func() error {
			err := b.Put(t.Context(), key, fmt.Append(nil, i+1), store.PutOptions{IfAbsent: true})
			switch {
			case err == nil && !winner.CompareAndSwap(0, i+1):
				return fmt.Errorf("writers %d and %d both created the object", winner.Load(), i+1)
			case err != nil && store.KindOf(err) != store.Exists:
				return err
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	wantBlob(t, b, key, fmt.Append(nil, winner.Load()))
}

func blobLimit(t *testing.T, b store.Blobs) {
	const key, size = "limited", 100_000
	content := randomBytes(size)
	mustPut(t, b, key, content)
	for _, limit := range []int64{size, size + 1, 10 * size, 0} {
		got, _, err := b.Get(t.Context(), key, limit)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, content) {
			t.Errorf("Get with limit %d returned %d bytes that are not the %d written", limit, len(got), size)
		}
	}
	for _, limit := range []int64{1, size - 1} {
		got, _, err := b.Get(t.Context(), key, limit)
		wantBlobError(t, err, store.TooLarge, key)
		if got != nil {
			t.Errorf("Get with limit %d returned content with its error", limit)
		}
	}
}

func blobOwnership(t *testing.T, b store.Blobs) {
	const key = "owned"
	want := []byte("what was written")
	content, meta := slices.Clone(want), map[string]string{"m": "v"}
	if err := b.Put(t.Context(), key, content, store.PutOptions{Metadata: meta}); err != nil {
		t.Fatal(err)
	}
	content[0], meta["m"] = 'X', "changed after the write"
	for range 2 {
		got, object, err := b.Get(t.Context(), key, 0)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) || object.Metadata["m"] != "v" {
			t.Fatalf("Get returned %q with %q, want %q: a caller changed it", got, object.Metadata, want)
		}
		got[0], object.Metadata["m"] = 'Y', "changed after the read"
	}
}

// blobReplacedWhileRead replaces an object over and over while others read it:
// what they get is one of the contents, whole.
func blobReplacedWhileRead(t *testing.T, b store.Blobs) {
	const key, size, replacements = "changing", 300 << 10, 20
	put := func(i int) error {
		return b.Put(t.Context(), key, bytes.Repeat([]byte{byte('a' + i)}, size+i), store.PutOptions{})
	}
	if err := put(0); err != nil {
		t.Fatal(err)
	}
	var done atomic.Bool
	var group errgroup.Group
	group.Go(func() error {
		defer done.Store(true)
		for i := range replacements {
			if err := put(i); err != nil {
				return err
			}
		}
		return nil
	})
	for range 3 {
		group.Go(func() error {
			for !done.Load() {
				content, _, err := b.Get(t.Context(), key, 0)
				if err != nil {
					return err
				}
				i := len(content) - size
				if i < 0 || i >= replacements || !bytes.Equal(content, bytes.Repeat([]byte{byte('a' + i)}, len(content))) {
					return fmt.Errorf("a read returned %d bytes that nobody wrote", len(content))
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
}

func blobContext(t *testing.T, b store.Blobs) {
	const key = "in/time"
	mustPut(t, b, key, []byte("x"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	check := func(err error) {
		t.Helper()
		wantBlobError(t, err, store.Unavailable, key)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("the error %q doesn't wrap the context's", err)
		}
	}
	_, _, err := b.Get(ctx, key, 0)
	check(err)
	_, err = b.Head(ctx, key)
	check(err)
	check(b.Put(ctx, key, []byte("y"), store.PutOptions{}))
	wantBlob(t, b, key, []byte("x"))
	yielded := 0
	for _, err := range b.List(ctx, key) {
		check(err)
		yielded++
	}
	if yielded != 1 {
		t.Errorf("List yielded %d times, want its error alone", yielded)
	}
}
