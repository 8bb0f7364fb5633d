package devcluster

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func startVersityGW(t *testing.T, cfg VersityGWConfig) *VersityGW {
	t.Helper()
	v, err := StartVersityGW(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := v.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return v
}

func TestVersityGWLifecycle(t *testing.T) {
	dir := t.TempDir()
	v := startVersityGW(t, VersityGWConfig{Dir: dir, Buckets: []string{testBucket}, AccessKey: "id", SecretKey: "secret"})
	if v.AccessKey() != "id" || v.SecretKey() != "secret" || v.Dir() != dir {
		t.Errorf("it has the keys %q, %q and the directory %q", v.AccessKey(), v.SecretKey(), v.Dir())
	}
	endpoint := v.Endpoint()
	// It checks signatures.
	wantAnswer(t, http.MethodGet, endpoint+"/"+testBucket+"/key", "", http.StatusForbidden, "AccessDenied")
	// A bucket is a directory, an object is a file.
	if err := os.WriteFile(filepath.Join(dir, "data", testBucket, "key"), []byte("content"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := v.Kill(); err != nil {
		t.Fatal(err)
	}
	if conn, err := net.Dial("tcp", strings.TrimPrefix(endpoint, "http://")); err == nil {
		_ = conn.Close()
		t.Fatal("it accepts connections after Kill")
	}
	for range 2 { // a running one is stopped first
		if err := v.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		if v.Endpoint() != endpoint {
			t.Fatalf("the endpoint is %s now, it was %s", v.Endpoint(), endpoint)
		}
		wantAnswer(t, http.MethodGet, endpoint+"/"+testBucket+"/key", "", http.StatusForbidden, "AccessDenied")
	}
	for range 2 { // stopping a stopped one does nothing
		if err := v.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if content, err := os.ReadFile(filepath.Join(dir, "data", testBucket, "key")); err != nil || string(content) != "content" {
		t.Errorf("after Stop the object holds %q, %v", content, err)
	}
	if err := v.Restart(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestVersityGWTemporary(t *testing.T) {
	v := startVersityGW(t, VersityGWConfig{})
	if err := v.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(v.Dir()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the temporary directory %q is still there: %v", v.Dir(), err)
	}
	if err := v.Restart(t.Context()); err == nil || !strings.Contains(err.Error(), v.Dir()) {
		t.Errorf("restarting it after Stop returned %v", err)
	}
}

func TestVersityGWRefuses(t *testing.T) {
	v := startVersityGW(t, VersityGWConfig{Buckets: []string{testBucket}})
	if err := v.CreateBucket(testBucket); err != nil {
		t.Errorf("creating a bucket that is there returned %v", err)
	}
	for _, name := range []string{"", ".", "..", "a/b", "../b", ".sgwtmp"} {
		if err := v.CreateBucket(name); err == nil {
			t.Errorf("creating the bucket %q succeeded", name)
		}
	}
	_, err := StartVersityGW(t.Context(), VersityGWConfig{Binary: "/bin/false", Dir: t.TempDir()})
	if err == nil || !strings.Contains(err.Error(), "ended before it was ready") {
		t.Errorf("a program that fails returned %v", err)
	}
}

func TestFindVersityGW(t *testing.T) {
	module := t.TempDir()
	program := func(path string) string {
		t.Helper()
		path = filepath.Join(module, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		return path
	}
	program("go.mod")
	inner := filepath.Join(module, "a", "b")
	if err := os.MkdirAll(inner, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Chdir(inner)
	want := func(path string) {
		t.Helper()
		if got, err := FindVersityGW(); err != nil || got != path {
			t.Errorf("FindVersityGW returned %q, %v, want %q", got, err, path)
		}
	}
	t.Setenv(VersityGWEnv, "")
	t.Setenv("PATH", "/nonexistent")
	if _, err := FindVersityGW(); err == nil || !strings.Contains(err.Error(), "make deps") || !strings.Contains(err.Error(), VersityGWEnv) {
		t.Errorf("without the program FindVersityGW returned %v", err)
	}
	inPath := program("path/versitygw")
	t.Setenv("PATH", filepath.Dir(inPath))
	want(inPath)
	want(program(".tools/bin/versitygw")) // wins over $PATH
	t.Setenv(VersityGWEnv, inPath)        // wins over all
	want(inPath)
	t.Setenv(VersityGWEnv, "/nonexistent/versitygw")
	if _, err := FindVersityGW(); err == nil || !strings.Contains(err.Error(), `"/nonexistent/versitygw"`) {
		t.Errorf("with a wrong $%s FindVersityGW returned %v", VersityGWEnv, err)
	}
}
