package s3blob_test

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kingpinfs/kingpin/internal/devcluster"
	"github.com/kingpinfs/kingpin/internal/devcluster/devtest"
	"github.com/kingpinfs/kingpin/internal/s3blob"
	"github.com/kingpinfs/kingpin/store"
)

// TestWrongClock reads and writes while this machine's clock and the server's
// differ: the server refuses what isn't signed for its present, as S3 does, and
// then is asked in its own time.
func TestWrongClock(t *testing.T) {
	isolate(t)
	useKeys(t, "AKIAUS", "verysecret")
	var ahead, refused atomic.Int64
	s := devtest.S3(t)
	s.SetFault(func(*http.Request) *devcluster.Fault {
		return &devcluster.Fault{Handle: func(w http.ResponseWriter, r *http.Request, server http.Handler) {
			now := time.Now().Add(time.Duration(ahead.Load()))
			signed, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
			if err == nil && now.Sub(signed).Abs() < 15*time.Minute {
				// It has a clock of its own.
				r.Header.Set("X-Amz-Date", time.Now().UTC().Format("20060102T150405Z"))
				server.ServeHTTP(w, r)
				return
			}
			refused.Add(1)
			w.Header().Set("Date", now.UTC().Format(http.TimeFormat))
			w.WriteHeader(http.StatusForbidden)
			if _, err := fmt.Fprint(w, "<Error><Code>RequestTimeTooSkewed</Code><Message>The difference is too large.</Message></Error>"); err != nil {
				t.Error(err)
			}
		}}
	})
	c := open(t, s3blob.Config{Endpoint: s.Endpoint(), Bucket: devtest.Bucket})
	if err := c.Put(t.Context(), "key", []byte("content"), store.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, hours := range []time.Duration{1, -1, 0} { // set back, set forth, mended
		ahead.Store(int64(hours * time.Hour))
		refused.Store(0)
		for range 3 {
			if content, _, err := c.Get(t.Context(), "key", 0); err != nil || string(content) != "content" {
				t.Errorf("%d hours: read %q: %v", hours, content, err)
			}
		}
		if err := c.Put(t.Context(), "key", []byte("content"), store.PutOptions{}); err != nil {
			t.Errorf("%d hours: %v", hours, err)
		}
		if n := refused.Load(); n != 1 {
			t.Errorf("%d hours: the server refused %d requests, want 1", hours, n)
		}
	}
	// What isn't sent again by itself succeeds the next time.
	ahead.Store(int64(time.Hour))
	wantError(t, c.Put(t.Context(), "key", []byte("content"), store.PutOptions{}), store.Denied, "clock")
	if err := c.Put(t.Context(), "key", []byte("content"), store.PutOptions{}); err != nil {
		t.Error(err)
	}
}
