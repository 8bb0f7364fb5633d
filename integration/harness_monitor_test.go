package integration

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/kingpinfs/kingpin/internal/devcluster"
)

// dirs are the directories of a monitor, which it may share with one that ran
// before.
type dirs struct{ config, serverset, state string }

// newDirs returns directories that don't exist yet; they go with the test.
func (f *fleet) newDirs() dirs {
	f.t.Helper()
	base := tempDir(f.t)
	return dirs{filepath.Join(base, "config"), filepath.Join(base, "serverset"), filepath.Join(base, "state")}
}

// monitorConfig says how to run `kingpin monitor`.
type monitorConfig struct {
	Mode         string // "fuse", "plain" or "auto"
	Dependencies []string
	Dirs         dirs     // empty: new ones
	Args         []string // further arguments
	Env          []string // further variables
	Wrap         []string // a command that runs the monitor, such as setpriv --reuid=nobody
	Program      string   // the binary, if it isn't the one that all tests share
}

// monitor is a running `kingpin monitor`.
type monitor struct {
	*process

	f         *fleet
	mode      string // as its config says
	dirs      dirs
	adminAddr string
	ready     string // the ready line, once awaitReady has returned
}

// startMonitor runs a monitor and returns when it has printed that it is ready.
// It is terminated when the test ends, if it is still there; then it must exit
// with 0 and leave no mount.
func (f *fleet) startMonitor(cfg monitorConfig) *monitor {
	f.t.Helper()
	m := f.launchMonitor(cfg)
	m.awaitReady()
	return m
}

// launchMonitor is startMonitor, but returns at once.
func (f *fleet) launchMonitor(cfg monitorConfig) *monitor {
	f.t.Helper()
	if cfg.Mode == "fuse" {
		needFUSE(f.t)
	}
	if cfg.Dirs == (dirs{}) {
		cfg.Dirs = f.newDirs()
	}
	port, err := devcluster.FreePort()
	if err != nil {
		f.t.Fatal(err)
	}
	m := &monitor{f: f, mode: cfg.Mode, dirs: cfg.Dirs, adminAddr: "127.0.0.1:" + strconv.Itoa(port)}
	if cfg.Program == "" {
		cfg.Program = binary(f.t)
	}
	args := append([]string{}, cfg.Wrap...)
	args = append(args, cfg.Program, "monitor", "--mode", cfg.Mode, "--admin-addr", m.adminAddr,
		"--config-dir", cfg.Dirs.config, "--serverset-dir", cfg.Dirs.serverset, "--state-dir", cfg.Dirs.state)
	for _, d := range cfg.Dependencies {
		args = append(args, "-d", d)
	}
	args = append(args, cfg.Args...)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = f.env(cfg.Env...)
	cmd.Dir = f.dir
	m.process = startProcess(f.t, cmd)
	f.t.Cleanup(m.finish)
	return m
}

// finish ends the monitor at the end of a test. If it won't end, its mounts are
// taken away by force, so that nothing waits for it.
func (m *monitor) finish() {
	if m.running() {
		m.signal(syscall.SIGTERM)
		grace := time.NewTimer(patience)
		defer grace.Stop()
		select {
		case <-m.done:
			if code := m.cmd.ProcessState.ExitCode(); code != 0 {
				m.t.Errorf("the monitor (pid %d) exited with %d on SIGTERM", m.pid(), code)
			}
		case <-grace.C:
			m.t.Errorf("the monitor (pid %d) didn't end within %v of SIGTERM", m.pid(), patience)
			releaseMounts(m.t, filepath.Dir(m.dirs.config))
			m.kill()
		}
	}
	if strings.Contains(m.stderr.String(), "\npanic: ") || strings.Contains(m.stderr.String(), "panicked") {
		m.t.Errorf("the monitor (pid %d) panicked", m.pid())
	}
}

// awaitReady returns the ready line when it has been printed.
func (m *monitor) awaitReady() string {
	m.t.Helper()
	m.ready = m.awaitLine(0, `^ready mode=`)
	return m.ready
}

// terminate sends SIGTERM and returns when the monitor is gone. It must exit
// with 0 and leave no mount.
func (m *monitor) terminate() {
	m.t.Helper()
	m.signal(syscall.SIGTERM)
	m.mustEnd()
}

// mustEnd waits until the monitor is gone, with exit code 0, and checks that it
// left no mount.
func (m *monitor) mustEnd() {
	m.t.Helper()
	if code := m.wait(); code != 0 {
		m.t.Fatalf("the monitor exited with %d", code)
	}
	for _, dir := range []string{m.dirs.config, m.dirs.serverset} {
		if left := mountsBelow(m.t, filepath.Dir(dir)); len(left) > 0 {
			m.t.Fatalf("the monitor left mounts: %q", left)
		}
	}
}

// config returns the path of a config's file.
func (m *monitor) config(name string) string { return filepath.Join(m.dirs.config, name) }

// serverset returns the path of a serverset's file.
func (m *monitor) serverset(name string) string { return filepath.Join(m.dirs.serverset, name) }

// awaitConfig waits until a config's file has a content, for as long as the
// harness has patience.
func (m *monitor) awaitConfig(name, want string) time.Duration {
	m.t.Helper()
	return await(m.t, fmt.Sprintf("%s to hold %q", name, abridged(want)), func() error { return has(m.config(name), want) })
}

// awaitServerset waits until a serverset's file has these endpoints, given in
// order.
func (m *monitor) awaitServerset(name string, endpoints ...string) time.Duration {
	m.t.Helper()
	return await(m.t, name, func() error { return has(m.serverset(name), lines(endpoints...)) })
}

// lines ends each line.
func lines(all ...string) string {
	var text strings.Builder
	for _, line := range all {
		text.WriteString(line + "\n")
	}
	return text.String()
}

// adminClient keeps no connection, which would be a goroutine left.
var adminClient = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}

// request sends a request to the admin address.
func (m *monitor) request(method, path string) (code int, body string) {
	m.t.Helper()
	req, err := http.NewRequestWithContext(m.t.Context(), method, "http://"+m.adminAddr+path, nil)
	if err != nil {
		m.t.Fatal(err)
	}
	resp, err := adminClient.Do(req)
	if err != nil {
		m.t.Fatal(err)
	}
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	if err != nil {
		m.t.Fatal(err)
	}
	return resp.StatusCode, string(content)
}

// get is a GET that must be answered with 200.
func (m *monitor) get(path string) string {
	m.t.Helper()
	code, body := m.request(http.MethodGet, path)
	if code != http.StatusOK {
		m.t.Fatalf("GET %s: %d\n%s", path, code, body)
	}
	return body
}

// getJSON is get, decoded into value.
func (m *monitor) getJSON(path string, value any) {
	m.t.Helper()
	body := m.get(path)
	if err := json.Unmarshal([]byte(body), value); err != nil {
		m.t.Fatalf("GET %s: %v\n%s", path, err, body)
	}
}

// post is a POST that must be answered with 200.
func (m *monitor) post(path string) {
	m.t.Helper()
	if code, body := m.request(http.MethodPost, path); code != http.StatusOK {
		m.t.Fatalf("POST %s: %d\n%s", path, code, body)
	}
}

// status is what `kingpin status --output json` prints.
type status struct {
	Mode       string `json:"mode"`
	ModeReason string `json:"mode_reason"`
	Ready      bool   `json:"ready"`
	Healthy    bool   `json:"healthy"`
	HolderPID  int    `json:"holder_pid"`
	WorkerPID  int    `json:"worker_pid"`
	Version    string `json:"version"`
	Restarts   int    `json:"worker_restarts"`
	LastExit   string `json:"last_worker_exit"`
	Problem    string `json:"problem"`
	ZooKeeper  struct {
		Connected bool   `json:"connected"`
		Session   string `json:"session"`
		Server    string `json:"server"`
		Error     string `json:"error"`
	} `json:"zookeeper"`
	Configs      []fileStatus `json:"configs"`
	Serversets   []fileStatus `json:"serversets"`
	Metaconfigs  []nodeStatus `json:"metaconfigs"`
	Dependencies []nodeStatus `json:"dependencies"`
	Warnings     []string     `json:"warnings"`
}

type fileStatus struct {
	Name      string     `json:"name"`
	ZKPath    string     `json:"zk_path"`
	State     string     `json:"state"`
	Version   string     `json:"version"`
	Endpoints []string   `json:"endpoints"`
	Error     string     `json:"error"`
	SyncedAt  *time.Time `json:"synced_at"`
}

type nodeStatus struct {
	Name  string `json:"name"`
	Error string `json:"error"`
}

// status asks the monitor, by the command.
func (m *monitor) status() status {
	m.t.Helper()
	var s status
	m.f.runJSON(&s, "status", "--admin-addr", m.adminAddr)
	return s
}

// file returns how a config or serverset stands; false if it isn't subscribed
// to. It asks the HTTP endpoint, which is faster than the command.
func (m *monitor) file(name string) (fileStatus, bool) {
	m.t.Helper()
	var s status
	m.getJSON("/admin/status", &s)
	for _, file := range append(s.Configs, s.Serversets...) {
		if file.Name == name {
			return file, true
		}
	}
	return fileStatus{}, false
}

// awaitState waits until a file has a state, such as "stale", and an error that
// matches.
func (m *monitor) awaitState(name, state, errPattern string) fileStatus {
	m.t.Helper()
	pattern := regexp.MustCompile(errPattern)
	var file fileStatus
	await(m.t, fmt.Sprintf("%s to be %s", name, state), func() error {
		var ok bool
		if file, ok = m.file(name); !ok || file.State != state || !pattern.MatchString(file.Error) {
			return fmt.Errorf("it is %+v", file)
		}
		return nil
	})
	return file
}

// metrics returns the samples of /metrics by what stands before the value:
// `kingpin_files{state="fresh",type="config"}`.
func (m *monitor) metrics() map[string]float64 {
	m.t.Helper()
	samples := map[string]float64{}
	for line := range strings.Lines(m.get("/metrics")) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		name, text, ok := strings.Cut(strings.TrimSpace(line), " ")
		value, err := strconv.ParseFloat(text, 64)
		if !ok || err != nil {
			m.t.Fatalf("/metrics has the line %q", line)
		}
		samples[name] = value
	}
	return samples
}

// tryStatus is status by the HTTP endpoint; false if nobody answers there, or who
// does is killed.
func (m *monitor) tryStatus() (s status, ok bool) {
	m.t.Helper()
	response, err := adminClient.Get("http://" + m.adminAddr + "/admin/status")
	if err != nil {
		return s, false
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(&s); err != nil {
		return status{}, false
	}
	return s, true
}
