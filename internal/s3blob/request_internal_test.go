package s3blob

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// recorder is an HTTP client that keeps the request and fails.
type recorder struct{ request *http.Request }

func (r *recorder) Do(req *http.Request) (*http.Response, error) {
	r.request = req
	return nil, errors.New("the request is recorded")
}

// scope returns what a request is signed for: "region/service/aws4_request".
func scope(t *testing.T, req *http.Request) string {
	t.Helper()
	_, credential, ok := strings.Cut(req.Header.Get("Authorization"), "Credential=AKIA/")
	if !ok {
		t.Fatalf("the request has the authorization %q", req.Header.Get("Authorization"))
	}
	credential, _, _ = strings.Cut(credential, ",")
	_, scope, _ := strings.Cut(credential, "/") // the date
	return scope
}

// TestRequestIsTheSDKs compares our GET requests with the SDK's, wherever the
// bucket may be.
func TestRequestIsTheSDKs(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIA")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	t.Setenv("AWS_SESSION_TOKEN", "token")
	t.Setenv("AWS_REGION", "")
	t.Setenv("AWS_PROFILE", "")
	missing := t.TempDir() + "/missing"
	t.Setenv("AWS_CONFIG_FILE", missing)
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", missing)
	for _, test := range []struct {
		name string
		cfg  Config
		env  map[string]string
		url  string // of the key "k"
	}{
		{"AWS", Config{Bucket: "bucket"}, nil, "https://bucket.s3.us-east-1.amazonaws.com/k"},
		{"AWS in a region", Config{Bucket: "bucket", Region: "eu-west-1"}, nil, "https://bucket.s3.eu-west-1.amazonaws.com/k"},
		{"AWS in the region of the environment", Config{Bucket: "bucket"}, map[string]string{"AWS_REGION": "eu-west-1"},
			"https://bucket.s3.eu-west-1.amazonaws.com/k"},
		{"AWS in China", Config{Bucket: "bucket", Region: "cn-north-1"}, nil, "https://bucket.s3.cn-north-1.amazonaws.com.cn/k"},
		{"a bucket with dots", Config{Bucket: "my.dotted.bucket"}, nil, "https://s3.us-east-1.amazonaws.com/my.dotted.bucket/k"},
		{"AWS by IPv6", Config{Bucket: "bucket"}, map[string]string{"AWS_USE_DUALSTACK_ENDPOINT": "true"},
			"https://bucket.s3.dualstack.us-east-1.amazonaws.com/k"},
		{"AWS named", Config{Bucket: "bucket", Endpoint: "s3-us-west-2.amazonaws.com"}, nil, "https://s3-us-west-2.amazonaws.com/bucket/k"},
		{"another server", Config{Bucket: "bucket", Endpoint: "http://127.0.0.1:9000"}, nil, "http://127.0.0.1:9000/bucket/k"},
		{"below a path", Config{Bucket: "bucket", Endpoint: "https://host/below/"}, nil, "https://host/below/bucket/k"},
		{"the environment's endpoint", Config{Bucket: "bucket"}, map[string]string{"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9000"},
			"http://127.0.0.1:9000/bucket/k"},
	} {
		t.Run(test.name, func(t *testing.T) {
			for name, value := range test.env {
				t.Setenv(name, value)
			}
			c, err := New(t.Context(), test.cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			for _, key := range []string{"k", "data/config/x_1/5", "a b+c%2F?d#e", "\u00fcn\u00ef/\u65e5\u672c", "/leading", "a//b/../c/", "(x)'y*z!~"} {
				var sdk recorder
				_, err := c.s3.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &test.cfg.Bucket, Key: &key},
					func(o *s3.Options) { o.HTTPClient = &sdk })
				if err == nil || sdk.request == nil {
					t.Fatalf("the SDK made no request: %v", err)
				}
				ours, err := c.get.request(t.Context(), key)
				if err != nil {
					t.Fatal(err)
				}
				sdk.request.URL.RawQuery = "" // it names the operation
				if got, want := ours.URL.String(), sdk.request.URL.String(); got != want {
					t.Errorf("the URL is %s, the SDK's is %s", got, want)
				}
				if got := ours.URL.String(); key == "k" && got != test.url {
					t.Errorf("the URL is %s, want %s", got, test.url)
				}
				if got, want := ours.URL.Path, sdk.request.URL.Path; got != want {
					t.Errorf("the path is %s, the SDK's is %s", got, want)
				}
				if got, want := ours.Host, sdk.request.URL.Host; got != want {
					t.Errorf("the host is %s, the SDK's is %s", got, want)
				}
				if got, want := scope(t, ours), scope(t, sdk.request); got != want {
					t.Errorf("the request is signed for %s, the SDK's for %s", got, want)
				}
				for _, name := range []string{"X-Amz-Content-Sha256", "X-Amz-Security-Token"} {
					if got, want := ours.Header.Get(name), sdk.request.Header.Get(name); got != want {
						t.Errorf("the header %s is %q, the SDK's is %q", name, got, want)
					}
				}
			}
		})
	}
}

func TestUnsupportedBuckets(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIA")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	// A multi-region access point needs another signature.
	_, err := New(t.Context(), Config{Bucket: "arn:aws:s3::123456789012:accesspoint/mfzwi23gnjvgw.mrap"})
	if err == nil {
		t.Error("a multi-region access point was accepted")
	}
}

func TestReadErrorBounds(t *testing.T) {
	endless := io.MultiReader(strings.NewReader("<Error><Code>SlowDown</Code>"), bytes.NewReader(make([]byte, 10*maxErrorBody)))
	counted := &countingReader{r: endless}
	err := readError(&http.Response{Body: io.NopCloser(counted)})
	if err == nil || counted.n > maxErrorBody {
		t.Errorf("readError read %d bytes and returned %v", counted.n, err)
	}
}

type countingReader struct {
	r io.Reader
	n int
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += n
	return n, err
}
