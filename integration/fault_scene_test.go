package integration

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kingpinfs/kingpin/internal/devcluster"
)

const (
	// soon is how long what is newest may take to arrive once what kept it away
	// is gone: readers are promised seconds.
	soon = 15 * time.Second
	// boxDep is the dependency of the monitors of these tests.
	boxDep = "box.dep"
	// pointers is where the configs of these tests are.
	pointers = "/config/manageddata/fault/"
	// contentSize is how large their contents are, unless a test says otherwise.
	contentSize = 16 << 10
)

// subscribe makes boxDep list a metaconfig for each config of these names,
// written as the Python fleet does, and returns the names of the files.
func (f *fleet) subscribe(keys ...string) []string {
	f.t.Helper()
	var names []string
	for _, key := range keys {
		name := fileName(pointers + key)
		f.publishMetaconfigRaw(name, "1600000000.5", configObject(pointers+key))
		f.zk.addMember(boxDep, name)
		names = append(names, name)
	}
	return names
}

// subscribeServerset is subscribe for a serverset, which it creates with one
// member for each endpoint.
func (f *fleet) subscribeServerset(service string, endpoints ...string) (znode, name string) {
	f.t.Helper()
	znode = "/discovery/" + service + "/prod"
	name = fileName(znode)
	f.zk.create(znode, nil)
	for _, endpoint := range endpoints {
		f.zk.join(znode, endpoint)
	}
	f.publishMetaconfigRaw(name, "1600000000.5", serversetObject(znode))
	f.zk.addMember(boxDep, name)
	return znode, name
}

// version is that of the n-th content.
func version(n int) string { return fmt.Sprintf("%d.25", 1_700_000_000+n) }

// publish publishes the n-th content of a config, as a program of the fleet.
func (f *fleet) publish(key string, n int) {
	f.t.Helper()
	f.publishRaw(pointers+key, version(n), numbered(n, contentSize))
}

// startFaces runs two monitors, with the files served by FUSE and as plain
// files, and returns when both are ready.
func (f *fleet) startFaces(cfg monitorConfig) []*monitor {
	f.t.Helper()
	faces := f.launchFaces(cfg)
	for _, m := range faces {
		m.awaitReady()
	}
	return faces
}

// launchFaces is startFaces, but returns at once.
func (f *fleet) launchFaces(cfg monitorConfig) []*monitor {
	f.t.Helper()
	var faces []*monitor
	for _, mode := range []string{"fuse", "plain"} {
		faces = append(faces, f.launchFace(mode, cfg))
	}
	return faces
}

// launchFace runs a monitor of boxDep, unless cfg names a dependency.
func (f *fleet) launchFace(mode string, cfg monitorConfig) *monitor {
	f.t.Helper()
	cfg.Mode = mode
	if cfg.Dependencies == nil {
		cfg.Dependencies = []string{boxDep}
	}
	return f.launchMonitor(cfg)
}

// awaitNumbered waits until a config's file has its n-th content.
func (m *monitor) awaitNumbered(name string, n int) time.Duration {
	m.t.Helper()
	return m.awaitConfig(name, numbered(n, contentSize))
}

// awaitSoon is awaitNumbered once nothing keeps the content away any more: it
// must not take long.
func (m *monitor) awaitSoon(name string, n int) {
	m.t.Helper()
	took := m.awaitNumbered(name, n)
	m.t.Logf("%s has content %d after %v", name, n, took.Round(time.Millisecond))
	if took > soon {
		m.t.Errorf("content %d of %s arrived after %v, over %v", n, name, took, soon)
	}
}

// mustServe fails the test unless a config's file has its n-th content now.
func (m *monitor) mustServe(name string, n int) {
	m.t.Helper()
	if err := has(m.config(name), numbered(n, contentSize)); err != nil {
		m.t.Errorf("content %d isn't served: %v", n, err)
	}
}

// mustBeWell checks that a monitor and its worker are the processes that they
// were: neither was restarted, and no part of them is dead.
func (m *monitor) mustBeWell() {
	m.t.Helper()
	if s := m.mustBeAtWork(); s.Restarts != 0 {
		m.t.Errorf("%d workers have been replaced, the last: %s", s.Restarts, s.LastExit)
	}
}

// mustBeAtWork is mustBeWell of a monitor whose worker may have been replaced.
func (m *monitor) mustBeAtWork() status {
	m.t.Helper()
	s := m.status()
	if !m.running() || s.HolderPID != m.pid() || s.WorkerPID == m.pid() || !s.Healthy {
		m.t.Errorf("the monitor (pid %d) is running %v, its status says %+v", m.pid(), m.running(), s)
	}
	return s
}

// identity is what tells a file from another one.
type identity struct {
	ino   uint64
	mtime unix.Timespec
}

// identities returns those of a monitor's configs.
func (m *monitor) identities(names ...string) map[string]identity {
	m.t.Helper()
	all := map[string]identity{}
	for _, name := range names {
		st := mustStat(m.t, m.config(name))
		all[name] = identity{st.Ino, st.Mtim}
	}
	return all
}

// mustBeUntouched checks that the files are the very same as before.
func (m *monitor) mustBeUntouched(before map[string]identity) {
	m.t.Helper()
	for name, was := range before {
		st := mustStat(m.t, m.config(name))
		if is := (identity{st.Ino, st.Mtim}); is != was {
			m.t.Errorf("%s didn't change but was %+v and is %+v", name, was, is)
		}
	}
}

// proxyTo starts a proxy before a server, given as "host:port" or a URL, that is
// closed when the test ends.
func proxyTo(t testing.TB, target string) *devcluster.Proxy {
	t.Helper()
	p, err := devcluster.StartProxy(strings.TrimPrefix(target, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// zkVia is the fleet's ZooKeeper by way of a proxy, as a monitor's environment.
func (f *fleet) zkVia(p *devcluster.Proxy) string {
	_, chroot, _ := strings.Cut(f.zkAddr, "/")
	return "KINGPIN_ZK=" + p.Addr() + "/" + chroot
}

// s3Via is the same for S3.
func s3Via(p *devcluster.Proxy) string { return "KINGPIN_S3_ENDPOINT=http://" + p.Addr() }

// forReads is a fault that befalls what a monitor asks, but no writer.
func forReads(fault devcluster.Fault) func(*http.Request) *devcluster.Fault {
	return func(r *http.Request) *devcluster.Fault {
		if r.Method == http.MethodGet || r.Method == http.MethodHead {
			return &fault
		}
		return nil
	}
}

// tmpfs mounts a small filesystem and returns where; it goes with the test. A
// monitor that uses it must have ended by then, so it must be mounted before
// that is started.
func tmpfs(t testing.TB, megabytes int) string {
	t.Helper()
	dir := filepath.Join(tempDir(t), "tmpfs")
	if err := unix.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	options := fmt.Sprintf("size=%dm,mode=0755", megabytes)
	if err := unix.Mount("kingpin-test", dir, "tmpfs", 0, options); err != nil {
		t.Fatalf("mounting a tmpfs: %v: run the tests as root, or by `make test`, which uses sudo", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmounting the tmpfs: %v", err)
		}
	})
	return dir
}

// dirsIn returns the directories of a monitor in a directory.
func dirsIn(base string) dirs {
	return dirs{filepath.Join(base, "config"), filepath.Join(base, "serverset"), filepath.Join(base, "state")}
}
