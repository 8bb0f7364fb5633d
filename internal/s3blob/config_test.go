package s3blob_test

import (
	"bytes"
	"context"
	"encoding/pem"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/kingpinfs/kingpin/internal/devcluster"
	"github.com/kingpinfs/kingpin/internal/devcluster/devtest"
	"github.com/kingpinfs/kingpin/internal/s3blob"
	"github.com/kingpinfs/kingpin/store"
)

// TestBareHost gives the endpoint as host:port, as the Python fleet does: it
// is spoken to by TLS.
func TestBareHost(t *testing.T) {
	isolate(t)
	s := devtest.S3(t)
	backend, err := url.Parse(s.Endpoint())
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(backend)
	proxy.Transport = &http.Transport{DisableKeepAlives: true}
	secure := httptest.NewUnstartedServer(proxy)
	secure.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	secure.StartTLS()
	defer secure.Close()
	bareHost := strings.TrimPrefix(secure.URL, "https://")

	untrusting := open(t, s3blob.Config{Endpoint: bareHost, Bucket: devtest.Bucket})
	wantError(t, untrusting.CheckBucket(t.Context()), store.Unavailable, "certificate")

	bundle := filepath.Join(t.TempDir(), "ca.pem")
	block := &pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw}
	if err := os.WriteFile(bundle, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_CA_BUNDLE", bundle)
	c := open(t, s3blob.Config{Endpoint: bareHost, Bucket: devtest.Bucket})
	for _, op := range []operation{withReasons[1], withReasons[0], head, withReasons[2], withReasons[3]} {
		if err := op.run(t.Context(), c); err != nil {
			t.Errorf("%s: %v", op.name, err)
		}
	}

	plain := open(t, s3blob.Config{Endpoint: backend.Host, Bucket: devtest.Bucket})
	for _, op := range operations {
		wantError(t, op.run(t.Context(), plain), store.Unavailable, "doesn't speak TLS", "http://")
	}
}

func TestNewRefuses(t *testing.T) {
	isolate(t)
	for _, test := range []struct {
		name   string
		change func(*s3blob.Config)
		parts  []string
	}{
		{"no bucket", func(c *s3blob.Config) { c.Bucket = "" }, []string{"--s3-bucket"}},
		{"a bucket's name with a slash", func(c *s3blob.Config) { c.Bucket, c.Endpoint = "a/b", "" }, []string{`"s3://a/b"`}},
		{"another scheme", func(c *s3blob.Config) { c.Endpoint = "ftp://host" }, []string{`"ftp://host"`, "http://host"}},
		{"no host", func(c *s3blob.Config) { c.Endpoint = "http://" }, []string{"names no host"}},
		{"only a port", func(c *s3blob.Config) { c.Endpoint = ":9000" }, []string{"names no host"}},
		{"not a URL", func(c *s3blob.Config) { c.Endpoint = "http://ho st" }, []string{"neither a host nor a URL"}},
		{"a query", func(c *s3blob.Config) { c.Endpoint = "http://host?x" }, []string{"nothing else"}},
		{"a key file that isn't there", func(c *s3blob.Config) { c.KeyFile = "/nonexistent/boto.cfg" },
			[]string{`"/nonexistent/boto.cfg"`, "no such file", "--aws-key-file"}},
		{"a key file that is a directory", func(c *s3blob.Config) { c.KeyFile = "/tmp" }, []string{`"/tmp"`, "is a directory"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			cfg := s3blob.Config{Endpoint: "http://127.0.0.1:1", Bucket: "bucket"}
			test.change(&cfg)
			_, err := s3blob.New(t.Context(), cfg)
			wantError(t, err, store.Invalid, test.parts...)
		})
	}
	t.Run("a profile that isn't there", func(t *testing.T) {
		t.Setenv("AWS_PROFILE", "no-such-profile")
		_, err := s3blob.New(t.Context(), s3blob.Config{Bucket: "bucket"})
		wantError(t, err, store.Invalid, "no-such-profile", "~/.aws")
	})
	t.Run("an endpoint with a password", func(t *testing.T) {
		_, err := s3blob.New(t.Context(), s3blob.Config{Bucket: "bucket", Endpoint: "https://user:verysecret@host"})
		wantError(t, err, store.Invalid, "key file")
	})
}

// keyFile writes a boto file.
func keyFile(t *testing.T, id, secret string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "boto.cfg")
	writeKeyFile(t, path, id, secret)
	return path
}

func writeKeyFile(t *testing.T, path, id, secret string) {
	t.Helper()
	text := "[Credentials]\naws_access_key_id = " + id + "\naws_secret_access_key = " + secret + "\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestKeyFile uses a boto file, whose keys win over the environment's.
func TestKeyFile(t *testing.T) {
	isolate(t)
	useKeys(t, "AKIAENVIRONMENT", "verysecret")
	v, bucket := devtest.SharedVersityGW(t)
	c := open(t, s3blob.Config{Endpoint: v.Endpoint(), Bucket: bucket, KeyFile: keyFile(t, v.AccessKey(), v.SecretKey())})
	for _, op := range []operation{withReasons[1], withReasons[0], head, withReasons[2], withReasons[3]} {
		if err := op.run(t.Context(), c); err != nil {
			t.Errorf("%s: %v", op.name, err)
		}
	}
}

// TestReplacedKeys replaces refused keys in their file while a client runs.
func TestReplacedKeys(t *testing.T) {
	isolate(t)
	v, bucket := devtest.SharedVersityGW(t)
	put := withReasons[1]
	for _, op := range withReasons {
		t.Run(op.name, func(t *testing.T) {
			file := keyFile(t, "AKIAOLD", "verysecret")
			c := open(t, s3blob.Config{Endpoint: v.Endpoint(), Bucket: bucket, KeyFile: file})
			wantError(t, op.run(t.Context(), c), store.Denied, `"AKIAOLD"`, file)
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
			wantError(t, op.run(t.Context(), c), store.Denied, file, "no such file")
			writeKeyFile(t, file, v.AccessKey(), "verysecret")
			wantError(t, op.run(t.Context(), c), store.Denied, `"`+v.AccessKey()+`"`)
			writeKeyFile(t, file, v.AccessKey(), v.SecretKey())
			if err := put.run(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			if err := op.run(t.Context(), c); err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("of the SDK's chain", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "credentials")
		write := func(secret string) {
			text := "[default]\naws_access_key_id = " + v.AccessKey() + "\naws_secret_access_key = " + secret + "\n"
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		write("verysecret")
		t.Setenv("AWS_SHARED_CREDENTIALS_FILE", file)
		c := open(t, s3blob.Config{Endpoint: v.Endpoint(), Bucket: bucket})
		wantError(t, c.CheckBucket(t.Context()), store.Denied, `"`+v.AccessKey()+`"`)
		write(v.SecretKey())
		if err := c.CheckBucket(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// TestNoCredentials has a client find no credentials: it must not go looking
// for the machine's role, which is only there on EC2, unless the server is
// AWS's.
func TestNoCredentials(t *testing.T) {
	isolate(t)
	var asked atomic.Int64
	role := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.WriteHeader(http.StatusNotFound)
	}))
	defer role.Close()
	t.Setenv("AWS_EC2_METADATA_DISABLED", "false")
	t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", role.URL)

	s := devtest.S3(t)
	var signed atomic.Int64
	s.SetFault(func(r *http.Request) *devcluster.Fault {
		if r.Header.Get("Authorization") != "" {
			signed.Add(1)
		}
		return nil
	})
	t.Setenv("AWS_ENDPOINT_URL_S3", s.Endpoint())
	for _, endpoint := range []string{s.Endpoint(), ""} {
		var log bytes.Buffer
		c := open(t, s3blob.Config{
			Endpoint: endpoint, Bucket: devtest.Bucket,
			Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		})
		for _, op := range []operation{withReasons[1], withReasons[0], head, withReasons[2], withReasons[3]} {
			if err := op.run(t.Context(), c); err != nil {
				t.Errorf("%s: %v", op.name, err)
			}
		}
		if !strings.Contains(log.String(), "no S3 credentials found") {
			t.Errorf("the log says %q", log.String())
		}
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("the service that knows the machine's role was asked %d times", n)
	}
	if n := signed.Load(); n != 0 {
		t.Errorf("%d requests were signed", n)
	}

	// The role is what a client of AWS falls back to. It is refused here, so
	// that AWS isn't asked.
	t.Setenv("AWS_ENDPOINT_URL_S3", "")
	aws := open(t, s3blob.Config{Bucket: devtest.Bucket})
	err := aws.CheckBucket(context.WithoutCancel(t.Context()))
	wantError(t, err, store.Denied, "getting credentials")
	if asked.Load() == 0 {
		t.Error("the service that knows the machine's role was not asked")
	}
}
