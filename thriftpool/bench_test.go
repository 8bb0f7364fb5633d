package thriftpool_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/apache/thrift/lib/go/thrift"

	"github.com/kingpinfs/kingpin/thriftpool"
	"github.com/kingpinfs/kingpin/thriftpool/internal/probe"
)

// BenchmarkCall compares calls through a pool with the ceiling: a client of the
// library with a connection of its own for each goroutine.
func BenchmarkCall(b *testing.B) {
	for _, transport := range []thriftpool.Transport{thriftpool.Framed, thriftpool.Buffered} {
		for _, goroutines := range []int{1, 16, 256} {
			options := serverOptions{transport: transport}
			run := func(kind string, client func(b *testing.B, endpoint string) (call func(ctx context.Context) error)) {
				b.Run(fmt.Sprintf("%s/%d/%s", []string{"framed", "buffered"}[transport], goroutines, kind), func(b *testing.B) {
					s := serve(b, newHandler(), options)
					benchmarkCalls(b, goroutines, func() func(ctx context.Context) error { return client(b, s.endpoint()) })
				})
			}
			run("bare", func(b *testing.B, endpoint string) func(ctx context.Context) error {
				client := bareClient(b, endpoint, options)
				return func(ctx context.Context) error {
					_, err := client.Echo(ctx, "hello")
					return err
				}
			})
			var once sync.Mutex
			pools := make(map[string]*thriftpool.Pool)
			run("pool", func(b *testing.B, endpoint string) func(ctx context.Context) error {
				once.Lock()
				defer once.Unlock()
				pool := pools[endpoint]
				if pool == nil {
					pool = benchPool(b, endpoint, goroutines, transport)
					pools[endpoint] = pool
				}
				client := probe.NewProbeClient(pool)
				return func(ctx context.Context) error {
					_, err := client.Echo(ctx, "hello")
					return err
				}
			})
		}
	}
}

// benchmarkCalls makes b.N calls from so many goroutines, each with the client
// that it is given.
func benchmarkCalls(b *testing.B, goroutines int, client func() func(ctx context.Context) error) {
	// As servers do: each call has a context with a deadline, which many calls of
	// the same request share.
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	calls := make([]func(context.Context) error, goroutines)
	for i := range calls {
		calls[i] = client()
		if err := calls[i](ctx); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	b.ResetTimer()
	var running sync.WaitGroup
	for i, call := range calls {
		n := b.N / goroutines
		if i < b.N%goroutines {
			n++
		}
		running.Go(func() {
			for range n {
				if err := call(ctx); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	running.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
}

// bareClient is a client of the library, with timeouts as they should be.
func bareClient(b *testing.B, endpoint string, options serverOptions) *probe.ProbeClient {
	b.Helper()
	socket := thrift.NewTSocketConf(endpoint, &thrift.TConfiguration{ConnectTimeout: time.Second, SocketTimeout: 10 * time.Second})
	if err := socket.Open(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = socket.Close() })
	protocol := options.stack(socket)
	return probe.NewProbeClient(thrift.NewTStandardClient(protocol, protocol))
}

func benchPool(b *testing.B, endpoint string, conns int, transport thriftpool.Transport) *thriftpool.Pool {
	b.Helper()
	pool, err := thriftpool.New(hostsOf(endpoint), thriftpool.Options{MaxConns: conns, MaxConnsPerHost: conns, Transport: transport})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = pool.Close(context.Background()) })
	return pool
}
