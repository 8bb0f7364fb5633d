package register_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kingpinfs/kingpin/internal/devcluster"
	"github.com/kingpinfs/kingpin/register"
	"github.com/kingpinfs/kingpin/store"
)

func parse(t *testing.T, text string) register.Check {
	t.Helper()
	check, err := register.ParseCheck(text)
	if err != nil {
		t.Fatal(err)
	}
	return check
}

// run makes a check that has long enough.
func run(t *testing.T, text, endpoint string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	return parse(t, text).Check(ctx, endpoint)
}

func passes(t *testing.T, text, endpoint string) {
	t.Helper()
	if err := run(t, text, endpoint); err != nil {
		t.Errorf("%s of %s: %v", text, endpoint, err)
	}
}

func fails(t *testing.T, text, endpoint, want string) {
	t.Helper()
	if err := run(t, text, endpoint); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%s of %s: %v, want an error with %q", text, endpoint, err, want)
	}
}

// refusing returns an address where nobody listens.
func refusing(t *testing.T) string {
	t.Helper()
	port, err := devcluster.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
}

func TestParseCheck(t *testing.T) {
	for _, text := range []string{
		"tcp", "tcp:81", "tcp:other:81", "tcp:[::1]:81", "http:///", "http:///health?full=1", "http://a/b", "http://a:81/b", "http://:81",
		"thrift:ping", "thrift:Service:ping", "thrift:ping,framed", "thrift:ping,buffered,compact", "thrift:ping,buffered,framed",
		"exec:true", "exec:/bin/sh -c 'exit 0'",
	} {
		if got := parse(t, text).String(); got != text {
			t.Errorf("%q is called %q", text, got)
		}
	}
	for _, text := range []string{
		"", "udp", "tcp:", "tcp:0", "tcp:65536", "tcp:a", "tcp:a:b:1", "http:", "http:a", "http://user@a/", "http:///a#b", "http://a:b/", "http://%zz/",
		"https://a/", "thrift", "thrift:", "thrift:,framed", "thrift:a b", "thrift:ping,json", "exec", "exec:", "exec:  ", "exec:'", "exec:''", "exec:a\x00b",
	} {
		if check, err := register.ParseCheck(text); !errors.Is(err, store.Invalid) {
			t.Errorf("%q is %v, %v", text, check, err)
		}
	}
}

func FuzzParseCheck(f *testing.F) {
	for _, seed := range []string{"tcp", "tcp:81", "http:///health", "http://a:81/b?c", "thrift:ping,framed", "exec:sh -c 'exit 0'", "exec:\"", "http://[::1]:1/"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		check, err := register.ParseCheck(text)
		if err != nil {
			return
		}
		again, err := register.ParseCheck(check.String())
		if err != nil || again.String() != check.String() {
			t.Errorf("%q is called %q, which is %v, %v", text, check, again, err)
		}
	})
}

func TestTCP(t *testing.T) {
	open := listen(t, func(net.Conn) {})
	_, port, _ := net.SplitHostPort(open)
	closed := refusing(t)
	passes(t, "tcp", open)
	passes(t, "tcp:"+port, closed)
	passes(t, "tcp:"+open, closed)
	fails(t, "tcp", closed, "connection refused")
	fails(t, "tcp:"+closed, open, "connection refused")
}

func TestHTTP(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/moved":
			http.Redirect(w, r, "/", http.StatusFound)
		case "/code":
			code, _ := strconv.Atoi(r.URL.RawQuery)
			w.WriteHeader(code)
		case "/cut":
			w.Header().Set("Content-Length", "10")
		case "/hang":
			<-r.Context().Done()
		}
	}))
	t.Cleanup(server.Close)
	addr := server.Listener.Addr().String()
	_, port, _ := net.SplitHostPort(addr)
	closed := refusing(t)
	passes(t, "http:///", addr)
	passes(t, "http://", addr)
	passes(t, "http://localhost/code?204", "10.0.0.1:"+port)
	passes(t, "http://:"+port+"/code?299", closed)
	passes(t, "http://"+addr+"/", closed)
	fails(t, "http:///code?300", addr, "300 Multiple Choices")
	fails(t, "http:///code?500", addr, "500 Internal Server Error")
	fails(t, "http:///moved", addr, "302 Found")
	fails(t, "http:///cut", addr, "EOF")
	fails(t, "http:///", closed, "connection refused")
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := parse(t, "http:///hang").Check(short, addr); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a service that hangs: %v", err)
	}
}

func TestExec(t *testing.T) {
	passes(t, "exec:true", "h:1")
	passes(t, `exec:sh -c 'test "$KINGPIN_ENDPOINT" = 10.0.0.1:80'`, "10.0.0.1:80")
	// No shell: what it would make of the words stays as it is.
	passes(t, `exec:test '$HOME;false' = "\$HOME;false"`, "h:1")
	fails(t, "exec:false", "h:1", "exit status 1")
	fails(t, "exec:sh -c 'echo out; echo err >&2; exit 3'", "h:1", `exit status 3: "out\nerr"`)
	fails(t, "exec:sh -c 'kill -9 $$'", "h:1", "signal: killed")
	fails(t, "exec:/no/such/command", "h:1", "no such file")
	fails(t, "exec:sh -c 'yes | head -c 1000000; exit 1'", "h:1", "exit status 1")
}

// What a command started is gone when the check is over: because it was too slow,
// or because it ended and left somebody.
func TestExecLeavesNobody(t *testing.T) {
	for name, end := range map[string]string{"killed": "sleep 1000", "ended": "exit 0"} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			fifo := filepath.Join(dir, "fifo")
			if err := syscall.Mkfifo(fifo, 0o600); err != nil {
				t.Fatal(err)
			}
			// Both hold the fifo open, so that it ends when they have.
			script := fmt.Sprintf("exec 3>%s; sleep 1000 & %s", fifo, end)
			held := make(chan error, 1)
			go func() {
				_, err := os.ReadFile(fifo)
				held <- err
			}()
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			err := register.Exec("sh", "-c", script).Check(ctx, "h:1")
			if (err == nil) != (name == "ended") {
				t.Errorf("the check says %v", err)
			}
			select {
			case err := <-held:
				if err != nil {
					t.Error(err)
				}
			case <-time.After(patience):
				t.Error("somebody is left")
			}
		})
	}
}
