package integration

import (
	"syscall"
	"testing"
	"time"

	"github.com/kingpinfs/kingpin/internal/devcluster"
	"github.com/kingpinfs/kingpin/internal/devcluster/devtest"
)

// TestSessionExpired lets the monitors' ZooKeeper sessions expire, each time in
// another way, while a config and a serverset change. Afterwards both are
// served, and what didn't change is untouched.
func TestSessionExpired(t *testing.T) {
	t.Parallel()
	// The monitors ask for ten seconds and get two.
	const session, absence = "2000", 5 * time.Second
	server := devtest.ZooKeeperWith(t, devcluster.ZooKeeperConfig{
		TickTime: 200 * time.Millisecond, Settings: map[string]string{"maxSessionTimeout": session},
	})
	f := newFleetOn(t, server.Addr(), gofakes3(t))
	names := f.subscribe("changed", "quiet1", "quiet2", "quiet3")
	for _, key := range []string{"changed", "quiet1", "quiet2", "quiet3"} {
		f.publish(key, 1)
	}
	znode, serverset := f.subscribeServerset("search", "10.0.0.1:8001")
	proxy := proxyTo(t, server.Addr())
	faces := f.startFaces(monitorConfig{Env: []string{f.zkVia(proxy)}})
	for _, m := range faces {
		watchReads(m, names...)
	}
	restore := func() {
		t.Helper()
		if err := proxy.Restore(); err != nil {
			t.Fatal(err)
		}
	}
	var workers []int
	for _, m := range faces {
		workers = append(workers, m.workerPID())
	}
	// The holders sleep longer than their workers, and so don't replace them.
	stopAll := func() {
		for i, m := range faces {
			m.signal(syscall.SIGSTOP)
			kill(t, workers[i], syscall.SIGSTOP)
		}
	}
	continueAll := func() {
		for i, m := range faces {
			kill(t, workers[i], syscall.SIGCONT)
			m.signal(syscall.SIGCONT)
		}
	}
	endpoints := []string{"10.0.0.1:8001"}
	for i, cause := range []struct {
		name       string
		begin, end func()
	}{
		{"the network swallows every packet", proxy.Stall, restore},
		{"the network refuses connections", proxy.Cut, restore},
		{"the monitors are stopped", stopAll, continueAll},
	} {
		t.Log(cause.name)
		n := i + 2
		var before []map[string]identity
		var sessions []string
		for _, m := range faces {
			before = append(before, m.identities(names[1:]...))
			sessions = append(sessions, m.status().ZooKeeper.Session)
		}
		cause.begin()
		over := time.NewTimer(absence)
		f.publish("changed", n)
		endpoints = append(endpoints, "10.0.0.1:800"+string(rune('0'+n)))
		f.zk.join(znode, endpoints[len(endpoints)-1])
		<-over.C
		cause.end()
		for j, m := range faces {
			m.awaitSoon(names[0], n)
			m.awaitServerset(serverset, endpoints...)
			for _, name := range append(names, serverset) {
				m.awaitState(name, "fresh", `^$`)
			}
			if s := m.status().ZooKeeper.Session; s == sessions[j] {
				t.Errorf("the session %s did not expire: this tests nothing", s)
			}
			if expired := m.metrics()["kingpin_zookeeper_sessions_expired_total"]; expired < float64(i+1) {
				t.Errorf("%v sessions are counted as expired, want %d or more", expired, i+1)
			}
			m.mustBeUntouched(before[j])
			m.mustBeWell()
		}
	}
}
