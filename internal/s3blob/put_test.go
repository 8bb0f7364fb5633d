package s3blob_test

import (
	"bytes"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/kingpinfs/kingpin/internal/devcluster"
	"github.com/kingpinfs/kingpin/internal/devcluster/devtest"
	"github.com/kingpinfs/kingpin/internal/s3blob"
	"github.com/kingpinfs/kingpin/store"
)

// TestPutWithoutConditions has a server that knows no conditional writes.
func TestPutWithoutConditions(t *testing.T) {
	isolate(t)
	s := devtest.S3(t)
	c := open(t, s3blob.Config{Endpoint: s.Endpoint(), Bucket: devtest.Bucket})
	s.SetFault(func(r *http.Request) *devcluster.Fault {
		if r.Header.Get("If-None-Match") != "" {
			return &devcluster.Fault{Status: http.StatusNotImplemented, Code: "NotImplemented"}
		}
		return nil
	})
	for _, content := range []string{"first", "second"} {
		if err := c.Put(t.Context(), "k", []byte(content), store.PutOptions{IfAbsent: true}); err != nil {
			t.Fatal(err)
		}
		if got, _, err := c.Get(t.Context(), "k", 0); err != nil || string(got) != content {
			t.Errorf("Get returned %q, %v, want %q", got, err, content)
		}
	}
}

func TestPutRace(t *testing.T) {
	isolate(t)
	s := devtest.S3(t)
	c := open(t, s3blob.Config{Endpoint: s.Endpoint(), Bucket: devtest.Bucket})
	s.SetFault(func(*http.Request) *devcluster.Fault {
		return &devcluster.Fault{Status: http.StatusConflict, Code: "ConditionalRequestConflict"}
	})
	wantError(t, c.Put(t.Context(), "k", nil, store.PutOptions{IfAbsent: true}), store.Exists, "ConditionalRequestConflict")
}

// TestPutRequest looks at what is sent.
func TestPutRequest(t *testing.T) {
	isolate(t)
	s := devtest.S3(t)
	c := open(t, s3blob.Config{Endpoint: s.Endpoint(), Bucket: devtest.Bucket})
	content := bytes.Repeat([]byte("x"), 3<<20) // the SDK would say Expect: 100-continue
	var sent http.Header
	s.SetFault(func(r *http.Request) *devcluster.Fault {
		if r.Method == http.MethodPut {
			sent = r.Header.Clone()
		}
		return nil
	})
	if err := c.Put(t.Context(), "k", content, store.PutOptions{Metadata: map[string]string{"a": "b"}}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"Content-Type":      "application/octet-stream",
		"X-Amz-Meta-A":      "b",
		"If-None-Match":     "",
		"Expect":            "",
		"X-Amz-Trailer":     "",
		"Content-Encoding":  "",
		"Transfer-Encoding": "",
	} {
		if got := sent.Get(name); got != want {
			t.Errorf("the header %s is %q, want %q", name, got, want)
		}
	}
	if got, object, err := c.Get(t.Context(), "k", 0); err != nil || !bytes.Equal(got, content) || object.Size != 3<<20 {
		t.Errorf("Get returned %d bytes and %+v, %v", len(got), object, err)
	}
}

func TestPutRefusesMetadata(t *testing.T) {
	isolate(t)
	s := devtest.S3(t)
	var requests atomic.Int64
	s.SetFault(func(*http.Request) *devcluster.Fault {
		requests.Add(1)
		return nil
	})
	c := open(t, s3blob.Config{Endpoint: s.Endpoint(), Bucket: devtest.Bucket})
	for key, value := range map[string]string{"": "v", "Upper": "v", "k\u00e9": "v", "k1": "line\nbreak", "k2": "\u00fcml"} {
		err := c.Put(t.Context(), "k", nil, store.PutOptions{Metadata: map[string]string{key: value}})
		wantError(t, err, store.Invalid, "metadata")
	}
	if n := requests.Load(); n != 0 {
		t.Errorf("%d requests were made", n)
	}
}
