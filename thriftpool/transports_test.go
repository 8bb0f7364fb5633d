package thriftpool_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/apache/thrift/lib/go/thrift"

	"github.com/kingpinfs/kingpin/thriftpool"
	"github.com/kingpinfs/kingpin/thriftpool/internal/probe"
)

// everyStack runs a test with each transport and protocol.
func everyStack(t *testing.T, test func(t *testing.T, transport thriftpool.Transport, protocol thriftpool.Protocol)) {
	t.Helper()
	for _, transport := range []thriftpool.Transport{thriftpool.Framed, thriftpool.Buffered, thriftpool.Header} {
		for _, protocol := range []thriftpool.Protocol{thriftpool.Binary, thriftpool.Compact} {
			t.Run(name(transport, protocol), func(t *testing.T) { test(t, transport, protocol) })
		}
	}
}

// TestStacks makes every kind of call over every transport and protocol, all of
// them over one connection.
func TestStacks(t *testing.T) {
	everyStack(t, func(t *testing.T, transport thriftpool.Transport, protocol thriftpool.Protocol) {
		h := newHandler()
		s := serve(t, h, serverOptions{transport: transport, protocol: protocol})
		pool := open(t, hostsOf(s.endpoint()), thriftpool.Options{Transport: transport, Protocol: protocol})
		everyCall(t, probe.NewProbeClient(pool), h)
		if n := s.accepted.Load(); n != 1 {
			t.Errorf("it took %d connections", n)
		}
	})
}

// everyCall makes every kind of call.
func everyCall(t *testing.T, c *probe.ProbeClient, h *handler) {
	t.Helper()
	ctx := within(t)
	for _, text := range []string{"", "hello", strings.Repeat("long ", 100_000)} {
		if got, err := c.Echo(ctx, text); err != nil || got != text {
			t.Fatalf("Echo of %d bytes returned %d bytes, %v", len(text), len(got), err)
		}
	}
	var refused *probe.Refused
	if err := c.Refuse(ctx, "no"); !errors.As(err, &refused) || refused.Reason != "no" {
		t.Errorf("Refuse returned %v", err)
	}
	var exception thrift.TApplicationException
	if err := c.Crash(ctx); !errors.As(err, &exception) || exception.TypeId() != thrift.INTERNAL_ERROR {
		t.Errorf("Crash returned %v", err)
	}
	must(t, c.Note(ctx, "noted"))
	eventually(t, "the oneway call arrived", func() bool { return h.counted("noted") == 1 })
	blob, err := c.Blob(ctx, 1_000_000)
	if err != nil || len(blob) != 1_000_000 {
		t.Errorf("Blob returned %d bytes, %v", len(blob), err)
	}
	tree := &probe.Tree{Name: "root", Children: []*probe.Tree{{Name: "left", Children: []*probe.Tree{}}, {Name: "right", Children: []*probe.Tree{}}}}
	got, err := c.Mirror(ctx, tree)
	if err != nil || !tree.Equals(got) {
		t.Errorf("Mirror returned %v, %v", got, err)
	}
	if n, err := c.Count(ctx, "x"); err != nil || n != 1 {
		t.Errorf("Count returned %d, %v", n, err)
	}
}

func TestUnknownMethod(t *testing.T) {
	everyStack(t, func(t *testing.T, transport thriftpool.Transport, protocol thriftpool.Protocol) {
		s := serve(t, newHandler(), serverOptions{transport: transport, protocol: protocol})
		pool := open(t, hostsOf(s.endpoint()), thriftpool.Options{Transport: transport, Protocol: protocol})
		var exception thrift.TApplicationException
		_, err := pool.Call(within(t), "nonsense", &probe.ProbeEchoArgs{}, &probe.ProbeEchoResult{})
		if !errors.As(err, &exception) || exception.TypeId() != thrift.UNKNOWN_METHOD {
			t.Errorf("the call returned %v", err)
		}
		// It answers even a oneway call that it doesn't know; that must not be taken
		// for the answer to the next one, whether it comes before that is sent or not.
		for range 10 {
			_, err = pool.Call(within(t), "nonsense", &probe.ProbeNoteArgs{ID: "x"}, nil)
			must(t, err)
			if got, err := client(pool).Echo(within(t), "hello"); err != nil || got != "hello" {
				t.Fatalf("Echo returned %q, %v", got, err)
			}
		}
	})
}

func TestService(t *testing.T) {
	h := newHandler()
	s := serve(t, h, serverOptions{service: "probes"})
	pool := open(t, hostsOf(s.endpoint()), thriftpool.Options{})
	everyCall(t, probe.NewProbeClient(pool.Service("probes")), h)
	if _, err := client(pool).Echo(within(t), "hello"); err == nil {
		t.Error("a call that names no service was answered")
	}
}

func TestUnixSocket(t *testing.T) {
	h := newHandler()
	s := serve(t, h, serverOptions{network: "unix"})
	pool := open(t, hostsOf(s.endpoint()), thriftpool.Options{})
	everyCall(t, client(pool), h)
}

// headerSeen is a middleware that keeps the headers of answers.
func headerSeen(seen *[]thrift.THeaderMap) thrift.ClientMiddleware {
	return func(next thrift.TClient) thrift.TClient {
		return thrift.WrappedTClient{Wrapped: func(ctx context.Context, method string, args, result thrift.TStruct) (thrift.ResponseMeta, error) {
			meta, err := next.Call(ctx, method, args, result)
			*seen = append(*seen, meta.Headers)
			return meta, err
		}}
	}
}

func TestMiddleware(t *testing.T) {
	s := serve(t, newHandler(), serverOptions{transport: thriftpool.Header})
	var order []string
	mark := func(mark string) thrift.ClientMiddleware {
		return func(next thrift.TClient) thrift.TClient {
			return thrift.WrappedTClient{Wrapped: func(ctx context.Context, method string, args, result thrift.TStruct) (thrift.ResponseMeta, error) {
				order = append(order, fmt.Sprintf("%s %s", mark, method))
				return next.Call(ctx, method, args, result)
			}}
		}
	}
	var headers []thrift.THeaderMap
	pool := open(t, hostsOf(s.endpoint()), thriftpool.Options{
		Transport:  thriftpool.Header,
		Middleware: []thrift.ClientMiddleware{mark("outer"), mark("inner"), headerSeen(&headers), thrift.ExtractIDLExceptionClientMiddleware},
	})
	if err := client(pool).Refuse(within(t), "no"); !errors.As(err, new(*probe.Refused)) {
		t.Errorf("Refuse returned %v", err)
	}
	if want := []string{"outer refuse", "inner refuse"}; !slices.Equal(order, want) {
		t.Errorf("the order was %q", order)
	}
	if len(headers) != 1 || headers[0] == nil {
		t.Errorf("the headers of answers are %v", headers)
	}
}
