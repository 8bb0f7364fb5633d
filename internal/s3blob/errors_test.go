package s3blob_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kingpinfs/kingpin/internal/devcluster"
	"github.com/kingpinfs/kingpin/internal/devcluster/devtest"
	"github.com/kingpinfs/kingpin/internal/s3blob"
	"github.com/kingpinfs/kingpin/store"
)

// operation is one way to use a client.
type operation struct {
	name string
	run  func(context.Context, *s3blob.Client) error
}

// operations are all of them. HEAD requests get no reasons, so head is apart.
var (
	head = operation{"Head", func(ctx context.Context, c *s3blob.Client) error {
		_, err := c.Head(ctx, "some/key")
		return err
	}}
	withReasons = []operation{
		{"Get", func(ctx context.Context, c *s3blob.Client) error {
			_, _, err := c.Get(ctx, "some/key", 1<<20)
			return err
		}},
		{"Put", func(ctx context.Context, c *s3blob.Client) error {
			return c.Put(ctx, "some/key", []byte("content"), store.PutOptions{})
		}},
		{"List", func(ctx context.Context, c *s3blob.Client) error {
			var err error
			for _, err = range c.List(ctx, "some/") {
				break
			}
			return err
		}},
		{"CheckBucket", func(ctx context.Context, c *s3blob.Client) error { return c.CheckBucket(ctx) }},
	}
	operations = append([]operation{head}, withReasons...)
)

// wantError fails the test unless err is of the kind, and of no other, and its
// text has all the parts. It must never hold a secret.
func wantError(t *testing.T, err error, kind store.Kind, parts ...string) {
	t.Helper()
	if _, ok := errors.AsType[*store.Error](err); !ok {
		t.Fatalf("the error is %v (%T), want a *store.Error", err, err)
	}
	for other := store.NotFound; other <= store.TooLarge; other++ {
		if errors.Is(err, other) != (other == kind) {
			t.Errorf("errors.Is(%q, %q) is %t", err, other, other != kind)
		}
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("the error %q doesn't say %q", err, part)
		}
	}
	if strings.Contains(strings.ToLower(err.Error()), "verysecret") {
		t.Errorf("the error %q holds the secret key", err)
	}
}

// useKeys puts credentials into the environment.
func useKeys(t *testing.T, id, secret string) {
	t.Helper()
	t.Setenv("AWS_ACCESS_KEY_ID", id)
	t.Setenv("AWS_SECRET_ACCESS_KEY", secret)
}

func TestMissingBucket(t *testing.T) {
	isolate(t)
	s := devtest.S3(t)
	v, _ := devtest.SharedVersityGW(t)
	useKeys(t, v.AccessKey(), v.SecretKey())
	for _, endpoint := range []string{s.Endpoint(), v.Endpoint()} {
		c := open(t, s3blob.Config{Endpoint: endpoint, Bucket: "no-such-bucket"})
		for _, op := range withReasons {
			t.Run(op.name, func(t *testing.T) {
				wantError(t, op.run(t.Context(), c), store.NotFound,
					`there is no bucket "no-such-bucket"`, endpoint, "--s3-bucket")
			})
		}
		wantError(t, head.run(t.Context(), c), store.NotFound, "some/key")
	}
}

func TestWrongCredentials(t *testing.T) {
	isolate(t)
	v, bucket := devtest.SharedVersityGW(t)
	for _, test := range []struct {
		name       string
		id, secret string
		parts      []string
	}{
		{"unknown key id", "AKIAUNKNOWN", "verysecret", []string{`"AKIAUNKNOWN"`, "check the key id", v.Endpoint()}},
		{"wrong secret", v.AccessKey(), "verysecret", []string{`"` + v.AccessKey() + `"`, "the secret key is not the one"}},
		{"none", "", "", []string{"no credentials were found", "--aws-key-file"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			useKeys(t, test.id, test.secret)
			c := open(t, s3blob.Config{Endpoint: v.Endpoint(), Bucket: bucket})
			for _, op := range withReasons {
				wantError(t, op.run(t.Context(), c), store.Denied, test.parts...)
			}
		})
	}
	t.Run("wrong region", func(t *testing.T) {
		useKeys(t, v.AccessKey(), v.SecretKey())
		c := open(t, s3blob.Config{Endpoint: v.Endpoint(), Bucket: bucket, Region: "eu-west-9"})
		for _, op := range withReasons {
			wantError(t, op.run(t.Context(), c), store.Denied, `"eu-west-9"`, "AWS_REGION")
		}
	})
}

// TestFaultyAnswers has the server answer every request with an error.
func TestFaultyAnswers(t *testing.T) {
	isolate(t)
	useKeys(t, "AKIAUS", "verysecret")
	s := devtest.S3(t)
	c := open(t, s3blob.Config{Endpoint: s.Endpoint(), Bucket: devtest.Bucket})
	for _, test := range []struct {
		fault devcluster.Fault
		kind  store.Kind
		part  string
		head  store.Kind // what HEAD can tell
	}{
		{devcluster.Fault{Status: 500, Code: "InternalError"}, store.Unavailable, "InternalError (500)", store.Unavailable},
		{devcluster.Fault{Status: 503, Code: "SlowDown"}, store.Unavailable, "SlowDown (503)", store.Unavailable},
		{devcluster.Fault{Status: 400, Code: "RequestTimeout"}, store.Unavailable, "RequestTimeout (400)", store.Unavailable},
		{devcluster.Fault{Status: 502}, store.Unavailable, "the server answered 502 Bad Gateway", store.Unavailable},
		{devcluster.Fault{Status: 404}, store.Unavailable, "an S3 server?", store.NotFound},
		{devcluster.Fault{Status: 403, Code: "AccessDenied"}, store.Denied, "s3:ListBucket", store.Denied},
		{devcluster.Fault{Status: 403}, store.Denied, `"AKIAUS"`, store.Denied},
		{devcluster.Fault{Status: 401}, store.Denied, `"AKIAUS"`, store.Denied},
		{devcluster.Fault{Status: 403, Code: "InvalidAccessKeyId"}, store.Denied, `"AKIAUS"`, store.Denied},
		{devcluster.Fault{Status: 403, Code: "RequestTimeTooSkewed"}, store.Denied, "clock", store.Denied},
		{devcluster.Fault{Status: 400, Code: "ExpiredToken"}, store.Denied, "renew the session", store.Unavailable},
		{devcluster.Fault{Status: 400, Code: "AuthorizationHeaderMalformed"}, store.Denied, `"us-east-1"`, store.Unavailable},
		{devcluster.Fault{Status: 301, Code: "PermanentRedirect"}, store.Denied, "--s3-endpoint", store.Denied},
		{devcluster.Fault{Status: 400, Code: "KeyTooLongError"}, store.Invalid, "KeyTooLongError", store.Unavailable},
		{devcluster.Fault{Status: 400, Code: "EntityTooLarge"}, store.TooLarge, "EntityTooLarge", store.Unavailable},
		{devcluster.Fault{Status: 409, Code: "OperationAborted"}, store.Unavailable, "OperationAborted", store.Unavailable},
	} {
		t.Run(http.StatusText(test.fault.Status)+" "+test.fault.Code, func(t *testing.T) {
			var requests atomic.Int64
			s.SetFault(func(*http.Request) *devcluster.Fault {
				requests.Add(1)
				return &test.fault
			})
			for _, op := range withReasons {
				wantError(t, op.run(t.Context(), c), test.kind, test.part)
			}
			wantError(t, head.run(t.Context(), c), test.head)
			if got, want := requests.Load(), int64(len(operations)); got != want {
				t.Errorf("%d operations made %d requests, want one each", want, got)
			}
		})
	}
}

func TestBucketInOtherRegion(t *testing.T) {
	isolate(t)
	s := devtest.S3(t)
	s.SetFault(func(*http.Request) *devcluster.Fault {
		return &devcluster.Fault{Handle: func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			w.Header().Set("X-Amz-Bucket-Region", "eu-central-1")
			w.WriteHeader(http.StatusMovedPermanently)
		}}
	})
	c := open(t, s3blob.Config{Endpoint: s.Endpoint(), Bucket: devtest.Bucket})
	for _, op := range operations {
		wantError(t, op.run(t.Context(), c), store.Denied, `"eu-central-1"`, `"us-east-1"`, "AWS_REGION")
	}
}

// TestRedirectIsNotFollowed has a server point at another one, which must not
// be asked: a signature holds for one host, and content from elsewhere is not
// the bucket's.
func TestRedirectIsNotFollowed(t *testing.T) {
	isolate(t)
	useKeys(t, "AKIAUS", "verysecret")
	var asked atomic.Int64
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	defer other.Close()
	s := devtest.S3(t)
	s.SetFault(func(*http.Request) *devcluster.Fault {
		return &devcluster.Fault{Handle: func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
			http.Redirect(w, r, other.URL+"/elsewhere", http.StatusTemporaryRedirect)
		}}
	})
	c := open(t, s3blob.Config{Endpoint: s.Endpoint(), Bucket: devtest.Bucket})
	for _, op := range operations {
		wantError(t, op.run(t.Context(), c), store.Denied, other.URL)
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("the other server got %d requests", n)
	}
}

func TestServerDownAndBack(t *testing.T) {
	isolate(t)
	s := devtest.S3(t)
	c := open(t, s3blob.Config{Endpoint: s.Endpoint(), Bucket: devtest.Bucket})
	put := withReasons[1]
	if err := put.run(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	for _, op := range operations {
		wantError(t, op.run(t.Context(), c), store.Unavailable, "connection refused", strings.TrimPrefix(s.Endpoint(), "http://"))
	}
	if err := s.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, op := range operations {
		if err := op.run(t.Context(), c); err != nil {
			t.Errorf("%s after the server is back: %v", op.name, err)
		}
	}
}

func TestSilentServer(t *testing.T) {
	isolate(t)
	s := devtest.S3(t)
	s.SetFault(func(*http.Request) *devcluster.Fault { return &devcluster.Fault{Hang: true} })
	c := open(t, s3blob.Config{Endpoint: s.Endpoint(), Bucket: devtest.Bucket, IdleTimeout: 30 * time.Millisecond})
	for _, op := range operations {
		wantError(t, op.run(t.Context(), c), store.Unavailable, "was silent for 30ms", s.Endpoint())
	}
}

// TestFrozenServer pauses a real server: the kernel accepts connections and
// takes what is written, and nobody answers.
func TestFrozenServer(t *testing.T) {
	isolate(t)
	v := devtest.VersityGW(t)
	useKeys(t, v.AccessKey(), v.SecretKey())
	patient := open(t, s3blob.Config{Endpoint: v.Endpoint(), Bucket: devtest.Bucket})
	c := open(t, s3blob.Config{Endpoint: v.Endpoint(), Bucket: devtest.Bucket, IdleTimeout: 100 * time.Millisecond})
	if err := patient.CheckBucket(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := v.Pause(); err != nil {
		t.Fatal(err)
	}
	for _, op := range operations {
		wantError(t, op.run(t.Context(), c), store.Unavailable, "was silent for 100ms")
	}
	if err := v.Resume(); err != nil {
		t.Fatal(err)
	}
	if err := patient.CheckBucket(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestContextEndsCalls cancels a call as soon as the server has got it.
func TestContextEndsCalls(t *testing.T) {
	isolate(t)
	s := devtest.S3(t)
	arrived := make(chan struct{})
	s.SetFault(func(*http.Request) *devcluster.Fault {
		arrived <- struct{}{}
		return &devcluster.Fault{Hang: true}
	})
	c := open(t, s3blob.Config{Endpoint: s.Endpoint(), Bucket: devtest.Bucket})
	for _, op := range operations {
		ctx, cancel := context.WithCancelCause(t.Context())
		go func() {
			<-arrived
			cancel(errors.New("the test is impatient"))
		}()
		err := op.run(ctx, c)
		wantError(t, err, store.Unavailable, "gave up waiting", "the test is impatient")
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: the error %q doesn't wrap the context's", op.name, err)
		}
	}
}

func TestListFailsBetweenPages(t *testing.T) {
	isolate(t)
	s := devtest.S3(t)
	c := open(t, s3blob.Config{Endpoint: s.Endpoint(), Bucket: devtest.Bucket})
	s.SetFault(func(r *http.Request) *devcluster.Fault {
		if r.URL.Query().Has("continuation-token") {
			return &devcluster.Fault{Status: http.StatusServiceUnavailable, Code: "SlowDown"}
		}
		return &devcluster.Fault{Handle: func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			_, _ = w.Write([]byte(`<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>` +
				`<Contents><Key>a</Key><Size>1</Size></Contents></ListBucketResult>`))
		}}
	})
	var keys []string
	var errs []error
	for object, err := range c.List(t.Context(), "") {
		if err != nil {
			errs = append(errs, err)
			continue
		}
		keys = append(keys, object.Key)
	}
	if len(keys) != 1 || len(errs) != 1 {
		t.Fatalf("List yielded the keys %q and the errors %q, want one of each", keys, errs)
	}
	wantError(t, errs[0], store.Unavailable, "SlowDown")
}
