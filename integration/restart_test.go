package integration

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/kingpinfs/kingpin/internal/devcluster"
	"github.com/kingpinfs/kingpin/internal/devcluster/devtest"
)

// A restarted monitor serves at once what was served last, and then the newest:
// at no moment nothing, and nothing older.
func TestRestartServesTheLastThenTheNewest(t *testing.T) {
	t.Parallel()
	eachFace(t, func(t *testing.T, mode string) {
		server, described := ownS3(t)
		f := newFleetOn(t, devtest.SharedZooKeeper(t), described)
		f.run("dependency", "create", "web.dep")
		name := f.newConfig("spam", "large", "web.dep")
		set := f.newServerset("search", "prod", "web.dep")
		const zkPath = "/config/manageddata/spam/large"
		publish := func(n int) { f.publishRaw(zkPath, seriesVersion(n), seriesContent(n)) }
		publish(1)
		f.zk.join("/discovery/search/prod", "10.0.0.1:80")
		cfg := monitorConfig{Mode: mode, Dependencies: []string{"web.dep"}, Dirs: f.newDirs()}
		m := f.startMonitor(cfg)
		m.awaitServerset(set, "10.0.0.1:80")
		group := startReaders(t, m.config(name), "quick")
		group.await(1)
		publish(2)
		m.awaitConfig(name, seriesContent(2))
		first := mustStat(t, m.config(name))
		m.terminate()

		// While it is away there is a newer version, which S3 doesn't give out
		// when the monitor is back.
		publish(3)
		server.SetFault(func(r *http.Request) *devcluster.Fault {
			if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "large") {
				return &devcluster.Fault{Status: http.StatusServiceUnavailable, Code: "SlowDown"}
			}
			return nil
		})
		m = f.startMonitor(cfg)
		if err := has(m.config(name), seriesContent(2)); err != nil {
			t.Errorf("after a restart: %v", err)
		}
		if again := mustStat(t, m.config(name)); modTime(again) != modTime(first) {
			t.Errorf("the restart changed the time from %d to %d", modTime(first), modTime(again))
		}
		m.awaitState(name, "stale", "503")
		server.SetFault(nil)
		m.awaitConfig(name, seriesContent(3))
		m.awaitServerset(set, "10.0.0.1:80")
		m.terminate()

		// With nobody to ask at all.
		cfg.Args = []string{"--zk", "127.0.0.1:1", "--s3-endpoint", "http://127.0.0.1:1"}
		m = f.launchMonitor(cfg)
		await(t, "the monitor to serve", func() error {
			if s, ok := m.tryStatus(); !ok || s.Mode != mode || len(s.Configs) == 0 {
				return fmt.Errorf("the status is %+v", s)
			}
			return nil
		})
		if err := has(m.config(name), seriesContent(3)); err != nil {
			t.Errorf("with both backends down: %v", err)
		}
		if err := has(m.serverset(set), "10.0.0.1:80\n"); err != nil {
			t.Errorf("with both backends down: %v", err)
		}
		if mode == "fuse" {
			if state, err := xattr(m.config(name), "user.kingpin.state"); state != "stale" {
				t.Errorf("with both backends down the state is %q (%v)", state, err)
			}
		}
		m.terminate()

		// Readers in the middle of it may have met a mount that went away. But
		// nobody saw anything older, shorter or mixed.
		for _, r := range group.stop() {
			for _, problem := range r.Problems {
				if !goingAway(problem) {
					t.Errorf("a reader: %s", problem)
				}
			}
			if r.Versions != 3 {
				t.Errorf("a reader saw %d versions", r.Versions)
			}
		}
	})
}

// goingAway tells whether a read failed because its mount was being taken away.
func goingAway(problem string) bool {
	for _, text := range []string{"transport endpoint is not connected", "software caused connection abort"} {
		if strings.HasSuffix(problem, text) {
			return true
		}
	}
	return false
}
