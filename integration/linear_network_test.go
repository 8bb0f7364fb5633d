package integration

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"

	"github.com/kingpinfs/kingpin/internal/devcluster"
)

// badNetwork is what lies between a fleet and those who use it: several ways to
// each of its servers, through toxiproxy, each of which can break by itself.
type badNetwork struct {
	t      testing.TB
	zk, s3 []*toxiproxy.Proxy
	rand   *rand.Rand
}

// newBadNetwork makes so many ways to each server. They go with the test.
func newBadNetwork(t testing.TB, f *fleet, ways int, random *rand.Rand) *badNetwork {
	t.Helper()
	n := &badNetwork{t: t, rand: random}
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	way := func(name, target string) *toxiproxy.Proxy {
		port, err := devcluster.FreePort()
		if err != nil {
			t.Fatal(err)
		}
		proxy := toxiproxy.NewProxy(server, name, fmt.Sprintf("127.0.0.1:%d", port), target)
		if err := proxy.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(proxy.Stop)
		return proxy
	}
	zkHost, _, _ := strings.Cut(f.zkAddr, "/")
	for i := range ways {
		n.zk = append(n.zk, way(fmt.Sprintf("zk%d", i), zkHost))
		n.s3 = append(n.s3, way(fmt.Sprintf("s3%d", i), strings.TrimPrefix(f.server.endpoint, "http://")))
	}
	return n
}

// route is one way to both servers.
type route struct{ zk, s3Endpoint string }

// route returns a way for the nth user.
func (n *badNetwork) route(f *fleet, user int) route {
	_, chroot, _ := strings.Cut(f.zkAddr, "/")
	return route{
		zk:         n.zk[user%len(n.zk)].Listen + "/" + chroot,
		s3Endpoint: "http://" + n.s3[user%len(n.s3)].Listen,
	}
}

// env makes a command take the route.
func (r route) env() []string {
	return []string{"KINGPIN_ZK=" + r.zk, "KINGPIN_S3_ENDPOINT=" + r.s3Endpoint}
}

// misbehave cuts the connections of one way at random places: each when that many
// bytes have passed in one direction, so that a request or an answer is lost, or
// the next when it says anything, which is what a reset looks like. New
// connections suffer the same, for a moment.
func (n *badNetwork) misbehave(over <-chan struct{}) (what string) {
	proxies := n.zk
	if n.rand.IntN(3) == 0 {
		proxies = n.s3
	}
	proxy := proxies[n.rand.IntN(len(proxies))]
	stream := []string{"upstream", "downstream"}[n.rand.IntN(2)]
	toxic := `"type": "reset_peer", "attributes": {"timeout": 0}`
	if n.rand.IntN(4) > 0 {
		toxic = fmt.Sprintf(`"type": "limit_data", "attributes": {"bytes": %d}`, n.rand.IntN(1500))
	}
	if _, err := proxy.Toxics.AddToxicJson(strings.NewReader(fmt.Sprintf(`{"name": "cut", "stream": %q, %s}`, stream, toxic))); err != nil {
		n.t.Error(err)
	}
	while := time.NewTimer(time.Duration(10+n.rand.IntN(120)) * time.Millisecond)
	defer while.Stop()
	select {
	case <-while.C:
	case <-over:
	}
	if err := proxy.Toxics.RemoveToxic(context.Background(), "cut"); err != nil {
		n.t.Error(err)
	}
	return proxy.Name + " " + stream + " " + toxic
}
