package admin

import (
	"time"

	kpsync "github.com/kingpinfs/kingpin/sync"
)

// Status is what GET /admin/status answers, as JSON, and kingpin status shows.
// Fields are added but never renamed or taken away.
type Status struct {
	Mode          string           `json:"mode"`                  // "fuse" or "plain": which face serves
	ModeReason    string           `json:"mode_reason,omitempty"` // why it isn't FUSE
	Writers       string           `json:"writers"`               // who may write through the mount of the configs; "": nobody, as without a mount
	Ready         bool             `json:"ready"`                 // the first load is over
	Healthy       bool             `json:"healthy"`               // no part of the daemon is dead
	Problem       string           `json:"problem,omitempty"`     // which part is
	Version       string           `json:"version"`               // of the worker's binary
	HolderVersion string           `json:"holder_version"`        // of the holder's; differs after an upgrade until the monitor is restarted
	HolderPID     int              `json:"holder_pid"`            // the process that keeps the mounts
	WorkerPID     int              `json:"worker_pid"`            // the process that serves them; 0: none can be kept running
	StartedAt     time.Time        `json:"started_at"`            // the holder
	WorkerStarted *time.Time       `json:"worker_started_at"`
	Restarts      int64            `json:"worker_restarts"`            // workers started in the place of another
	LastExit      string           `json:"last_worker_exit,omitempty"` // how the one before ended
	ConfigDir     string           `json:"config_dir"`
	ServersetDir  string           `json:"serverset_dir"`
	ZooKeeper     ZooKeeperStatus  `json:"zookeeper"`
	Configs       []FileStatus     `json:"configs"`
	Serversets    []FileStatus     `json:"serversets"`
	Metaconfigs   []NodeStatus     `json:"metaconfigs"`
	Dependencies  []NodeStatus     `json:"dependencies"`
	Warnings      []string         `json:"warnings"`                // what isn't right but keeps nobody from reading
	FUSERequests  map[string]int64 `json:"fuse_requests,omitempty"` // answered so far, by operation
	Writes        map[string]int64 `json:"writes,omitempty"`        // through the mount so far, by outcome: "published", or the errno
	Mended        *Mended          `json:"mended,omitempty"`        // plain files that somebody changed by hand; null: none
	LastResyncAt  *time.Time       `json:"last_resync_at,omitempty"`
	PublishedFile int64            `json:"published"` // versions published so far
}

// ZooKeeperStatus says how the monitor stands with the ensemble.
type ZooKeeperStatus struct {
	Connected bool   `json:"connected"`
	Session   string `json:"session,omitempty"` // in hexadecimal, as ZooKeeper's own tools show it
	Server    string `json:"server,omitempty"`
	Error     string `json:"error,omitempty"` // why it isn't connected
}

// Mended tells of plain files that somebody changed by hand and that were put
// right.
type Mended struct {
	Times int64     `json:"times"` // how often, since the worker started
	Name  string    `json:"name"`  // the last one
	At    time.Time `json:"at"`    // when that was put right
}

// FileStatus says how one file stands.
type FileStatus struct {
	Name       string     `json:"name"`
	ZKPath     string     `json:"zk_path"`
	State      string     `json:"state"`               // fresh, stale, held or absent
	Version    string     `json:"version,omitempty"`   // what is served
	Endpoints  []string   `json:"endpoints,omitempty"` // a serverset's, as served
	Error      string     `json:"error"`               // why it isn't fresh; "" if it is
	SyncedAt   *time.Time `json:"synced_at"`           // when it was last known to be current; null: not since the start
	ChangedAt  *time.Time `json:"changed_at,omitempty"`
	Metaconfig string     `json:"metaconfig,omitempty"`
	Held       *Held      `json:"held,omitempty"`
}

// Held is a suspicious serverset that is held back.
type Held struct {
	Endpoints []string  `json:"endpoints"`
	Since     time.Time `json:"since"`
	Reason    string    `json:"reason,omitempty"`
}

// NodeStatus says how a metaconfig or a dependency stands.
type NodeStatus struct {
	Name   string `json:"name"`
	ZKPath string `json:"zk_path"`
	Error  string `json:"error"` // "" if it is as it should be
}

// addSnapshot fills in what the engine knows.
func (s *Status) addSnapshot(snap *kpsync.Snapshot) {
	s.Ready = snap.Ready
	s.Configs = fileStatuses(snap.Configs)
	s.Serversets = fileStatuses(snap.Serversets)
	s.Metaconfigs = nodeStatuses(snap.Metaconfigs)
	s.Dependencies = nodeStatuses(snap.Dependencies)
	s.LastResyncAt = timeOrNil(snap.ResyncedAt)
	if snap.StateErr != "" {
		s.Warnings = append(s.Warnings, snap.StateErr)
	}
}

func fileStatuses(files []kpsync.FileStatus) []FileStatus {
	out := make([]FileStatus, 0, len(files))
	for i := range files {
		f := &files[i]
		status := FileStatus{
			Name: f.Name, ZKPath: f.ZKPath, State: string(f.State), Version: f.Version,
			Endpoints: f.Endpoints, Error: f.Err, SyncedAt: timeOrNil(f.SyncedAt),
			ChangedAt: timeOrNil(f.ChangedAt), Metaconfig: f.Metaconfig,
		}
		if f.State == kpsync.Held {
			status.Held = &Held{Endpoints: f.Held, Since: f.HeldSince, Reason: f.HeldReason}
		}
		out = append(out, status)
	}
	return out
}

func nodeStatuses(nodes []kpsync.NodeStatus) []NodeStatus {
	out := make([]NodeStatus, 0, len(nodes))
	for _, n := range nodes {
		out = append(out, NodeStatus{Name: n.Name, ZKPath: n.ZKPath, Error: n.Err})
	}
	return out
}

func timeOrNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
