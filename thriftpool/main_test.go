package thriftpool_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/apache/thrift/lib/go/thrift"
	"go.uber.org/goleak"

	"github.com/kingpinfs/kingpin/serverset"
	"github.com/kingpinfs/kingpin/thriftpool"
	"github.com/kingpinfs/kingpin/thriftpool/internal/probe"
)

// patience is how long a test waits for what should come at once.
const patience = 60 * time.Second

func TestMain(m *testing.M) {
	// A ticker and a goroutine for each call are the server's largest cost.
	thrift.ServerConnectivityCheckInterval = 0
	if os.Getenv(helperEnv) != "" {
		os.Exit(runHelper())
	}
	slog.SetDefault(slog.New(slog.DiscardHandler))
	goleak.VerifyTestMain(m)
}

// within returns a context that ends long after the test should have.
func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// open returns a pool that ends with the test, and must then have closed all its
// connections.
func open(t testing.TB, provider serverset.Provider, options thriftpool.Options) *thriftpool.Pool {
	t.Helper()
	// What isn't about time mustn't depend on how fast the machine is.
	for _, timeout := range []*time.Duration{&options.DialTimeout, &options.Timeout} {
		if *timeout == 0 {
			*timeout = patience
		}
	}
	pool, err := thriftpool.New(provider, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := pool.Close(within(t)); err != nil {
			t.Error(err)
		}
		if stats := pool.Stats(); stats.Open != 0 || stats.Idle != 0 || stats.Waiting != 0 || stats.Calls != 0 {
			t.Errorf("after Close: %+v", stats)
		}
	})
	return pool
}

// client returns a generated client of a pool. Each goroutine needs its own.
func client(pool *thriftpool.Pool) *probe.ProbeClient { return probe.NewProbeClient(pool) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// failure returns what an error says of a failed call.
func failure(t testing.TB, err error) *thriftpool.Error {
	t.Helper()
	var e *thriftpool.Error
	if !errors.As(err, &e) {
		t.Fatalf("the call returned %v", err)
	}
	return e
}

// eventually waits until something is true.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not so: %s", what)
		}
	}
}
