package sync

import (
	"cmp"
	"slices"
	"time"

	"github.com/kingpinfs/kingpin/metaconfig"
	"github.com/kingpinfs/kingpin/store"
)

// FileStatus says how one file stands. It is a copy.
type FileStatus struct {
	Type         metaconfig.Type
	Name         string // of the file
	Metaconfig   string // that asks for it; "" if nothing does any more
	ZKPath       string
	State        State
	Version      string     // as Entry's; "" also if nothing is served
	ZnodeVersion int32      // of the znode, when what is served was read
	Err          string     // why it isn't fresh, in one line
	Kind         store.Kind // of the last attempt's error; 0 if it had none
	Stage        Stage      // in which that came up
	Failures     int        // attempts in a row that failed
	Endpoints    []string   // a serverset's, as served
	Held         []string   // a serverset's list that is held back; nil if none is
	HeldSince    time.Time
	HeldReason   string
	HeldUntil    time.Time // when it goes out if it stands unchanged; zero: not by itself

	NotifiedAt  time.Time // when ZooKeeper last spoke of a change
	ProcessedAt time.Time // when it was last read, with or without success
	SyncedAt    time.Time // when what is served was last known to be current
	ChangedAt   time.Time // when this content began to be served
}

// NodeStatus says how a metaconfig or a dependency stands.
type NodeStatus struct {
	Name   string
	ZKPath string
	Err    string
}

// Snapshot is how everything stands at one moment, sorted by name.
type Snapshot struct {
	Ready        bool
	Configs      []FileStatus
	Serversets   []FileStatus
	Metaconfigs  []NodeStatus
	Dependencies []NodeStatus
	ResyncedAt   time.Time // when everything was last due to be read again; zero: never
	StateErr     string    // why the state can't be saved, and what that means; "" if it can
}

// Snapshot returns how everything stands.
func (e *Engine) Snapshot() Snapshot {
	e.mu.Lock()
	s := Snapshot{Ready: e.isReady, ResyncedAt: e.resynced}
	n := e.countItems()
	s.Configs, s.Serversets = make([]FileStatus, 0, n[configItem]), make([]FileStatus, 0, n[serversetItem])
	s.Metaconfigs, s.Dependencies = make([]NodeStatus, 0, n[metaconfigItem]), make([]NodeStatus, 0, n[dependencyItem])
	if e.stateErr != nil {
		s.StateErr = stateAdvice + ": " + e.stateErr.Error()
	}
	for k, it := range e.items {
		switch k.kind {
		case configItem:
			s.Configs = append(s.Configs, e.fileStatus(it))
		case serversetItem:
			s.Serversets = append(s.Serversets, e.fileStatus(it))
		case metaconfigItem:
			s.Metaconfigs = append(s.Metaconfigs, NodeStatus{k.name, it.path, errorText(it.err)})
		case dependencyItem:
			if k.name == metaconfig.BaseDependency && it.zxid == 0 && it.err == nil {
				continue // there is none
			}
			s.Dependencies = append(s.Dependencies, NodeStatus{k.name, it.path, errorText(it.err)})
		}
	}
	e.mu.Unlock()
	byFile := func(a, b FileStatus) int { return cmp.Compare(a.Name, b.Name) }
	byNode := func(a, b NodeStatus) int { return cmp.Compare(a.Name, b.Name) }
	slices.SortFunc(s.Configs, byFile)
	slices.SortFunc(s.Serversets, byFile)
	slices.SortFunc(s.Metaconfigs, byNode)
	slices.SortFunc(s.Dependencies, byNode)
	return s
}

// countItems returns how many items of each kind there are. mu must be held.
func (e *Engine) countItems() map[kind]int {
	n := map[kind]int{}
	for k := range e.items {
		n[k.kind]++
	}
	return n
}

// fileStatus copies what is known of a file. mu must be held.
func (e *Engine) fileStatus(it *item) FileStatus {
	state, problem := e.standing(it)
	t := it.trouble()
	s := FileStatus{
		Type:         it.key.fileType(),
		Name:         it.key.name,
		ZKPath:       cmp.Or(it.path, it.serving.ZKPath),
		State:        state,
		Version:      it.serving.Version,
		ZnodeVersion: it.serving.ZnodeVersion,
		Err:          errorText(problem),
		Kind:         t.kind,
		Stage:        t.stage,
		Failures:     it.failures,
		NotifiedAt:   it.notified.time(),
		ProcessedAt:  it.processed.time(),
		SyncedAt:     it.synced.time(),
		ChangedAt:    it.serving.Changed,
	}
	if it.wanted && len(it.owners) > 0 {
		s.Metaconfig = it.sub().Metaconfig
	}
	if it.guardState != nil && it.guard != nil {
		state := it.guard.State()
		s.Endpoints = state.Served
		if it.held && state.Held != nil {
			s.Held, s.HeldSince, s.HeldReason, s.HeldUntil = state.Held.Endpoints, state.Held.Since, it.heldReason, it.heldUntil
		}
	}
	return s
}
