package s3blob_test

import (
	"io"
	"net/http"
	"testing"

	"github.com/kingpinfs/kingpin/internal/devcluster/devtest"
	"github.com/kingpinfs/kingpin/internal/s3blob"
	"github.com/kingpinfs/kingpin/store"
)

// BenchmarkGet reads 1 KiB from the same server through this package, through
// the SDK's GetObject, and by a bare, unsigned GET, which is the limit.
func BenchmarkGet(b *testing.B) {
	isolate(b)
	b.Setenv("AWS_ACCESS_KEY_ID", "AKIABENCH")
	b.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	s := devtest.S3(b)
	c := open(b, s3blob.Config{Endpoint: s.Endpoint(), Bucket: devtest.Bucket})
	const key, size = "data/config/manageddata/test/x_1448012345/670000", 1 << 10
	if err := c.Put(b.Context(), key, make([]byte, size), store.PutOptions{}); err != nil {
		b.Fatal(err)
	}
	run := func(name string, get func() (int, error)) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if n, err := get(); err != nil || n != size {
					b.Fatalf("read %d bytes, %v", n, err)
				}
			}
		})
	}
	run("client", func() (int, error) {
		content, _, err := c.Get(b.Context(), key, 1<<20)
		return len(content), err
	})
	run("sdk", func() (int, error) { return c.GetBySDK(b.Context(), key) })

	bare := &http.Client{Transport: &http.Transport{}}
	defer bare.CloseIdleConnections()
	run("bare", func() (int, error) {
		req, err := http.NewRequestWithContext(b.Context(), http.MethodGet, s.Endpoint()+"/"+devtest.Bucket+"/"+key, nil)
		if err != nil {
			return 0, err
		}
		resp, err := bare.Do(req)
		if err != nil {
			return 0, err
		}
		defer func() { _ = resp.Body.Close() }()
		content, err := io.ReadAll(resp.Body)
		return len(content), err
	})
}
