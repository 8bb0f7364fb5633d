package integration

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kingpinfs/kingpin/internal/devcluster"
	"github.com/kingpinfs/kingpin/internal/devcluster/devtest"
)

// TestS3DownDuringAChange takes S3 away from monitors, each time in another way,
// while a config changes: the last good content stays, and the status says that
// it is stale and why; serversets, which need no S3, go on. When S3 is back the
// change arrives.
func TestS3DownDuringAChange(t *testing.T) {
	t.Parallel()
	server, described := ownS3(t)
	f := newFleetOn(t, devtest.SharedZooKeeper(t), described)
	names := f.subscribe("changed", "quiet")
	znode, serverset := f.subscribeServerset("search", "10.0.0.1:8000")
	f.publish("changed", 1)
	f.publish("quiet", 1)
	proxy := proxyTo(t, server.Endpoint())
	faces := f.startFaces(monitorConfig{Env: []string{s3Via(proxy)}})
	endpoints := []string{"10.0.0.1:8000"}
	for _, m := range faces {
		m.awaitNumbered(names[0], 1)
		watchReads(m, names...)
	}
	heal := func() {
		t.Helper()
		server.SetFault(nil)
		if err := proxy.Restore(); err != nil {
			t.Fatal(err)
		}
	}
	for i, outage := range []struct {
		name, says string
		begin      func()
	}{
		{"refuses connections", `connection refused`, proxy.Cut},
		{"answers 503", `503`, func() {
			server.SetFault(forReads(devcluster.Fault{Status: http.StatusServiceUnavailable, Code: "ServiceUnavailable"}))
		}},
		{"takes requests and never answers", proxy.Addr(), func() { server.SetFault(forReads(devcluster.Fault{Hang: true})) }},
		{"is lost on the way", proxy.Addr(), proxy.Stall},
		{"stops in the middle of a content", proxy.Addr(), func() {
			server.SetFault(forReads(devcluster.Fault{Stall: true, BodyBytes: contentSize / 2}))
		}},
		{"breaks off in the middle of a content", fmt.Sprintf("after %d bytes", contentSize/2), func() {
			server.SetFault(forReads(devcluster.Fault{Cut: true, BodyBytes: contentSize / 2}))
		}},
	} {
		t.Log(outage.name)
		n := i + 2
		quiet := make([]map[string]identity, len(faces))
		for j, m := range faces {
			quiet[j] = m.identities(names[1])
		}
		outage.begin()
		f.publish("changed", n)
		for _, m := range faces {
			m.awaitState(names[0], "stale", outage.says)
			m.mustServe(names[0], n-1)
			if file, ok := m.file(names[1]); !ok || file.State != "fresh" {
				t.Errorf("what hasn't changed is %+v, want it fresh", file)
			}
		}
		endpoints = append(endpoints, strings.Replace("10.0.0.1:800#", "#", string(rune('0'+n)), 1))
		f.zk.join(znode, endpoints[len(endpoints)-1])
		for _, m := range faces {
			m.awaitServerset(serverset, endpoints...)
		}
		heal()
		for _, m := range faces {
			m.awaitSoon(names[0], n)
			m.awaitState(names[0], "fresh", `^$`)
		}
		for j, m := range faces {
			m.mustBeUntouched(quiet[j])
			m.mustBeWell()
		}
	}
}

// TestS3DoesNotHaveTheVersionYet answers 404 for a version that has just been
// written, as a bucket that is replicated does, and then has it.
func TestS3DoesNotHaveTheVersionYet(t *testing.T) {
	t.Parallel()
	const missing = 3 * time.Second
	server, described := ownS3(t)
	f := newFleetOn(t, devtest.SharedZooKeeper(t), described)
	names := f.subscribe("late", "other")
	f.publish("late", 1)
	f.publish("other", 1)
	faces := f.startFaces(monitorConfig{})
	for _, m := range faces {
		watchReads(m, names...)
	}
	var answers atomic.Int64
	server.SetFault(func(r *http.Request) *devcluster.Fault {
		if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, contentKey(pointers+"late", version(2))) {
			answers.Add(1)
			return &devcluster.Fault{Status: http.StatusNotFound, Code: "NoSuchKey"}
		}
		return nil
	})
	arrives := time.NewTimer(missing)
	defer arrives.Stop()
	f.publish("late", 2)
	for _, m := range faces {
		m.awaitState(names[0], "stale", `NoSuchKey|no such|not there|doesn't exist|not found`)
		m.mustServe(names[0], 1)
	}
	f.publish("other", 2)
	for _, m := range faces {
		m.awaitNumbered(names[1], 2)
	}
	<-arrives.C
	server.SetFault(nil)
	for _, m := range faces {
		m.awaitSoon(names[0], 2)
		m.awaitState(names[0], "fresh", `^$`)
		m.mustBeWell()
	}
	// It asks again and again, but doesn't storm.
	if n := answers.Load(); n < 4 || n > 200 {
		t.Errorf("two monitors asked %d times in %v", n, missing)
	}
}
