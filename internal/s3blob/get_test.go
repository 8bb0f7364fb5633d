package s3blob_test

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kingpinfs/kingpin/internal/devcluster"
	"github.com/kingpinfs/kingpin/internal/devcluster/devtest"
	"github.com/kingpinfs/kingpin/internal/s3blob"
	"github.com/kingpinfs/kingpin/store"
)

const (
	key = "data/config/x_1/5"
	mib = 1 << 20
)

// answers has the server answer the n-th GET with the n-th answer, and all
// further ones with the last. It returns how many there were.
func answers(s *devcluster.S3, handlers ...http.HandlerFunc) *atomic.Int64 {
	var n atomic.Int64
	s.SetFault(func(*http.Request) *devcluster.Fault {
		i := min(int(n.Add(1)), len(handlers)) - 1
		return &devcluster.Fault{Handle: func(w http.ResponseWriter, r *http.Request, _ http.Handler) { handlers[i](w, r) }}
	})
	return &n
}

// object answers with content and headers, in name, value pairs.
func object(content string, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		_, _ = w.Write([]byte(content))
	}
}

func md5Of(content string) string {
	sum := md5.Sum([]byte(content))
	return `"` + hex.EncodeToString(sum[:]) + `"`
}

// TestGetVerifies has a server give hashes that are not the content's.
func TestGetVerifies(t *testing.T) {
	isolate(t)
	s := devtest.S3(t)
	c := open(t, s3blob.Config{Endpoint: s.Endpoint(), Bucket: devtest.Bucket})
	const sha256New = "11507a0e2f5e69d5dfa40a62a1bd7b6ee57e6bcd85c67c9b8431b36fff21c437" // of "new"
	const meta = "X-Amz-Meta-" + store.MetaSHA256
	for _, test := range []struct {
		name     string
		answers  []http.HandlerFunc
		want     string // "" for an error
		requests int64
	}{
		{"the ETag is the MD5", []http.HandlerFunc{object("new", "ETag", md5Of("new"))}, "new", 1},
		{"replaced while it was read", []http.HandlerFunc{
			object("old", "ETag", md5Of("new")), object("new", "ETag", md5Of("new")),
		}, "new", 2},
		{"replaced all the time", []http.HandlerFunc{
			object("one", "ETag", md5Of("two")), object("two", "ETag", md5Of("three")),
		}, "", 2},
		{"mixed contents under one ETag", []http.HandlerFunc{
			object("new", "ETag", md5Of("other")), object("old", "ETag", md5Of("other")),
		}, "", 2},
		{"the ETag is another hash", []http.HandlerFunc{object("new", "ETag", md5Of("encrypted"))}, "new", 2},
		{"encrypted by a key of the server's", []http.HandlerFunc{
			object("new", "ETag", md5Of("encrypted"), "X-Amz-Server-Side-Encryption", "aws:kms"),
		}, "new", 1},
		{"encrypted by a key of the client's", []http.HandlerFunc{
			object("new", "ETag", md5Of("encrypted"), "X-Amz-Server-Side-Encryption-Customer-Algorithm", "AES256"),
		}, "new", 1},
		{"encrypted by S3", []http.HandlerFunc{
			object("old", "ETag", md5Of("new"), "X-Amz-Server-Side-Encryption", "AES256"), object("new", "ETag", md5Of("new")),
		}, "new", 2},
		{"uploaded in parts", []http.HandlerFunc{object("new", "ETag", strings.TrimSuffix(md5Of("new"), `"`)+`-2"`)}, "new", 1},
		{"no ETag", []http.HandlerFunc{object("new")}, "new", 1},
		{"the SHA-256 is right, the ETag is not", []http.HandlerFunc{object("new", "ETag", md5Of("old"), meta, sha256New)}, "new", 1},
		{"the SHA-256 in capitals", []http.HandlerFunc{object("new", meta, strings.ToUpper(sha256New))}, "new", 1},
		{"the SHA-256 is wrong, the ETag is right", []http.HandlerFunc{object("old", "ETag", md5Of("old"), meta, sha256New)}, "", 2},
		{"the SHA-256 is wrong once", []http.HandlerFunc{object("old", meta, sha256New), object("new", meta, sha256New)}, "new", 2},
		{"gone when it is read again", []http.HandlerFunc{
			object("old", "ETag", md5Of("new")),
			func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) },
		}, "", 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			requests := answers(s, test.answers...)
			content, got, err := c.Get(t.Context(), key, mib)
			if test.want == "" {
				wantError(t, err, store.Unavailable, key)
			} else if err != nil || string(content) != test.want || got.Size != int64(len(test.want)) {
				t.Errorf("Get returned %q (%+v), %v, want %q", content, got, err, test.want)
			}
			if requests.Load() != test.requests {
				t.Errorf("Get made %d requests, want %d", requests.Load(), test.requests)
			}
		})
	}
}

// TestGetDamaged changes an object's file beneath a real server.
func TestGetDamaged(t *testing.T) {
	isolate(t)
	v, bucket := devtest.SharedVersityGW(t)
	useKeys(t, v.AccessKey(), v.SecretKey())
	c := open(t, s3blob.Config{Endpoint: v.Endpoint(), Bucket: bucket})
	const sha256New = "11507a0e2f5e69d5dfa40a62a1bd7b6ee57e6bcd85c67c9b8431b36fff21c437"
	err := c.Put(t.Context(), key, []byte("new"), store.PutOptions{Metadata: map[string]string{store.MetaSHA256: sha256New}})
	if err != nil {
		t.Fatal(err)
	}
	if content, _, err := c.Get(t.Context(), key, mib); err != nil || string(content) != "new" {
		t.Fatalf("Get returned %q, %v", content, err)
	}
	file, err := os.OpenFile(filepath.Join(v.Dir(), "data", bucket, key), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.WriteAt([]byte("N"), 0); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	_, _, err = c.Get(t.Context(), key, mib)
	wantError(t, err, store.Unavailable, "it is damaged, publish it again")
}

func TestGetTooLarge(t *testing.T) {
	isolate(t)
	const size, limit = 20 * mib, 16 * mib
	s := devtest.S3(t)
	c := open(t, s3blob.Config{Endpoint: s.Endpoint(), Bucket: devtest.Bucket})
	large := bytes.Repeat([]byte{0xa5}, size)
	if err := c.Put(t.Context(), key, large, store.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	_, _, err := c.Get(t.Context(), key, limit)
	wantError(t, err, store.TooLarge, strconv.Itoa(size), strconv.Itoa(limit))
	if content, _, err := c.Get(t.Context(), key, 0); err != nil || !bytes.Equal(content, large) {
		t.Errorf("Get without a limit returned %d bytes, %v, want %d", len(content), err, size)
	}

	t.Run("is not read", func(t *testing.T) {
		s.SetFault(func(*http.Request) *devcluster.Fault { return &devcluster.Fault{Stall: true} })
		_, _, err := c.Get(t.Context(), key, limit)
		wantError(t, err, store.TooLarge)
	})
	t.Run("of unknown length", func(t *testing.T) {
		var written atomic.Int64
		answers(s, func(w http.ResponseWriter, _ *http.Request) {
			for { // without end
				n, err := w.Write(large[:mib])
				written.Add(int64(n))
				if err != nil {
					return
				}
			}
		})
		_, _, err := c.Get(t.Context(), key, 2*mib)
		wantError(t, err, store.TooLarge, strconv.Itoa(2*mib))
		if n := written.Load(); n < 2*mib {
			t.Errorf("the server wrote %d bytes only", n)
		}
	})
	t.Run("by its word alone", func(t *testing.T) {
		// No memory may be taken for a length that is only claimed.
		answers(s, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000000000000000")
			_, _ = w.Write([]byte("short"))
		})
		_, _, err := c.Get(t.Context(), key, 0)
		wantError(t, err, store.Unavailable, "the connection ended after 5 bytes of 1000000000000000")
	})
}

func TestGetUnknownLength(t *testing.T) {
	isolate(t)
	s := devtest.S3(t)
	c := open(t, s3blob.Config{Endpoint: s.Endpoint(), Bucket: devtest.Bucket})
	want := strings.Repeat("chunk", 10_000)
	answers(s, func(w http.ResponseWriter, _ *http.Request) {
		// The headers, before the length is known.
		_ = http.NewResponseController(w).Flush()
		_, _ = w.Write([]byte(want))
	})
	for _, limit := range []int64{0, int64(len(want)), mib} {
		if content, _, err := c.Get(t.Context(), key, limit); err != nil || string(content) != want {
			t.Errorf("Get with limit %d returned %d bytes, %v, want %d", limit, len(content), err, len(want))
		}
	}
}

// TestGetBrokenOff has the server stop in the middle of an answer.
func TestGetBrokenOff(t *testing.T) {
	isolate(t)
	s := devtest.S3(t)
	const size = 100_000
	put := open(t, s3blob.Config{Endpoint: s.Endpoint(), Bucket: devtest.Bucket})
	if err := put.Put(t.Context(), key, make([]byte, size), store.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, at := range []int{0, 1, 50_000, size - 1} {
		t.Run(fmt.Sprintf("cut after %d", at), func(t *testing.T) {
			s.SetFault(func(*http.Request) *devcluster.Fault { return &devcluster.Fault{Cut: true, BodyBytes: at} })
			_, _, err := put.Get(t.Context(), key, mib)
			wantError(t, err, store.Unavailable, fmt.Sprintf("the connection ended after %d bytes of %d", at, size))
		})
		t.Run(fmt.Sprintf("stalled after %d", at), func(t *testing.T) {
			s.SetFault(func(*http.Request) *devcluster.Fault { return &devcluster.Fault{Stall: true, BodyBytes: at} })
			c := open(t, s3blob.Config{Endpoint: s.Endpoint(), Bucket: devtest.Bucket, IdleTimeout: 30 * time.Millisecond})
			_, _, err := c.Get(t.Context(), key, mib)
			wantError(t, err, store.Unavailable, "was silent for 30ms")

			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
			defer cancel()
			_, _, err = put.Get(ctx, key, mib)
			wantError(t, err, store.Unavailable, "gave up waiting", context.DeadlineExceeded.Error())
		})
	}
	s.SetFault(nil)
	if content, _, err := put.Get(t.Context(), key, mib); err != nil || len(content) != size {
		t.Errorf("afterwards Get returned %d bytes, %v", len(content), err)
	}
}

// TestKeysAreUsedAsTheyAre looks at the path that the server sees for keys
// that URLs and file systems take for something else.
func TestKeysAreUsedAsTheyAre(t *testing.T) {
	isolate(t)
	s := devtest.S3(t)
	c := open(t, s3blob.Config{Endpoint: s.Endpoint(), Bucket: devtest.Bucket})
	for _, key := range []string{"a//b", "a/./b", "a/../b", "../b", "a/", "%2e%2e", "?x=y", "#f", "a\tb"} {
		if err := c.Put(t.Context(), key, []byte(key), store.PutOptions{}); err != nil {
			t.Errorf("Put(%q): %v", key, err)
			continue
		}
		if content, _, err := c.Get(t.Context(), key, 0); err != nil || string(content) != key {
			t.Errorf("Get(%q) returned %q, %v", key, content, err)
		}
		if object, err := c.Head(t.Context(), key); err != nil || object.Key != key {
			t.Errorf("Head(%q) returned %q, %v", key, object.Key, err)
		}
	}
}
