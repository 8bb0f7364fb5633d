package integration

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// pythonTime is when the Python monitor wrote its files.
var pythonTime = time.Unix(1599999999, 123456789)

// leave puts a file into a directory as the Python monitor left it.
func leave(t testing.TB, dir, name, content string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, name)
	mustWrite(t, path, content)
	if err := os.Chtimes(path, pythonTime, pythonTime); err != nil {
		t.Fatal(err)
	}
}

// TestFirstStartAfterPython starts monitors on a machine that ran the Python one,
// with both backends down: what that left is served as it lies, also after the
// worker was killed, and when the backends come nothing is touched that is as the
// fleet has it. What the fleet doesn't ask for isn't shown any more then.
func TestFirstStartAfterPython(t *testing.T) {
	t.Parallel()
	b, f := startBackends(t)
	names := f.subscribe("same", "older")
	f.publish("same", 1)
	f.publish("older", 2)
	endpoints := []string{"10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80", "10.0.0.4:80", "10.0.0.5:80"}
	znode, shuffled := f.subscribeServerset("shuffled", endpoints...)
	_, shrunk := f.subscribeServerset("shrunk", endpoints[0])
	b.stop(true, true)
	const pythons = "10.0.0.3:80\n10.0.0.1:80\n10.0.0.5:80\n10.0.0.2:80\n10.0.0.4:80"
	var faces []*monitor
	for _, mode := range []string{"fuse", "plain"} {
		d := f.newDirs()
		leave(t, d.config, names[0], numbered(1, contentSize))
		leave(t, d.config, names[1], numbered(1, contentSize))
		leave(t, d.config, "README", "hands off")
		leave(t, d.serverset, shuffled, pythons)
		leave(t, d.serverset, shrunk, pythons)
		faces = append(faces, f.launchFace(mode, monitorConfig{Dirs: d}))
	}
	asLeft := func(m *monitor) {
		t.Helper()
		for path, content := range map[string]string{
			m.config(names[0]): numbered(1, contentSize), m.config(names[1]): numbered(1, contentSize),
			m.config("README"): "hands off", m.serverset(shuffled): pythons, m.serverset(shrunk): pythons,
		} {
			if got := mustRead(t, path); got != content {
				t.Errorf("%s holds %q", path, abridged(got))
			}
			if st := mustStat(t, path); time.Unix(st.Mtim.Unix()) != pythonTime {
				t.Errorf("%s is of %v", path, time.Unix(st.Mtim.Unix()))
			}
		}
	}
	for _, m := range faces {
		m.awaitListening()
		m.awaitState(names[0], "stale", `ZooKeeper|not been read`)
		asLeft(m)
		m.killWorker()
		m.awaitState(names[0], "stale", `ZooKeeper|not been read`)
		asLeft(m)
	}
	b.start(f)
	for _, endpoint := range endpoints { // the members' sessions were lost with the servers
		f.zk.join(znode, endpoint)
	}
	f.zk.join("/discovery/shrunk/prod", endpoints[0])
	for _, m := range faces {
		m.awaitReady()
		m.awaitSoon(names[1], 2)
		m.awaitState(names[0], "fresh", `^$`)
		m.mustServe(names[0], 1)
		if st := mustStat(t, m.config(names[0])); time.Unix(st.Mtim.Unix()) != pythonTime {
			t.Errorf("%s didn't change and is of %v", names[0], time.Unix(st.Mtim.Unix()))
		}
		m.awaitServerset(shuffled, endpoints...)
		m.awaitState(shuffled, "fresh", `^$`)
		m.awaitState(shrunk, "held", `1 of 5`)
		if got := mustRead(t, m.serverset(shrunk)); got != pythons {
			t.Errorf("the held serverset is %q", got)
		}
		m.awaitWarning(m.dirs.config, "README", "left alone")
		if m.mode == "fuse" {
			if err := gone(m.config("README")); err != nil {
				t.Errorf("what nothing asks for: %v", err)
			}
		}
		m.terminate()
		if got := mustRead(t, m.config("README")); got != "hands off" {
			t.Errorf("somebody's file holds %q", got)
		}
	}
}
