package integration

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kingpinfs/kingpin/internal/devcluster"
	"github.com/kingpinfs/kingpin/internal/devcluster/devtest"
)

// TestZooKeeperStoppedForAMinute kills the only ZooKeeper server and starts it
// again a minute later. Everything is served meanwhile, and says that it may be
// stale; the first change after that arrives.
func TestZooKeeperStoppedForAMinute(t *testing.T) {
	t.Parallel()
	const outage = time.Minute
	server := devtest.ZooKeeper(t)
	f := newFleetOn(t, server.Addr(), gofakes3(t))
	names := f.subscribe("changed", "quiet")
	f.publish("changed", 1)
	f.publish("quiet", 1)
	faces := f.startFaces(monitorConfig{})
	quiet := make([]map[string]identity, len(faces))
	for i, m := range faces {
		quiet[i] = m.identities(names[1])
		watchReads(m, names...)
	}
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	over := time.NewTimer(outage)
	defer over.Stop()
	for _, m := range faces {
		for _, name := range names {
			m.awaitState(name, "stale", `ZooKeeper can't be reached`)
		}
	}
	r := f.try("x\n", "config", "put", names[0], "-")
	if r.code != 4 || !strings.Contains(r.stderr, server.Addr()) {
		t.Errorf("config put without ZooKeeper: exit code %d, want 4; it says %s", r.code, r.stderr)
	}
	for _, m := range faces {
		m.mustBeWell()
		if s := m.status(); !s.Ready || s.ZooKeeper.Connected || !strings.Contains(s.ZooKeeper.Error, server.Addr()) {
			t.Errorf("without ZooKeeper the status says ready %v, %+v", s.Ready, s.ZooKeeper)
		}
		// Health checks that take a box out of service must not do so now.
		m.get("/admin/healthcheck")
	}
	<-over.C
	if err := server.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.zk = connectZK(t, f.zkAddr)
	f.publish("changed", 2)
	for i, m := range faces {
		m.awaitSoon(names[0], 2)
		for _, name := range names {
			m.awaitState(name, "fresh", `^$`)
		}
		m.mustBeUntouched(quiet[i])
		m.mustBeWell()
	}
}

// TestZooKeeperFrozen stops the server in its tracks, so that it takes everything
// and answers nothing, for longer than a session lasts, and lets it go on.
func TestZooKeeperFrozen(t *testing.T) {
	t.Parallel()
	server := devtest.ZooKeeperWith(t, devcluster.ZooKeeperConfig{
		TickTime: 200 * time.Millisecond, Settings: map[string]string{"maxSessionTimeout": "2000"},
	})
	f := newFleetOn(t, server.Addr(), gofakes3(t))
	names := f.subscribe("changed", "quiet")
	f.publish("changed", 1)
	f.publish("quiet", 1)
	faces := f.startFaces(monitorConfig{})
	var before []map[string]identity
	for _, m := range faces {
		before = append(before, m.identities(names[1]))
		watchReads(m, names...)
	}
	if err := server.Pause(); err != nil {
		t.Fatal(err)
	}
	for _, m := range faces {
		m.awaitState(names[0], "stale", `ZooKeeper can't be reached`)
		m.mustBeWell()
	}
	// One that starts now serves what it has.
	faces[1].terminate()
	faces[1] = f.launchFace("plain", monitorConfig{Dirs: faces[1].dirs})
	faces[1].awaitListening()
	faces[1].awaitState(names[0], "stale", `ZooKeeper|not been read`)
	faces[1].mustServe(names[0], 1)
	if err := server.Resume(); err != nil {
		t.Fatal(err)
	}
	f.zk = connectZK(t, f.zkAddr)
	f.publish("changed", 2)
	for i, m := range faces {
		m.awaitSoon(names[0], 2)
		for _, name := range names {
			m.awaitState(name, "fresh", `^$`)
		}
		m.mustBeUntouched(before[i])
		m.mustBeWell()
	}
}

// TestChangeWhileOurServerIsDown kills the member of an ensemble that a monitor
// is connected to, and changes a config by way of the others.
func TestChangeWhileOurServerIsDown(t *testing.T) {
	t.Parallel()
	ensemble := devtest.Ensemble(t, 3)
	f := newFleetOn(t, ensemble.Addr(), gofakes3(t))
	names := f.subscribe("changed", "quiet")
	f.publish("changed", 1)
	f.publish("quiet", 1)
	faces := f.startFaces(monitorConfig{})
	for _, m := range faces {
		watchReads(m, names...)
	}
	n := 1
	for _, m := range faces {
		t.Logf("killing the server of the %s face", m.status().Mode)
		ours := m.status().ZooKeeper.Server
		members := ensemble.Members()
		i := slices.IndexFunc(members, func(z *devcluster.ZooKeeper) bool { return z.Addr() == ours })
		if i < 0 {
			t.Fatalf("the monitor is connected to %q, which is none of %s", ours, ensemble.Addr())
		}
		if err := members[i].Kill(); err != nil {
			t.Fatal(err)
		}
		var others []string
		for j, other := range members {
			if j != i {
				others = append(others, other.Addr())
			}
		}
		// A leader may have to be elected: the connection waits.
		f.zk = connectZK(t, strings.Join(others, ","))
		await(t, "the others to serve", func() error {
			_, _, err := f.zk.conn.Exists(dependencyRoot)
			return err
		})
		n++
		f.publish("changed", n)
		for _, m := range faces {
			m.awaitSoon(names[0], n)
			m.awaitState(names[0], "fresh", `^$`)
		}
		if err := members[i].Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range faces {
		m.mustBeWell()
	}
}

// TestConnectionCutDuringChanges breaks the connection to ZooKeeper and to S3 a
// few times a second while several configs change: in the end every file has
// what was published last, and on the way nothing goes back.
func TestConnectionCutDuringChanges(t *testing.T) {
	t.Parallel()
	const configs, changes = 5, 200
	server, described := ownS3(t)
	f := newFleetOn(t, devtest.SharedZooKeeper(t), described)
	var keys []string
	for i := range configs {
		keys = append(keys, fmt.Sprintf("cut%d", i))
	}
	names := f.subscribe(keys...)
	for _, key := range keys {
		f.publish(key, 1)
	}
	zkProxy, s3Proxy := proxyTo(t, strings.Split(f.zkAddr, "/")[0]), proxyTo(t, server.Endpoint())
	faces := f.startFaces(monitorConfig{Env: []string{f.zkVia(zkProxy), s3Via(s3Proxy)}})
	for _, m := range faces {
		watchReads(m, names...)
	}
	last := make([]int, configs)
	pace := time.NewTicker(20 * time.Millisecond)
	defer pace.Stop()
	for n := 2; n <= changes+1; n++ {
		i := n % configs
		f.publish(keys[i], n)
		last[i] = n
		switch {
		case n%40 == 0: // refuse for a while
			zkProxy.Cut()
		case n%40 == 20:
			if err := zkProxy.Restore(); err != nil {
				t.Fatal(err)
			}
		case n%7 == 0:
			zkProxy.Break()
			s3Proxy.Break()
		}
		<-pace.C
	}
	zkProxy.Break()
	if err := zkProxy.Restore(); err != nil {
		t.Fatal(err)
	}
	for _, m := range faces {
		for i, name := range names {
			m.awaitSoon(name, last[i])
			m.awaitState(name, "fresh", `^$`)
		}
		m.mustBeWell()
	}
}
