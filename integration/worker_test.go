package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// workerPID returns the process that serves now, once it answers.
func (m *monitor) workerPID() int {
	m.t.Helper()
	return m.awaitOtherWorker(0).WorkerPID
}

// awaitOtherWorker returns the status once a process answers that isn't the
// given one.
func (m *monitor) awaitOtherWorker(than int) status {
	m.t.Helper()
	var s status
	await(m.t, fmt.Sprintf("another worker than %d", than), func() error {
		var ok bool
		if s, ok = m.tryStatus(); !ok || s.WorkerPID == 0 || s.WorkerPID == than {
			return fmt.Errorf("the status is %+v", s)
		}
		return nil
	})
	if s.WorkerPID == s.HolderPID {
		m.t.Fatalf("the monitor, pid %d, works itself", s.HolderPID)
	}
	return s
}

func kill(t testing.TB, pid int, sig syscall.Signal) {
	t.Helper()
	if err := unix.Kill(pid, sig); err != nil {
		t.Fatalf("sending %v to pid %d: %v", sig, pid, err)
	}
}

// TestWorkerKilled kills workers while configs change and are read, in the two
// ways that there are. Reads wait for the next worker, and none fails; nothing
// is lost, and nobody sees anything older than what anybody has seen.
func TestWorkerKilled(t *testing.T) {
	t.Parallel()
	f := newFleet(t, gofakes3)
	names := f.subscribe("changed", "quiet")
	znode, serverset := f.subscribeServerset("search", "10.0.0.1:8001")
	f.publish("changed", 1)
	f.publish("quiet", 1)
	faces := f.startFaces(monitorConfig{})
	for _, m := range faces {
		watchReads(m, names...)
	}
	endpoints := []string{"10.0.0.1:8001"}
	const kills = 12
	for n := 2; n < 2+kills; n++ {
		for _, m := range faces {
			if m.mode == "fuse" {
				// What is open stays, even if its version is gone.
				fd, err := openFile(m.config(names[0]))
				if err != nil {
					t.Fatal(err)
				}
				defer mustKeep(t, fd, numbered(n-1, contentSize))
			}
		}
		for i, m := range faces {
			worker := m.workerPID()
			if (n+i)%2 == 0 { // before the change, or after
				kill(t, worker, syscall.SIGKILL)
				defer m.awaitOtherWorker(worker)
			}
		}
		f.publish("changed", n)
		endpoints = append(endpoints, fmt.Sprintf("10.0.0.1:%d", 8000+n))
		f.zk.join(znode, endpoints[n-1])
		for i, m := range faces {
			if (n+i)%2 != 0 {
				kill(t, m.workerPID(), syscall.SIGKILL)
			}
			m.awaitNumbered(names[0], n)
			m.awaitServerset(serverset, endpoints...)
			m.mustServe(names[1], 1)
		}
	}
	for _, m := range faces {
		s := m.mustBeAtWork()
		if s.Mode != m.mode || s.Restarts != kills || s.LastExit == "" {
			t.Errorf("after %d kills the status is %+v", kills, s)
		}
		if restarts := m.metrics()["kingpin_worker_restarts_total"]; restarts != kills {
			t.Errorf("the metrics count %v restarts, want %d", restarts, kills)
		}
	}
}

// mustKeep checks that an open file has a content, and closes it.
func mustKeep(t testing.TB, fd int, want string) {
	t.Helper()
	defer unix.Close(fd)
	if got, err := readFD(fd, "what was opened"); err != nil || got != want {
		t.Errorf("what was opened holds %q (%v), want %q", abridged(got), err, abridged(want))
	}
}

// TestWorkerStopped stops workers by SIGSTOP. One that goes on soon is left
// alone; one that doesn't is replaced.
func TestWorkerStopped(t *testing.T) {
	t.Parallel()
	f := newFleet(t, gofakes3)
	names := f.subscribe("changed")
	f.publish("changed", 1)
	faces := f.startFaces(monitorConfig{})
	for _, m := range faces {
		watchReads(m, names...)
		worker := m.workerPID()
		kill(t, worker, syscall.SIGSTOP)
		kill(t, worker, syscall.SIGCONT)
		kill(t, worker, syscall.SIGSTOP)
		s := m.awaitOtherWorker(worker)
		if s.Mode != m.mode || s.Restarts != 1 || !strings.Contains(s.LastExit, "stopped") {
			t.Errorf("the status is %+v", s)
		}
		m.mustBeAtWork()
	}
	f.publish("changed", 2)
	for _, m := range faces {
		m.awaitSoon(names[0], 2)
	}
}

// otherVersion is what another build says its version is.
const otherVersion = binaryVersion + "-newer"

// build builds the binary under test as another version.
func build(t testing.TB, path, version string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags", "-X main.version="+version, "-o", path, "../cmd/kingpin")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, output)
	}
}

// install puts a program in the place of another one.
func install(t testing.TB, program, path string) {
	t.Helper()
	// A link is another file to whoever looks at the path, and nothing is copied.
	if err := os.Link(program, path+".new"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// TestOtherBuildIsInstalled replaces the binary under a running monitor. What is
// installed is what the next worker runs; if that can't serve, the build that the
// monitor was started with does.
func TestOtherBuildIsInstalled(t *testing.T) {
	t.Parallel()
	f := newFleet(t, gofakes3)
	names := f.subscribe("changed", "quiet")
	f.publish("changed", 1)
	f.publish("quiet", 1)
	dir := tempDir(t)
	newer, broken := filepath.Join(dir, "newer"), filepath.Join(dir, "broken")
	build(t, newer, otherVersion)
	mustWrite(t, broken, "#!/bin/sh\nexit 1\n")
	var faces []*monitor
	installed := map[*monitor]string{}
	for _, mode := range []string{"fuse", "plain"} {
		path := filepath.Join(dir, mode)
		install(t, binary(t), path)
		m := f.launchFace(mode, monitorConfig{Program: path})
		installed[m] = path
		faces = append(faces, m)
	}
	for _, m := range faces {
		m.awaitReady()
		watchReads(m, names...)
	}
	for n, step := range []struct{ program, version string }{
		{newer, otherVersion}, {broken, binaryVersion}, {newer, otherVersion}, {"", binaryVersion},
	} {
		for _, m := range faces {
			if step.program != "" {
				install(t, step.program, installed[m])
			} else if err := os.Remove(installed[m]); err != nil {
				t.Fatal(err)
			}
			worker := m.workerPID()
			kill(t, worker, syscall.SIGKILL)
			if s := m.awaitOtherWorker(worker); s.Version != step.version || s.Mode != m.mode {
				t.Errorf("with %q installed the status is %+v", step.program, s)
			}
		}
		f.publish("changed", n+2)
		for _, m := range faces {
			m.awaitSoon(names[0], n+2)
			m.mustServe(names[1], 1)
			m.mustBeAtWork()
		}
	}
}

// TestNoWorkerCanBeStarted takes away what every worker needs, and kills the one
// that works. The plain files serve soon, the status tells why, and when workers
// can work again the mounts come back.
func TestNoWorkerCanBeStarted(t *testing.T) {
	t.Parallel()
	f := newFleet(t, gofakes3)
	names := f.subscribe("changed", "quiet")
	f.publish("changed", 1)
	f.publish("quiet", 1)
	auth := filepath.Join(f.dir, "auth")
	mustWrite(t, auth, "box:secret\n")
	for _, m := range f.startFaces(monitorConfig{Args: []string{"--zk-auth", auth}}) {
		// A request that is under way when the mount is forced away fails.
		watchReadsExcusing(m, unserved, names...)
		worker := m.workerPID()
		if err := os.Rename(auth, auth+".away"); err != nil {
			t.Fatal(err)
		}
		kill(t, worker, syscall.SIGKILL)
		m.awaitLine(0, `level=ERROR msg="no worker can be kept running`)
		for _, name := range names {
			m.mustServe(name, 1)
		}
		var table result
		await(t, "the status to tell", func() error {
			table = f.try("", "status", "--admin-addr", m.adminAddr)
			if !strings.Contains(table.stdout, "no worker can be kept running") || !strings.Contains(table.stdout, auth) {
				return fmt.Errorf("it says %+v", table)
			}
			return nil
		})
		m.mustAnswerHealthcheck(500)
		if left := mountsBelow(t, filepath.Dir(m.dirs.config)); len(left) > 0 {
			t.Errorf("mounts are left: %q", left)
		}
		if err := os.Rename(auth+".away", auth); err != nil {
			t.Fatal(err)
		}
		if s := m.awaitOtherWorker(worker); s.Mode != m.mode {
			t.Errorf("the status is %+v", s)
		}
		if m.mode == "fuse" {
			m.awaitMounts()
		}
		m.mustBeAtWork()
		for _, name := range names {
			m.mustServe(name, 1)
		}
	}
}

// TestWorkerWithoutMemory leaves a worker no memory for what is published. It
// dies of that, and the next one has all.
func TestWorkerWithoutMemory(t *testing.T) {
	t.Parallel()
	f := newFleet(t, gofakes3)
	names := f.subscribe("large", "quiet")
	f.publish("quiet", 1)
	f.publish("large", 1)
	for n, m := range f.startFaces(monitorConfig{}) {
		watchReads(m, names...)
		worker := m.workerPID()
		none := &unix.Rlimit{Cur: 1 << 20, Max: 1 << 20}
		if err := unix.Prlimit(worker, unix.RLIMIT_AS, none, nil); err != nil {
			t.Fatal(err)
		}
		f.publishRaw(pointers+"large", version(n+2), numbered(n+2, 15<<20))
		await(t, "the large content", func() error { return has(m.config(names[0]), numbered(n+2, 15<<20)) })
		m.mustServe(names[1], 1)
		s := m.mustBeAtWork()
		t.Logf("%s: %d restarts, the last: %s", m.mode, s.Restarts, s.LastExit)
	}
}
