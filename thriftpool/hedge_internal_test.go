package thriftpool

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kingpinfs/kingpin/serverset"
	"github.com/kingpinfs/kingpin/thriftpool/internal/probe"
)

// TestLateHedge has a call and its hedge get no answer. That is held against the
// second host only if it had the larger part of the call's time.
func TestLateHedge(t *testing.T) {
	for _, test := range []struct {
		after time.Duration
		want  int // how many hosts are blamed
	}{{400 * time.Millisecond, 2}, {600 * time.Millisecond, 1}} {
		t.Run(test.after.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var silent sync.WaitGroup
				defer silent.Wait()
				hosts, err := serverset.NewStatic("a:1", "b:1")
				if err != nil {
					t.Fatal(err)
				}
				dials := 0
				p, err := New(hosts, Options{
					Timeout: time.Second, HedgeAfter: test.after, Idempotent: []string{"echo"},
					Dial: func(context.Context, string, string) (net.Conn, error) {
						dials++
						ours, theirs := net.Pipe()
						silent.Go(func() { _, _ = io.Copy(io.Discard, theirs) })
						return ours, nil
					},
				})
				if err != nil {
					t.Fatal(err)
				}
				_, err = probe.NewProbeClient(p).Echo(context.Background(), "hello")
				blamed := 0
				for _, host := range p.balancer.Hosts() {
					blamed += host.Failures()
				}
				if err == nil || dials != 2 || blamed != test.want {
					t.Errorf("the call returned %v; of %d hosts %d are blamed, want %d", err, dials, blamed, test.want)
				}
				if err := p.Close(context.Background()); err != nil {
					t.Error(err)
				}
			})
		})
	}
}
