package thriftpool_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kingpinfs/kingpin/serverset"
	"github.com/kingpinfs/kingpin/thriftpool"
)

// cutter forwards connections to a server, and cuts each after some bytes in
// either direction, by FIN or by RST.
func cutter(t *testing.T, to string) *rogue {
	t.Helper()
	return misbehave(t, func(c net.Conn) {
		server, err := net.Dial("tcp", to)
		if err != nil {
			return
		}
		defer func() { _ = server.Close() }()
		// A call and its answer have some 40 bytes each: some are cut between two
		// calls, most within one.
		end := func() {
			if rand.IntN(2) == 0 {
				reset(c)
			}
			_ = c.Close()
			_ = server.Close()
		}
		var both sync.WaitGroup
		for _, way := range [][2]net.Conn{{server, c}, {c, server}} {
			both.Go(func() {
				defer end()
				_, _ = io.CopyN(way[0], way[1], rand.Int64N(400))
			})
		}
		both.Wait()
	})
}

// TestAtMostOnce cuts connections at random, and sees to it that no call that
// isn't idempotent is executed twice, that each that was answered was executed,
// and that none that is said not to be sent was.
func TestAtMostOnce(t *testing.T) {
	everyStack(t, func(t *testing.T, transport thriftpool.Transport, protocol thriftpool.Protocol) {
		h := newHandler()
		var endpoints []string
		for range 3 {
			s := serve(t, h, serverOptions{transport: transport, protocol: protocol})
			endpoints = append(endpoints, cutter(t, s.endpoint()).endpoint)
		}
		pool := open(t, hostsOf(endpoints...), thriftpool.Options{
			Transport: transport, Protocol: protocol, MaxConns: 6, RetryRatio: 1,
			AttemptTimeout: 5 * time.Second, Idempotent: []string{"echo"},
		})
		ctx := within(t)
		var running sync.WaitGroup
		var answered, unsent, repeated atomic.Int64
		for i := range 12 {
			running.Go(func() {
				for j := range 25 {
					id := fmt.Sprintf("%d-%d", i, j)
					n, err := client(pool).Count(ctx, id)
					switch e := new(thriftpool.Error); {
					case err == nil && n == 1:
						answered.Add(1)
					case err == nil:
						t.Errorf("call %q was executed %d times", id, n)
					case errors.As(err, &e) && !e.Sent:
						unsent.Add(1)
						defer func() {
							if n := h.counted(id); n != 0 {
								t.Errorf("call %q was executed, but %v", id, err)
							}
						}()
					}
					if err := client(pool).Note(ctx, "note "+id); err != nil {
						continue
					}
					if _, err := client(pool).Echo(ctx, id); err == nil {
						repeated.Add(1)
					}
				}
			})
		}
		running.Wait()
		h.mu.Lock()
		defer h.mu.Unlock()
		for id, n := range h.counts {
			if n != 1 {
				t.Errorf("call %q was executed %d times", id, n)
			}
		}
		if answered.Load() == 0 || answered.Load() == 300 || repeated.Load() == 0 {
			t.Errorf("of 300 calls %d were answered, %d weren't sent; %d idempotent ones were answered", answered.Load(), unsent.Load(), repeated.Load())
		}
	})
}

// TestReplacedServers kills servers under load, and starts others on other
// ports, of which the provider hears later. No idempotent call may fail.
func TestReplacedServers(t *testing.T) {
	h := newHandler()
	servers := make([]*server, 4)
	list := func() (endpoints []string) {
		for _, s := range servers {
			endpoints = append(endpoints, s.endpoint())
		}
		return endpoints
	}
	for i := range servers {
		servers[i] = serve(t, h, serverOptions{})
	}
	provider := hostsOf(list()...)
	pool := open(t, provider, thriftpool.Options{Idempotent: []string{"echo"}, MaxConns: 16, MaxConnsPerHost: 8})
	ctx, cancel := context.WithCancel(within(t))
	var running sync.WaitGroup
	var calls atomic.Int64
	for range 16 {
		running.Go(func() {
			for ctx.Err() == nil {
				if _, err := client(pool).Echo(ctx, "hello"); err != nil && !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
				calls.Add(1)
			}
		})
	}
	await := func(n int64) {
		t.Helper()
		end := calls.Load() + n
		eventually(t, "calls go on", func() bool { return calls.Load() >= end })
	}
	for i := range 12 {
		servers[i%len(servers)].kill()
		await(100) // while the dead one is still listed
		servers[i%len(servers)] = serve(t, h, serverOptions{})
		provider.set(list()...)
		await(100)
	}
	cancel()
	running.Wait()
}

// helperEnv makes this test binary a server.
const helperEnv = "KINGPIN_THRIFTPOOL_SERVER"

// runHelper is a server in a process of its own, until standard input ends.
func runHelper() int {
	s, err := startServer(newHandler(), serverOptions{})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer s.kill()
	fmt.Fprintln(os.Stdout, s.endpoint())
	_, _ = io.Copy(io.Discard, os.Stdin)
	return 0
}

// startProcess starts a server as a process of its own.
func startProcess(t *testing.T) (endpoint string, kill func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), helperEnv+"=1")
	return runServer(t, cmd)
}

// runServer starts a process that prints its endpoint, and ends when its standard
// input does. kill kills it.
func runServer(t *testing.T, cmd *exec.Cmd) (endpoint string, kill func()) {
	t.Helper()
	in, err := cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	cmd.Stderr = os.Stderr
	must(t, cmd.Start())
	var once sync.Once
	kill = func() {
		once.Do(func() {
			_ = cmd.Process.Kill()
			_ = in.Close()
			_ = cmd.Wait() // it was killed
		})
	}
	t.Cleanup(kill)
	var line []byte
	for b := make([]byte, 1); ; {
		if _, err := io.ReadFull(out, b); err != nil {
			t.Fatalf("the server ended: %v", err)
		}
		if b[0] == '\n' {
			return strings.TrimSpace(string(line)), kill
		}
		line = append(line, b[0])
	}
}

// TestKilledProcesses kills -9 servers that are processes, under load.
func TestKilledProcesses(t *testing.T) {
	const servers = 3
	var endpoints [servers]string
	var kills [servers]func()
	for i := range servers {
		endpoints[i], kills[i] = startProcess(t)
	}
	provider, err := serverset.NewStatic(endpoints[:]...)
	must(t, err)
	pool := open(t, provider, thriftpool.Options{Idempotent: []string{"echo"}, MinConnsPerHost: 1})
	must(t, pool.Warm(within(t)))
	ctx, cancel := context.WithCancel(within(t))
	var running sync.WaitGroup
	var calls atomic.Int64
	for range 8 {
		running.Go(func() {
			for ctx.Err() == nil {
				if _, err := client(pool).Echo(ctx, "hello"); err != nil && !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
				calls.Add(1)
			}
		})
	}
	for i := range servers {
		end := calls.Load() + 100
		eventually(t, "calls go on", func() bool { return calls.Load() >= end })
		kills[i]()
		endpoints[i], kills[i] = startProcess(t)
		must(t, provider.Set(endpoints[:]...))
	}
	cancel()
	running.Wait()
}
