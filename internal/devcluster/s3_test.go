package devcluster

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"
)

const testBucket = "test-bucket"

func startS3(t *testing.T, cfg S3Config) *S3 {
	t.Helper()
	s, err := StartS3(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// request makes an unsigned request by a connection of its own and returns the
// status and what could be read of the body.
func request(ctx context.Context, method, url, body string) (status int, answer string, err error) {
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return 0, "", err
	}
	content, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(content), errors.Join(err, resp.Body.Close())
}

// wantAnswer makes a request and compares its answer.
func wantAnswer(t *testing.T, method, url, body string, status int, answer string) {
	t.Helper()
	gotStatus, got, err := request(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	if gotStatus != status || !strings.Contains(got, answer) {
		t.Fatalf("%s %s answered %d %q, want %d %q", method, url, gotStatus, got, status, answer)
	}
}

func TestS3Lifecycle(t *testing.T) {
	var log bytes.Buffer
	s := startS3(t, S3Config{
		Buckets: []string{testBucket},
		Logger:  slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	endpoint := s.Endpoint()
	url := endpoint + "/" + testBucket + "/dir/key"
	wantAnswer(t, http.MethodPut, url, "content", http.StatusOK, "")
	wantAnswer(t, http.MethodGet, url, "", http.StatusOK, "content")
	wantAnswer(t, http.MethodGet, endpoint+"/no-such-bucket/key", "", http.StatusNotFound, "NoSuchBucket")

	for range 2 { // stopping a stopped one does nothing
		if err := s.Stop(); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := request(t.Context(), http.MethodGet, url, ""); err == nil {
		t.Fatal("the stopped server answers")
	}
	if err := s.CreateBucket("created-while-stopped"); err != nil {
		t.Fatal(err)
	}
	for range 2 { // a running one is stopped first
		if err := s.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		if s.Endpoint() != endpoint {
			t.Fatalf("the endpoint is %s now, it was %s", s.Endpoint(), endpoint)
		}
		wantAnswer(t, http.MethodGet, url, "", http.StatusOK, "content")
		wantAnswer(t, http.MethodPut, endpoint+"/created-while-stopped/key", "x", http.StatusOK, "")
	}
	if got := log.String(); !strings.Contains(got, "S3 is running") || !strings.Contains(got, "gofakes3") {
		t.Errorf("the log says %q", got)
	}
}

func TestS3Refuses(t *testing.T) {
	s := startS3(t, S3Config{Buckets: []string{testBucket}})
	if err := s.CreateBucket(testBucket); err == nil || !strings.Contains(err.Error(), testBucket) {
		t.Errorf("creating a bucket twice returned %v", err)
	}
	if _, err := StartS3(t.Context(), S3Config{Buckets: []string{"No Bucket"}}); err == nil || !strings.Contains(err.Error(), `"No Bucket"`) {
		t.Errorf("a bad bucket name returned %v", err)
	}
	addr := strings.TrimPrefix(s.Endpoint(), "http://")
	if _, err := StartS3(t.Context(), S3Config{Addr: addr}); err == nil || !strings.Contains(err.Error(), addr) {
		t.Errorf("a port in use returned %v", err)
	}
}

func TestS3Addr(t *testing.T) {
	port, err := FreePort()
	if err != nil {
		t.Fatal(err)
	}
	s := startS3(t, S3Config{Addr: hostPort(port)})
	if want := "http://" + hostPort(port); s.Endpoint() != want {
		t.Errorf("the endpoint is %s, want %s", s.Endpoint(), want)
	}
}

func TestS3Faults(t *testing.T) {
	s := startS3(t, S3Config{Buckets: []string{testBucket}})
	const content = "0123456789"
	url := s.Endpoint() + "/" + testBucket + "/key"
	wantAnswer(t, http.MethodPut, url, content, http.StatusOK, "")
	set := func(f Fault) { s.SetFault(func(*http.Request) *Fault { return &f }) }

	set(Fault{Status: http.StatusServiceUnavailable, Code: "SlowDown"})
	wantAnswer(t, http.MethodGet, url, "", http.StatusServiceUnavailable, "<Code>SlowDown</Code>")
	wantAnswer(t, http.MethodHead, url, "", http.StatusServiceUnavailable, "")
	set(Fault{Status: http.StatusBadGateway})
	wantAnswer(t, http.MethodGet, url, "", http.StatusBadGateway, "<html>")
	set(Fault{Delay: time.Millisecond})
	wantAnswer(t, http.MethodGet, url, "", http.StatusOK, content)
	set(Fault{Handle: func(w http.ResponseWriter, r *http.Request, server http.Handler) {
		w.Header().Set("X-Seen", "yes")
		server.ServeHTTP(w, r)
	}})
	wantAnswer(t, http.MethodGet, url, "", http.StatusOK, content)

	set(Fault{Cut: true, BodyBytes: 4})
	status, answer, err := request(t.Context(), http.MethodGet, url, "")
	if status != http.StatusOK || answer != content[:4] || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a cut body gave %d %q, %v", status, answer, err)
	}

	// Of several requests a fault may befall some.
	s.SetFault(func(r *http.Request) *Fault {
		if r.Method == http.MethodHead {
			return &Fault{Status: http.StatusTeapot}
		}
		return nil
	})
	wantAnswer(t, http.MethodGet, url, "", http.StatusOK, content)
	wantAnswer(t, http.MethodHead, url, "", http.StatusTeapot, "")
	s.SetFault(nil)
	wantAnswer(t, http.MethodHead, url, "", http.StatusOK, "")
}

// TestS3HeldRequests has requests that are held end when the client gives up,
// and when the server is stopped.
func TestS3HeldRequests(t *testing.T) {
	for name, fault := range map[string]Fault{
		"hang":  {Hang: true},
		"stall": {Stall: true, BodyBytes: 2},
		"delay": {Delay: time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			s := startS3(t, S3Config{Buckets: []string{testBucket}})
			url := s.Endpoint() + "/" + testBucket + "/key"
			wantAnswer(t, http.MethodPut, url, "content", http.StatusOK, "")
			arrived := make(chan struct{})
			s.SetFault(func(*http.Request) *Fault {
				arrived <- struct{}{}
				return &fault
			})
			for _, end := range []func(cancel context.CancelFunc) error{
				func(cancel context.CancelFunc) error { cancel(); return nil },
				func(context.CancelFunc) error { return s.Stop() },
			} {
				ctx, cancel := context.WithCancel(t.Context())
				failed := make(chan error)
				go func() {
					_, _, err := request(ctx, http.MethodGet, url, "")
					failed <- err
				}()
				<-arrived
				if err := end(cancel); err != nil {
					t.Error(err)
				}
				if err := <-failed; err == nil {
					t.Error("the request that was held was answered")
				}
				cancel()
			}
		})
	}
}
