package storetest

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kingpinfs/kingpin/store"
)

// MemoryZnodes is a tree of znodes in memory. It is safe for concurrent use.
type MemoryZnodes struct {
	// Fail, if not nil, is asked before every operation ("get", "children",
	// "create", "set", "delete", "lock"); an error from it is returned instead
	// of doing anything. It may not be set while an operation runs.
	Fail func(op, path string) error
	// AfterSet, if not nil, is asked after every successful Set; an error from
	// it is returned although the data has been set, as when the answer of a
	// server is lost. It may not be set while an operation runs.
	AfterSet func(path string) error

	mu    sync.Mutex // guards all below
	zxid  int64
	nodes map[string]*znode
	locks map[string]chan struct{} // one-slot; full while the lock is held
}

type znode struct {
	data []byte
	stat store.Stat
}

// NewMemoryZnodes returns an empty tree.
func NewMemoryZnodes() *MemoryZnodes {
	return &MemoryZnodes{
		nodes: map[string]*znode{"/": {}},
		locks: map[string]chan struct{}{},
	}
}

func (m *MemoryZnodes) fail(ctx context.Context, op, p string) error {
	if err := ctx.Err(); err != nil {
		return &store.Error{Op: op, Subject: p, Kind: store.Unavailable, Err: err}
	}
	if m.Fail != nil {
		return m.Fail(op, p)
	}
	return nil
}

// Get implements store.Znodes.
func (m *MemoryZnodes) Get(ctx context.Context, p string) ([]byte, store.Stat, error) {
	if err := m.fail(ctx, "get", p); err != nil {
		return nil, store.Stat{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.nodes[p]
	if n == nil {
		return nil, store.Stat{}, &store.Error{Op: "reading znode", Subject: p, Kind: store.NotFound}
	}
	return slices.Clone(n.data), n.stat, nil
}

// Children implements store.Znodes.
func (m *MemoryZnodes) Children(ctx context.Context, p string) ([]string, store.Stat, error) {
	if err := m.fail(ctx, "children", p); err != nil {
		return nil, store.Stat{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.nodes[p]
	if n == nil {
		return nil, store.Stat{}, &store.Error{Op: "listing znode", Subject: p, Kind: store.NotFound}
	}
	return m.children(p), n.stat, nil
}

// children returns the sorted names below p. mu must be held.
func (m *MemoryZnodes) children(p string) []string {
	var names []string
	for q := range m.nodes {
		if q != "/" && path.Dir(q) == p {
			names = append(names, path.Base(q))
		}
	}
	slices.Sort(names)
	return names
}

// Create implements store.Znodes.
func (m *MemoryZnodes) Create(ctx context.Context, p string, data []byte) error {
	if err := m.fail(ctx, "create", p); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.nodes[p] != nil {
		return &store.Error{Op: "creating znode", Subject: p, Kind: store.Exists}
	}
	m.create(p, data)
	return nil
}

// create makes p and its missing parents. mu must be held.
func (m *MemoryZnodes) create(p string, data []byte) {
	parent := path.Dir(p)
	if m.nodes[parent] == nil {
		m.create(parent, nil)
	}
	m.zxid++
	now := time.Now().Truncate(time.Millisecond)
	m.nodes[p] = &znode{data: slices.Clone(data), stat: store.Stat{
		Czxid: m.zxid, Mzxid: m.zxid, Pzxid: m.zxid, Ctime: now, Mtime: now,
	}}
	m.nodes[parent].stat.Pzxid = m.zxid
	m.nodes[parent].stat.NumChildren++
}

// Set implements store.Znodes.
func (m *MemoryZnodes) Set(ctx context.Context, p string, data []byte, version int32) (store.Stat, error) {
	if err := m.fail(ctx, "set", p); err != nil {
		return store.Stat{}, err
	}
	stat, err := m.set(p, data, version)
	if err == nil && m.AfterSet != nil {
		err = m.AfterSet(p)
	}
	return stat, err
}

func (m *MemoryZnodes) set(p string, data []byte, version int32) (store.Stat, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.nodes[p]
	if n == nil {
		return store.Stat{}, &store.Error{Op: "writing znode", Subject: p, Kind: store.NotFound}
	}
	if version != store.AnyVersion && version != n.stat.Version {
		return store.Stat{}, &store.Error{Op: "writing znode", Subject: p, Kind: store.Conflict,
			Err: fmt.Errorf("its version is %d, not %d", n.stat.Version, version)}
	}
	m.zxid++
	n.data = slices.Clone(data)
	n.stat.Version++
	n.stat.Mzxid = m.zxid
	n.stat.Mtime = time.Now().Truncate(time.Millisecond)
	return n.stat, nil
}

// Delete implements store.Znodes.
func (m *MemoryZnodes) Delete(ctx context.Context, p string, version int32) error {
	if err := m.fail(ctx, "delete", p); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.nodes[p]
	switch {
	case n == nil:
		return &store.Error{Op: "deleting znode", Subject: p, Kind: store.NotFound}
	case n.stat.NumChildren > 0:
		return &store.Error{Op: "deleting znode", Subject: p, Kind: store.Conflict,
			Err: fmt.Errorf("it has children: %s", strings.Join(m.children(p), ", "))}
	case version != store.AnyVersion && version != n.stat.Version:
		return &store.Error{Op: "deleting znode", Subject: p, Kind: store.Conflict,
			Err: fmt.Errorf("its version is %d, not %d", n.stat.Version, version)}
	}
	m.zxid++
	delete(m.nodes, p)
	parent := m.nodes[path.Dir(p)]
	parent.stat.Pzxid = m.zxid
	parent.stat.NumChildren--
	return nil
}

// Lock implements store.Znodes.
func (m *MemoryZnodes) Lock(ctx context.Context, p string) (func(), error) {
	if err := m.fail(ctx, "lock", p); err != nil {
		return nil, err
	}
	m.mu.Lock()
	if m.nodes[p] == nil {
		m.create(p, nil)
	}
	slot := m.locks[p]
	if slot == nil {
		slot = make(chan struct{}, 1)
		m.locks[p] = slot
	}
	m.mu.Unlock()
	select {
	case slot <- struct{}{}:
		return func() { <-slot }, nil
	case <-ctx.Done():
		return nil, &store.Error{Op: "locking", Subject: p, Kind: store.Conflict,
			Err: fmt.Errorf("somebody else holds the lock: %w", ctx.Err())}
	}
}

// Memory is both backends of a store in memory.
type Memory struct {
	Znodes *MemoryZnodes
	Blobs  *MemoryBlobs
}

// NewMemory returns two empty backends.
func NewMemory() *Memory {
	return &Memory{Znodes: NewMemoryZnodes(), Blobs: NewMemoryBlobs()}
}
