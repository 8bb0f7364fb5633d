package main

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// startMonitor answers as a monitor would, until the test ends.
func startMonitor(t *testing.T, handler http.HandlerFunc) (addr string) {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

func TestAnswersOfTheMonitor(t *testing.T) {
	tests := map[string]struct {
		args    []string
		handler http.HandlerFunc
		code    int
		stderr  string
	}{
		"accepted": {
			args: []string{"serverset", "accept", "discovery.a.b"},
			handler: func(w http.ResponseWriter, r *http.Request) {
				if r.Method != http.MethodPost || r.URL.Path != "/admin/serverset/discovery.a.b/accept" {
					http.NotFound(w, r)
				}
			},
			code: exitDone,
		},
		"not held": {
			args:    []string{"serverset", "accept", "discovery.a.b"},
			handler: func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "nothing is held", http.StatusConflict) },
			code:    exitRefused,
			stderr:  "conflict: nothing is held",
		},
		"not a monitor": {
			args:    []string{"status"},
			handler: http.NotFound,
			code:    exitUnavailable,
			stderr:  "404",
		},
		"not JSON": {
			args:    []string{"status"},
			handler: func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") },
			code:    exitUnavailable,
			stderr:  "invalid character '<'",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			addr := startMonitor(t, tt.handler)
			var stdout, stderr bytes.Buffer
			code := run(t.Context(), append(tt.args, "--admin-addr", addr), strings.NewReader(""), &stdout, &stderr)
			if code != tt.code || !strings.Contains(stderr.String(), tt.stderr) {
				t.Errorf("exit code %d, stderr %q; want %d, %q", code, &stderr, tt.code, tt.stderr)
			}
		})
	}
}

func TestWaitServed(t *testing.T) {
	const name, old, wanted = "config.a.b", "1448012345.67", "1448012346.000001"
	status := func(version, problem string) string {
		return fmt.Sprintf(`{"configs": [{"name": %q, "version": %q, "error": %q}]}`, name, version, problem)
	}
	tests := map[string]struct {
		answers []string // the last one again and again
		err     string
	}{
		"already":        {answers: []string{status(wanted, "")}},
		"newer":          {answers: []string{status("1448012347", "")}},
		"after a while":  {answers: []string{status(old, ""), `{}`, status(old, ""), status(wanted, "")}},
		"never":          {answers: []string{status(old, "S3 is away")}, err: `it serves "1448012345.67": S3 is away`},
		"not subscribed": {answers: []string{`{}`}, err: "kingpin dependency add"},
	}
	for what, tt := range tests {
		t.Run(what, func(t *testing.T) {
			var asked atomic.Int64
			addr := startMonitor(t, func(w http.ResponseWriter, _ *http.Request) {
				i := min(int(asked.Add(1)), len(tt.answers)) - 1
				fmt.Fprint(w, tt.answers[i])
			})
			options := waitOptions{wait: true, timeout: time.Second, admin: adminOptions{addr}}
			if tt.err == "" {
				options.timeout = time.Hour
			}
			err := new(app).waitServed(t.Context(), options, name, wanted)
			if (err != nil) != (tt.err != "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("error %v, want %q", err, tt.err)
			}
			if err != nil && !strings.Contains(err.Error(), "is published, but") {
				t.Errorf("error %v doesn't say that the version is published", err)
			}
		})
	}
}
