package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/kingpinfs/kingpin/internal/devcluster"
)

// serverKind is how a Thrift server is run: it returns the command of one that
// listens on a port of 127.0.0.1 and notes ids in a file.
type serverKind func(t testing.TB, port int, notes string) []string

// goServer is a server of the library that programs in Go use.
func goServer(t testing.TB, port int, notes string) []string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return []string{"env", helperEnv + "=" + thriftServerHelper, self, "127.0.0.1:" + strconv.Itoa(port), notes}
}

// pythonServer is a server of the library that programs in Python use, with code
// that is generated for it.
func pythonServer(t testing.TB, port int, notes string) []string {
	t.Helper()
	generated := filepath.Join(filepath.Dir(notes), "gen-py")
	if _, err := os.Stat(generated); err != nil {
		output, err := exec.CommandContext(t.Context(), "thrift", "--gen", "py", "-o", filepath.Dir(notes), "../internal/ledger/ledger.thrift").CombinedOutput()
		if err != nil {
			t.Fatalf("generating code by `thrift`, which `make deps` installs: %v\n%s", err, output)
		}
	}
	script, err := filepath.Abs("testdata/thrift_server.py")
	if err != nil {
		t.Fatal(err)
	}
	return []string{"/usr/bin/python3", script, generated, strconv.Itoa(port), notes}
}

// thriftService is a Thrift service whose servers run under `kingpin register`.
type thriftService struct {
	f       *fleet
	kind    serverKind
	dir     string // of the files in which servers note ids
	m       *monitor
	cfg     monitorConfig
	name    string // of the serverset's file
	servers []*thriftServer
	used    map[int]bool // ports
}

// thriftServer is one server, with the `kingpin register` above it.
type thriftServer struct {
	*process

	endpoint string
	pid      int // of the server itself
}

// newThriftService starts a service with so many servers, and a monitor that serves its
// members.
func newThriftService(f *fleet, kind serverKind, servers int) *thriftService {
	f.t.Helper()
	needFUSE(f.t)
	f.run("dependency", "create", boxDep)
	s := &thriftService{f: f, kind: kind, dir: tempDir(f.t), used: map[int]bool{}}
	s.name = f.newServerset("ledger", "prod", boxDep)
	s.cfg = monitorConfig{Mode: "fuse", Dependencies: []string{boxDep}, Dirs: f.newDirs()}
	s.m = f.startMonitor(s.cfg)
	for range servers {
		s.start()
	}
	s.awaitFile()
	return s
}

// start starts a server, on a port that none has had.
func (s *thriftService) start() *thriftServer {
	s.f.t.Helper()
	port := 0
	for port == 0 || s.used[port] {
		var err error
		if port, err = devcluster.FreePort(); err != nil {
			s.f.t.Fatal(err)
		}
	}
	s.used[port] = true
	// Callers are told within a second, and this machine does other things besides.
	const drain = 3 * promised
	args := []string{
		"register", "--service", "ledger", "--environment", "prod", "--host", "127.0.0.1", "--port", strconv.Itoa(port),
		"--interval", "100ms", "--rise", "1", "--drain", drain.String(), "--",
	}
	args = append(args, s.kind(s.f.t, port, filepath.Join(s.dir, strconv.Itoa(port)))...)
	server := &thriftServer{process: s.f.start("", args...), endpoint: "127.0.0.1:" + strconv.Itoa(port)}
	line := server.awaitLine(0, `^serving, pid \d+`)
	pid, err := strconv.Atoi(regexp.MustCompile(`\d+`).FindString(line))
	if err != nil {
		s.f.t.Fatal(err)
	}
	server.pid = pid
	s.servers = append(s.servers, server)
	return server
}

// endpoints returns where the servers are, in order.
func (s *thriftService) endpoints() []string {
	var all []string
	for _, server := range s.servers {
		all = append(all, server.endpoint)
	}
	slices.Sort(all)
	return all
}

// awaitFile waits until the file has the servers.
func (s *thriftService) awaitFile() {
	s.f.t.Helper()
	s.m.awaitServerset(s.name, s.endpoints()...)
}

// forget takes a server, that was ended, off the list.
func (s *thriftService) forget(server *thriftServer) {
	s.servers = slices.DeleteFunc(s.servers, func(other *thriftServer) bool { return other == server })
}

// kill kills a server by SIGKILL. What registered it ends, too.
func (s *thriftService) kill(server *thriftServer) {
	s.f.t.Helper()
	kill(s.f.t, server.pid, syscall.SIGKILL)
	server.wait()
	s.forget(server)
}

// stop stops a server in good order, as an update of it would.
func (s *thriftService) stop(server *thriftServer) {
	s.f.t.Helper()
	server.signal(syscall.SIGTERM)
	server.wait()
	s.forget(server)
}

// noted returns how often each id was noted, by whatever server.
func (s *thriftService) noted() map[string]int {
	s.f.t.Helper()
	times := map[string]int{}
	for port := range s.used {
		for id := range strings.Lines(mustRead(s.f.t, filepath.Join(s.dir, strconv.Itoa(port)))) {
			if !strings.HasSuffix(id, "\n") {
				s.f.t.Errorf("the server at port %d noted half an id, %q", port, id)
			}
			times[strings.TrimSuffix(id, "\n")]++
		}
	}
	return times
}

// String names a server in logs.
func (s *thriftServer) String() string { return fmt.Sprintf("%s (pid %d)", s.endpoint, s.pid) }
