package storetest

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/kingpinfs/kingpin/store"
)

// listKeys returns the keys that begin with prefix, in the order listed.
func listKeys(t *testing.T, b store.Blobs, prefix string) []string {
	t.Helper()
	var keys []string
	for object, err := range b.List(t.Context(), prefix) {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, object.Key)
	}
	return keys
}

// putAll writes an object for each key, with the key as its content.
func putAll(t *testing.T, b store.Blobs, keys []string) {
	t.Helper()
	group, ctx := errgroup.WithContext(t.Context())
	group.SetLimit(blobsAtOnce)
	for _, key := range keys {
		group.Go(func() error { return b.Put(ctx, key, []byte(key), store.PutOptions{}) })
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
}

// blobKeys checks that keys are used as they are, whatever they hold.
func blobKeys(t *testing.T, b store.Blobs) {
	keys := []string{
		"a b", "a+b", "a%20b", "a%2Fb", "a%2fb", "a&b=c", "a;b", "a?b", "a#b", "a:b", "a@b", "a,b", "a$b",
		"a!b'c(d)*e", `a"b`, "a<b>", "a[b]{c}|^`", "a~b", `a\b`,
		"ünïcödé/日本語/\U0001F600", "combining-e\u0301", "precomposed-\u00e9",
		"dots.in.it", "...", "deep/er/and/deeper/still", "data/config/manageddata/test/x_1448012345/67",
		"Upper", "upper",
	}
	putAll(t, b, keys)
	for _, key := range keys {
		wantBlob(t, b, key, []byte(key))
		if head, err := b.Head(t.Context(), key); err != nil || head.Key != key {
			t.Errorf("Head(%q) returned %q, %v", key, head.Key, err)
		}
		if got := listKeys(t, b, key); !slices.Contains(got, key) {
			t.Errorf("List(%q) yielded %q", key, got)
		}
	}
	slices.Sort(keys)
	if got := listKeys(t, b, ""); !slices.Equal(got, keys) {
		t.Errorf("List yielded %q, want %q", got, keys)
	}
}

func blobList(t *testing.T, b store.Blobs) {
	putAll(t, b, []string{
		"data/x", "data/x_1448012345/67", "data/x_1448012345/670001", "data/x_1448012346/1", "data/x_y", "data/x_y_1/5",
		"data/y", "dat", "datb/x",
	})
	for _, test := range []struct {
		prefix string
		want   []string
	}{
		{"", []string{
			"dat", "data/x", "data/x_1448012345/67", "data/x_1448012345/670001", "data/x_1448012346/1", "data/x_y",
			"data/x_y_1/5", "data/y", "datb/x",
		}},
		{"data/x_", []string{
			"data/x_1448012345/67", "data/x_1448012345/670001", "data/x_1448012346/1", "data/x_y", "data/x_y_1/5",
		}},
		{"data/x_1448012345", []string{"data/x_1448012345/67", "data/x_1448012345/670001"}},
		{"data/x_1448012345/67", []string{"data/x_1448012345/67", "data/x_1448012345/670001"}},
		{"data/y", []string{"data/y"}},
		{"data/y/", nil},
		{"missing", nil},
	} {
		if got := listKeys(t, b, test.prefix); !slices.Equal(got, test.want) {
			t.Errorf("List(%q) yielded %q, want %q", test.prefix, got, test.want)
		}
	}
	for object, err := range b.List(t.Context(), "data/y") {
		if err != nil {
			t.Fatal(err)
		}
		if object.Size != int64(len("data/y")) || object.Modified.IsZero() || object.Metadata != nil {
			t.Errorf("List yielded %+v, want size and time, and no metadata", object)
		}
	}
}

// blobListPages lists more objects than S3 returns at once.
func blobListPages(t *testing.T, b store.Blobs) {
	const n = 2500
	keys := make([]string, n)
	for i := range keys {
		keys[i] = fmt.Sprintf("many/x_%04d", i)
	}
	putAll(t, b, keys)
	if got := listKeys(t, b, "many/"); !slices.Equal(got, keys) {
		t.Errorf("List yielded %d keys, want the %d written, in order", len(got), n)
	}
	// A caller that has seen enough is asked for no more.
	var got []string
	for object, err := range b.List(t.Context(), "many/") {
		if err != nil {
			t.Fatal(err)
		}
		if got = append(got, object.Key); len(got) == 1500 {
			break
		}
	}
	if !slices.Equal(got, keys[:1500]) {
		t.Errorf("List yielded %d keys until it was left, want the first 1500", len(got))
	}
	// A caller that gives up in the middle gets the reason, once.
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var errs []error
	for _, err := range b.List(ctx, "many/") {
		cancel()
		if err != nil {
			errs = append(errs, err)
		}
	}
	if len(errs) > 1 {
		t.Errorf("List yielded %d errors, want it to end after the first", len(errs))
	}
}
