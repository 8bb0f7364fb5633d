package thriftpool_test

import (
	"errors"
	"os/exec"
	"strings"
	"testing"

	"github.com/apache/thrift/lib/go/thrift"

	"github.com/kingpinfs/kingpin/thriftpool"
	"github.com/kingpinfs/kingpin/thriftpool/internal/probe"
)

// python is the interpreter that Debian's packages install for.
const python = "/usr/bin/python3"

// pythonServer starts python3-thrift's server.
func pythonServer(t *testing.T, transport thriftpool.Transport, protocol thriftpool.Protocol, kind string) (endpoint string) {
	t.Helper()
	if err := exec.Command(python, "-c", "import thrift").Run(); err != nil {
		t.Fatalf("%s can't import thrift: install Debian's python3-thrift (`make deps` does): %v", python, err)
	}
	endpoint, _ = runServer(t, exec.Command(python, append(append([]string{"testdata/server.py"}, strings.Split(name(transport, protocol), "/")...), kind)...))
	return endpoint
}

// TestPython makes every kind of call to python3-thrift.
func TestPython(t *testing.T) {
	everyStack(t, func(t *testing.T, transport thriftpool.Transport, protocol thriftpool.Protocol) {
		callPython(t, transport, protocol, "threaded")
	})
	t.Run("nonblocking", func(t *testing.T) { callPython(t, thriftpool.Framed, thriftpool.Binary, "nonblocking") })
}

func callPython(t *testing.T, transport thriftpool.Transport, protocol thriftpool.Protocol, kind string) {
	t.Helper()
	endpoint := pythonServer(t, transport, protocol, kind)
	pool := open(t, hostsOf(endpoint), thriftpool.Options{Transport: transport, Protocol: protocol})
	ctx := within(t)
	c := client(pool)
	for _, text := range []string{"", "hällo", strings.Repeat("long ", 50_000)} {
		if got, err := c.Echo(ctx, text); err != nil || got != text {
			t.Fatalf("Echo of %d bytes returned %d bytes, %v", len(text), len(got), err)
		}
	}
	must(t, c.Note(ctx, "x"))
	if n, err := c.Count(ctx, "x"); err != nil || n != 2 {
		t.Errorf("Count returned %d, %v", n, err)
	}
	var refused *probe.Refused
	if err := c.Refuse(ctx, "no"); !errors.As(err, &refused) || refused.Reason != "no" {
		t.Errorf("Refuse returned %v", err)
	}
	var exception thrift.TApplicationException
	if err := c.Crash(ctx); !errors.As(err, &exception) || exception.TypeId() != thrift.INTERNAL_ERROR {
		t.Errorf("Crash returned %v", err)
	}
	if _, err := c.Wait(ctx, 1); !errors.As(err, &exception) || exception.TypeId() != thrift.UNKNOWN_METHOD {
		t.Errorf("an unknown method returned %v", err)
	}
	if blob, err := c.Blob(ctx, 1_000_000); err != nil || len(blob) != 1_000_000 {
		t.Errorf("Blob returned %d bytes, %v", len(blob), err)
	}
	if stats := pool.Stats(); stats.Open != 1 || stats.Idle != 1 {
		t.Errorf("the pool's connections are %+v", stats)
	}
}
