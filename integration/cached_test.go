package integration

import (
	"maps"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// fuseRequests returns how many requests of the kernel the monitor has
// answered, by operation.
func (m *monitor) fuseRequests() map[string]float64 {
	m.t.Helper()
	requests := map[string]float64{}
	for sample, n := range m.metrics() {
		if strings.HasPrefix(sample, "kingpin_fuse_requests_total{") {
			requests[sample] = n
		}
	}
	if len(requests) == 0 {
		m.t.Fatal("the monitor counts no FUSE requests")
	}
	return requests
}

// heartbeat is the operation by which the holder asks, all the time, whether the
// worker answers. No read of a file causes it.
const heartbeat = `kingpin_fuse_requests_total{operation="GETXATTR"}`

// wantNoMessages checks that doing something sends the monitor no request. The
// kernel may give cached memory to somebody else in the middle of it, and then
// has to ask again; so one of a few attempts must do without.
func (m *monitor) wantNoMessages(what string, do func()) {
	m.t.Helper()
	const attempts = 5
	var before, after map[string]float64
	for range attempts {
		before = m.fuseRequests()
		do()
		after = m.fuseRequests()
		delete(before, heartbeat)
		delete(after, heartbeat)
		if maps.Equal(before, after) {
			return
		}
	}
	m.t.Errorf("%s sent messages: %v before, %v after", what, before, after)
}

// Once a version has been read, reading it again is between the reader and the
// kernel, until there is another version. That some may write costs readers
// nothing.
func TestCachedReadsSendNoFUSEMessage(t *testing.T) {
	t.Run("nobody may write", func(t *testing.T) { cachedReadsSendNoMessage(t) })
	t.Run("some may write", func(t *testing.T) { cachedReadsSendNoMessage(t, "--writers", writers) })
}

func cachedReadsSendNoMessage(t *testing.T, args ...string) {
	t.Helper()
	f := newFleet(t, gofakes3)
	f.run("dependency", "create", "web.dep")
	name := f.newConfig("spam", "large", "web.dep")
	set := f.newServerset("search", "prod", "web.dep")
	content := seriesContent(1)
	f.put(name, content)
	f.zk.join("/discovery/search/prod", "10.0.0.1:80")
	m := f.startMonitor(monitorConfig{Mode: "fuse", Dependencies: []string{"web.dep"}, Args: args})
	m.awaitServerset(set, "10.0.0.1:80")
	files := map[string]string{m.config(name): content, m.serverset(set): "10.0.0.1:80\n"}

	read := func(times int) {
		t.Helper()
		for path, want := range files {
			for range times {
				if err := has(path, want); err != nil {
					t.Fatal(err)
				}
			}
			mustStat(t, path)
			for range 5 { // another program
				output, err := exec.CommandContext(t.Context(), "cat", path).Output()
				if err != nil || string(output) != want {
					t.Fatalf("cat %s: %v, %d bytes", path, err, len(output))
				}
			}
		}
	}
	read(1)
	m.wantNoMessages("reading cached files", func() { read(1000) })

	// The counters do count: a new version has to be looked up and read.
	before := m.fuseRequests()
	f.put(name, "new")
	m.awaitConfig(name, "new")
	files[m.config(name)] = "new"
	after := m.fuseRequests()
	for _, operation := range []string{"LOOKUP", "READ"} {
		sample := `kingpin_fuse_requests_total{operation="` + operation + `"}`
		if after[sample] <= before[sample] {
			t.Errorf("a new version was read with no further %s: %v, then %v", operation, before, after)
		}
	}
	read(1)
	m.wantNoMessages("reading the cached new version", func() { read(100) })
	if len(args) > 0 {
		if err := rewrite(m.config(name), "written here"); err != nil {
			t.Fatal(err)
		}
		files[m.config(name)] = "written here"
		read(1)
		m.wantNoMessages("reading the cached version that was written here", func() { read(100) })
	}

	// A name that isn't there is remembered too, until it is there.
	missing := m.config("config.manageddata.spam.none")
	if err := gone(missing); err != nil {
		t.Fatal(err)
	}
	m.wantNoMessages("looking for what isn't there", func() {
		for range 100 {
			if err := gone(missing); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// The kernel forgets versions that nobody can open any more, and tells the monitor
// so; the ones that are open stay.
func TestOldVersionsAreForgotten(t *testing.T) {
	t.Parallel()
	f := newFleet(t, gofakes3)
	f.run("dependency", "create", "web.dep")
	name := f.newConfig("spam", "changing", "web.dep")
	const zkPath = "/config/manageddata/spam/changing"
	f.publishRaw(zkPath, seriesVersion(0), "0")
	m := f.startMonitor(monitorConfig{Mode: "fuse", Dependencies: []string{"web.dep"}})
	held, err := openFile(m.config(name))
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(held)
	const changes = 50
	for n := 1; n <= changes; n++ {
		content := strings.Repeat("x", n)
		f.publishRaw(zkPath, seriesVersion(n), content)
		m.awaitConfig(name, content)
	}
	forgets := func() float64 {
		requests := m.fuseRequests()
		return requests[`kingpin_fuse_requests_total{operation="FORGET"}`] + requests[`kingpin_fuse_requests_total{operation="BATCH_FORGET"}`]
	}
	await(t, "the kernel to forget old versions", func() error {
		if forgets() == 0 {
			return errNotYet
		}
		return nil
	})
	if content, err := readFD(held, name); err != nil || content != "0" {
		t.Errorf("the version that is still open reads %q (%v)", content, err)
	}
}
