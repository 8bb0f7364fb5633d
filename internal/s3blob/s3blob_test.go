package s3blob_test

import (
	"testing"

	"github.com/kingpinfs/kingpin/internal/devcluster/devtest"
	"github.com/kingpinfs/kingpin/internal/s3blob"
	"github.com/kingpinfs/kingpin/store"
	"github.com/kingpinfs/kingpin/store/storetest"
)

func TestMain(m *testing.M) { devtest.Main(m) }

// isolate keeps the credentials and settings of whoever runs the tests, and
// the role of the machine that they run on, out of them.
func isolate(tb testing.TB) {
	tb.Helper()
	for _, name := range []string{
		"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_REGION",
		"AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
		"AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_WEB_IDENTITY_TOKEN_FILE",
	} {
		tb.Setenv(name, "")
	}
	missing := tb.TempDir() + "/missing"
	tb.Setenv("AWS_CONFIG_FILE", missing)
	tb.Setenv("AWS_SHARED_CREDENTIALS_FILE", missing)
	tb.Setenv("AWS_EC2_METADATA_DISABLED", "true")
}

// open returns a client that is closed when the test ends.
func open(tb testing.TB, cfg s3blob.Config) *s3blob.Client {
	tb.Helper()
	c, err := s3blob.New(tb.Context(), cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(c.Close)
	return c
}

func TestConformanceGofakes3(t *testing.T) {
	isolate(t)
	storetest.Blobs(t, func(t *testing.T) store.Blobs {
		t.Helper()
		s, bucket := devtest.SharedS3(t)
		return open(t, s3blob.Config{Endpoint: s.Endpoint(), Bucket: bucket})
	})
}

func TestConformanceVersityGW(t *testing.T) {
	isolate(t)
	storetest.Blobs(t, func(t *testing.T) store.Blobs {
		t.Helper()
		v, bucket := devtest.SharedVersityGW(t)
		t.Setenv("AWS_ACCESS_KEY_ID", v.AccessKey())
		t.Setenv("AWS_SECRET_ACCESS_KEY", v.SecretKey())
		return open(t, s3blob.Config{Endpoint: v.Endpoint(), Bucket: bucket, Region: v.Region()})
	})
}
