package rig

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/kingpinfs/kingpin/internal/devcluster"
)

// readyPatience is how long a monitor may take to be ready.
const readyPatience = 2 * time.Minute

// Monitor is a running `kingpin monitor` in FUSE mode.
type Monitor struct {
	// ConfigDir and ServersetDir are where it serves.
	ConfigDir, ServersetDir string
	// Took is how long it took from being executed to being ready.
	Took time.Duration

	process *child
	ready   string // the line by which it says so
	admin   string // the URL of its admin address
	http    *http.Client
}

// StartMonitor starts a monitor, with new directories and further arguments, and
// returns when it is ready. Stop must be called if there is no error.
func (r *Rig) StartMonitor(ctx context.Context, f *Fleet, more ...string) (*Monitor, error) {
	dir, err := r.NewDir("monitor")
	if err != nil {
		return nil, err
	}
	port, err := devcluster.FreePort()
	if err != nil {
		return nil, err
	}
	address := "127.0.0.1:" + strconv.Itoa(port)
	m := &Monitor{
		ConfigDir: filepath.Join(dir, "config"), ServersetDir: filepath.Join(dir, "serverset"),
		admin: "http://" + address,
		// A connection that is kept open would be closed, and counted, in the
		// middle of a measurement.
		http: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: stopPatience},
	}
	type readyLine struct {
		at   time.Time
		text string
	}
	ready := make(chan readyLine, 1)
	start := time.Now()
	m.process, err = startChild(ctx, childConfig{
		name: "kingpin monitor", path: r.Binary,
		args: append([]string{
			"monitor", "--dependency", f.Dependency, "--mode", "fuse", "--admin-addr", address,
			"--config-dir", m.ConfigDir, "--serverset-dir", m.ServersetDir, "--state-dir", filepath.Join(dir, "state"),
		}, more...),
		env: r.environment(),
		// Of each publication there is a line too.
		worthwhile: func(line string) bool { return !strings.Contains(line, " level=INFO ") },
		onStderr: func(line string) {
			if strings.HasPrefix(line, "ready ") {
				select {
				case ready <- readyLine{time.Now(), line}:
				default: // a later worker's
				}
			}
		},
	})
	if err != nil {
		return nil, err
	}
	patience := time.NewTimer(readyPatience)
	defer patience.Stop()
	select {
	case line := <-ready:
		m.Took, m.ready = line.at.Sub(start), line.text
		return m, nil
	case <-m.process.done:
		return nil, m.process.ended()
	case <-patience.C:
		err = fmt.Errorf("the monitor wasn't ready within %v; its last lines:\n%s", readyPatience, m.process.stderr.String())
	case <-ctx.Done():
		err = ctx.Err()
	}
	return nil, errors.Join(err, m.Stop())
}

// environment is the monitor's: ours, without what would lead it elsewhere.
func (r *Rig) environment() []string {
	env := []string{
		"HOME=" + r.Dir, "KINGPIN_ZK=" + r.server.Addr(), "KINGPIN_S3_BUCKET=" + bucket, "KINGPIN_S3_ENDPOINT=" + r.s3.endpoint,
		"AWS_EC2_METADATA_DISABLED=true", // there are no credentials to be found
	}
	if r.s3.keyFile != "" {
		env = append(env, "KINGPIN_AWS_KEY_FILE="+r.s3.keyFile)
	}
	for _, variable := range os.Environ() {
		name, _, _ := strings.Cut(variable, "=")
		if name != "HOME" && name != "NOTIFY_SOCKET" && !strings.HasPrefix(name, "KINGPIN_") && !strings.HasPrefix(name, "AWS_") {
			env = append(env, variable)
		}
	}
	return env
}

// Stop ends the monitor, which must unmount and exit with 0.
func (m *Monitor) Stop() error {
	if err := m.process.stop(syscall.SIGTERM); err != nil {
		return err
	}
	return releaseMounts(filepath.Dir(m.ConfigDir))
}

// Ended returns nil while the monitor runs, else how it ended.
func (m *Monitor) Ended() error { return m.process.ended() }

// PID returns the pid of the process that was started.
func (m *Monitor) PID() int { return m.process.pid() }

// Log returns the last warnings and errors that the monitor has logged.
func (m *Monitor) Log() string { return m.process.stderr.String() }

// Config returns the path of a config's file.
func (m *Monitor) Config(c Config) string { return filepath.Join(m.ConfigDir, c.File()) }

// Serverset returns the path of a serverset's file.
func (m *Monitor) Serverset(s Serverset) string { return filepath.Join(m.ServersetDir, s.File()) }

// Status is what we look at of GET /admin/status. Asking costs the monitor
// memory and time that grow with the fleet.
type Status struct {
	Mode         string           `json:"mode"`
	ModeReason   string           `json:"mode_reason"`
	HolderPID    int              `json:"holder_pid"`
	WorkerPID    int              `json:"worker_pid"`
	FUSERequests map[string]int64 `json:"fuse_requests"`
	Published    int64            `json:"published"`
}

// Status asks the monitor.
func (m *Monitor) Status(ctx context.Context) (Status, error) {
	var s Status
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, m.admin+"/admin/status", http.NoBody)
	if err != nil {
		return s, err
	}
	response, err := m.http.Do(request)
	if err != nil {
		return s, fmt.Errorf("asking the monitor: %w", err)
	}
	err = json.NewDecoder(response.Body).Decode(&s)
	if err = errors.Join(err, response.Body.Close()); err != nil {
		return s, fmt.Errorf("asking the monitor: %w", err)
	}
	return s, nil
}

// heartbeat is the operation by which the holder asks, all the time, whether the
// worker answers. No read of a file causes it.
const heartbeat = "GETXATTR"

// Messages returns how many FUSE requests have been answered, by operation, but for
// heartbeats.
func (s *Status) Messages() map[string]int64 {
	messages := maps.Clone(s.FUSERequests)
	delete(messages, heartbeat)
	return messages
}
