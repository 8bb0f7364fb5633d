package integration

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"testing"

	"github.com/kingpinfs/kingpin/internal/devcluster"
	"github.com/kingpinfs/kingpin/internal/devcluster/devtest"
)

// backends are the servers of a test that takes them away as a whole.
type backends struct {
	t         testing.TB
	zookeeper *devcluster.ZooKeeper
	s3        *devcluster.S3
}

func startBackends(t testing.TB) (backends, *fleet) {
	t.Helper()
	server, described := ownS3(t)
	b := backends{t, devtest.ZooKeeper(t), server}
	return b, newFleetOn(t, b.zookeeper.Addr(), described)
}

// stop takes servers away. f.zk can't be used before start.
func (b *backends) stop(zookeeper, s3 bool) {
	b.t.Helper()
	if zookeeper {
		if err := b.zookeeper.Kill(); err != nil {
			b.t.Fatal(err)
		}
	}
	if s3 {
		if err := b.s3.Stop(); err != nil {
			b.t.Fatal(err)
		}
	}
}

// start starts them again, whether or not they were stopped.
func (b *backends) start(f *fleet) {
	b.t.Helper()
	if err := b.zookeeper.Restart(context.Background()); err != nil {
		b.t.Fatal(err)
	}
	if err := b.s3.Restart(context.Background()); err != nil {
		b.t.Fatal(err)
	}
	f.zk = connectZK(b.t, f.zkAddr)
}

// awaitListening waits until a monitor answers on its admin address.
func (m *monitor) awaitListening() {
	m.t.Helper()
	await(m.t, "the admin address to answer", func() error {
		conn, err := net.Dial("tcp", m.adminAddr)
		if err != nil {
			return err
		}
		return conn.Close()
	})
}

// mustAnswerHealthcheck checks what the health check answers.
func (m *monitor) mustAnswerHealthcheck(code int) {
	m.t.Helper()
	if got, body := m.request(http.MethodGet, "/admin/healthcheck"); got != code {
		m.t.Errorf("the health check answers %d %q, want %d", got, body, code)
	}
}

// TestColdStartWithoutBackends starts monitors that served something before
// while ZooKeeper, S3 or both are down: what was served last is there at once,
// and the newest comes when they are back.
func TestColdStartWithoutBackends(t *testing.T) {
	t.Parallel()
	b, f := startBackends(t)
	names := f.subscribe("changed", "quiet")
	znode, serverset := f.subscribeServerset("search")
	f.publish("changed", 1)
	f.publish("quiet", 1)
	endpoints := []string{"10.0.0.1:8001"}
	f.zk.join(znode, endpoints[0])
	faces := f.startFaces(monitorConfig{})
	for _, m := range faces {
		m.awaitServerset(serverset, endpoints...)
		// While a monitor ends and another starts there are its plain files.
		watchReads(m, names...)
	}
	for i, outage := range []struct {
		name          string
		zookeeper, s3 bool
	}{
		{"both down", true, true},
		{"ZooKeeper down", true, false},
		{"S3 down", false, true},
	} {
		t.Log(outage.name)
		n := 2*i + 2
		var before []map[string]identity
		for _, m := range faces {
			before = append(before, m.identities(names...))
			m.terminate()
		}
		f.publish("changed", n) // while no monitor runs
		b.stop(outage.zookeeper, outage.s3)
		for j, m := range faces {
			faces[j] = f.launchFace(m.mode, monitorConfig{Dirs: m.dirs})
		}
		for j, m := range faces {
			m.awaitListening()
			m.awaitNumbered(names[0], n-1)
			m.awaitNumbered(names[1], 1)
			m.awaitServerset(serverset, endpoints...)
			if m.mode == "plain" { // a new mount has new inodes
				m.mustBeUntouched(before[j])
			}
		}
		for _, m := range faces {
			if outage.zookeeper {
				for _, name := range append(names, serverset) {
					m.awaitState(name, "stale", `ZooKeeper|not been read`)
				}
				if s := m.status(); s.Ready || !s.Healthy {
					t.Errorf("it says ready %v, healthy %v, want false and true", s.Ready, s.Healthy)
				}
				m.mustAnswerHealthcheck(http.StatusNoContent)
				continue
			}
			// What needs no S3 is fresh, and everything that can be served is.
			m.awaitState(names[0], "stale", `connection refused`)
			m.awaitState(names[1], "fresh", `^$`)
			m.awaitReady()
			m.mustAnswerHealthcheck(http.StatusOK)
		}
		b.start(f)
		endpoints = append(endpoints, fmt.Sprintf("10.0.0.1:800%d", i+2))
		f.zk.join(znode, endpoints[i+1])
		for _, m := range faces {
			m.awaitSoon(names[0], n)
			m.awaitServerset(serverset, endpoints...)
			m.awaitReady()
			m.mustAnswerHealthcheck(http.StatusOK)
		}
		f.publish("changed", n+1)
		for _, m := range faces {
			m.awaitSoon(names[0], n+1)
			m.awaitState(names[1], "fresh", `^$`)
			m.mustBeWell()
		}
	}
}

// TestFirstStartWithoutBackends starts monitors that never served anything while
// nothing answers: they wait, and then serve.
func TestFirstStartWithoutBackends(t *testing.T) {
	t.Parallel()
	b, f := startBackends(t)
	names := f.subscribe("first")
	f.publish("first", 1)
	b.stop(true, true)
	faces := f.launchFaces(monitorConfig{})
	for _, m := range faces {
		m.awaitListening()
		if s := m.status(); s.Ready || !s.Healthy {
			t.Errorf("it says ready %v, healthy %v, want false and true", s.Ready, s.Healthy)
		}
		m.mustAnswerHealthcheck(http.StatusNoContent)
		// A directory that is there and empty, and not one that fails.
		if names := listDir(t, m.dirs.serverset); m.mode == "fuse" && len(names) > 0 {
			t.Errorf("it serves %q", names)
		}
	}
	b.start(f)
	for _, m := range faces {
		m.awaitSoon(names[0], 1)
		m.awaitReady()
		m.mustBeWell()
	}
}
