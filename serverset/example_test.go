package serverset_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/kingpinfs/kingpin/serverset"
)

// A client of a service calls its hosts, and does without those that are dead.
func Example() {
	alive, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer alive.Close()
	const dead = "127.0.0.1:1"
	path := serversetFile(alive.Addr().String(), dead)
	defer os.RemoveAll(filepath.Dir(path))

	file := serverset.NewFile(path, serverset.FileOptions{})
	if err := file.Open(context.Background()); err != nil {
		fmt.Println(err)
		return
	}
	defer file.Close()
	balancer := serverset.NewBalancer(file, serverset.BalancerOptions{
		OnEvent: func(e serverset.Event) {
			if e.Kind == serverset.HostEjected {
				fmt.Println("ejected:", e.Host.Endpoint())
			}
		},
	})
	balancer.Open()
	defer balancer.Close()

	for range 100 {
		lease, err := balancer.Pick()
		if err != nil {
			fmt.Println(err)
			return
		}
		lease.Done(dial(lease.Endpoint()))
	}
	// Output: ejected: 127.0.0.1:1
}

// dial calls a host, and says how that went.
func dial(endpoint string) serverset.Outcome {
	conn, err := net.DialTimeout("tcp", endpoint, time.Second)
	if err != nil {
		return serverset.Failed
	}
	if err := conn.Close(); err != nil {
		return serverset.Failed
	}
	return serverset.Answered
}

// serversetFile writes a file as a monitor does.
func serversetFile(endpoints ...string) string {
	dir, err := os.MkdirTemp("", "kingpin-example-")
	path := filepath.Join(dir, "discovery.search.prod")
	err = errors.Join(err, os.WriteFile(path, serverset.Render(endpoints), 0o644))
	if err != nil {
		panic(err)
	}
	return path
}

// Until the monitor has run for the first time, the hosts are those that the
// program was given.
func ExampleFallback() {
	file := serverset.NewFile("/nonexistent/discovery.search.prod", serverset.FileOptions{Logger: slog.New(slog.DiscardHandler)})
	if err := file.Open(context.Background()); err != nil {
		fmt.Println(err)
		return
	}
	defer file.Close()
	static, err := serverset.NewStatic("10.0.0.2:80", "10.0.0.1:80")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(serverset.Fallback(file, static).Endpoints())
	// Output: [10.0.0.1:80 10.0.0.2:80]
}
