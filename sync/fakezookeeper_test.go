package sync

import (
	"context"
	"errors"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kingpinfs/kingpin/store"
)

// fakeZooKeeper is an ensemble of which one server, that may lag behind, is
// talked to. It does what can't be asked of a real one: to lag, to lose the
// connection, to expire a session at a given moment. Its watches are
// ZooKeeper's: they fire once, and before any later answer shows what fired
// them.
type fakeZooKeeper struct {
	mu       sync.Mutex // guards all below; events are delivered with it held
	observer *Engine
	zxid     int64 // of the last change
	applied  int64 // of the last change that the server knows
	lagging  bool
	changes  []change
	znodes   map[string][]revision
	watches  map[watch]bool

	connected bool
	lost      chan struct{} // closed when the connection is lost
	hangs     bool          // requests without a connection wait instead of failing
	denied    map[string]bool
	latency   time.Duration
	reads     map[string]int
	syncs     int
}

type watch struct {
	path     string
	children bool
}

type change struct {
	zxid  int64
	fires []watch
}

// revision is what a znode was from one change on.
type revision struct {
	zxid     int64
	exists   bool
	data     string
	children []string
	stat     store.Stat
}

func newFakeZooKeeper() *fakeZooKeeper {
	return &fakeZooKeeper{
		znodes:  map[string][]revision{},
		watches: map[watch]bool{},
		denied:  map[string]bool{},
		reads:   map[string]int{},
		lost:    make(chan struct{}),
		zxid:    100, applied: 100,
	}
}

func (z *fakeZooKeeper) at(path string, zxid int64) revision {
	revisions := z.znodes[path]
	for i := len(revisions) - 1; i >= 0; i-- {
		if revisions[i].zxid <= zxid {
			return revisions[i]
		}
	}
	return revision{}
}

// set writes a znode's data, and creates it and its parents where missing.
func (z *fakeZooKeeper) set(path, data string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.setLocked(path, data)
}

func (z *fakeZooKeeper) setLocked(name, data string) {
	if parent := path.Dir(name); parent != "/" && !z.at(parent, z.zxid).exists {
		z.setLocked(parent, "")
	}
	z.zxid++
	r := z.at(name, z.zxid)
	fires := []watch{{name, false}}
	if !r.exists {
		r = revision{exists: true, stat: store.Stat{Czxid: z.zxid, Pzxid: z.zxid, Ctime: time.Now()}}
		fires = append(fires, z.relist(name, true)...)
	} else {
		r.stat.Version++
	}
	r.zxid, r.data = z.zxid, data
	r.stat.Mzxid, r.stat.Mtime = z.zxid, time.Now().Truncate(time.Millisecond)
	z.znodes[name] = append(z.znodes[name], r)
	z.commit(fires)
}

// relist adds a znode to its parent's children or takes it away.
func (z *fakeZooKeeper) relist(name string, add bool) []watch {
	parent := path.Dir(name)
	r := z.at(parent, z.zxid)
	if !r.exists {
		return nil
	}
	r.children = slices.Clone(r.children)
	if add {
		r.children = append(r.children, path.Base(name))
	} else {
		r.children = slices.DeleteFunc(r.children, func(c string) bool { return c == path.Base(name) })
	}
	r.zxid = z.zxid
	r.stat.Pzxid = z.zxid
	r.stat.NumChildren = int32(len(r.children))
	z.znodes[parent] = append(z.znodes[parent], r)
	return []watch{{parent, true}}
}

// remove deletes a znode and what is beneath it.
func (z *fakeZooKeeper) remove(name string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.removeLocked(name)
}

func (z *fakeZooKeeper) removeLocked(name string) {
	for _, child := range z.at(name, z.zxid).children {
		z.removeLocked(name + "/" + child)
	}
	z.zxid++
	fires := append([]watch{{name, false}, {name, true}}, z.relist(name, false)...)
	z.znodes[name] = append(z.znodes[name], revision{zxid: z.zxid})
	z.commit(fires)
}

func (z *fakeZooKeeper) commit(fires []watch) {
	z.changes = append(z.changes, change{z.zxid, fires})
	if !z.lagging && z.connected {
		z.catchUp()
	}
}

// catchUp makes the server know all changes and fires the watches on them.
// mu must be held.
func (z *fakeZooKeeper) catchUp() {
	i, _ := slices.BinarySearchFunc(z.changes, z.applied+1, func(c change, zxid int64) int { return int(c.zxid - zxid) })
	for _, c := range z.changes[i:] {
		z.applied = c.zxid
		for _, w := range c.fires {
			if z.watches[w] {
				delete(z.watches, w)
				if z.observer != nil {
					z.observer.ZnodeChanged(w.path)
				}
			}
		}
	}
	z.applied = z.zxid
}

// lag makes the server stop following the leader, or follow again.
func (z *fakeZooKeeper) lag(on bool) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.lagging = on
	if !on && z.connected {
		z.catchUp()
	}
}

// lagAt connects a new session to a server that knows the changes up to zxid
// alone.
func (z *fakeZooKeeper) lagAt(zxid int64) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.lagging, z.applied = true, zxid
	clear(z.watches)
}

func (z *fakeZooKeeper) now() int64 {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.zxid
}

// connect gives the session a connection. What changed meanwhile fires the
// watches, as the client's SetWatches does.
func (z *fakeZooKeeper) connect(newSession bool) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.connected = true
	z.lost = make(chan struct{})
	if newSession {
		clear(z.watches)
	}
	if !z.lagging {
		z.catchUp()
	}
	if z.observer != nil {
		z.observer.Connected(newSession)
	}
}

func (z *fakeZooKeeper) disconnect() {
	z.mu.Lock()
	defer z.mu.Unlock()
	if !z.connected {
		return
	}
	z.connected = false
	close(z.lost)
	if z.observer != nil {
		z.observer.Disconnected()
	}
}

// expire ends the session; connect(true) gives the next.
func (z *fakeZooKeeper) expire() {
	z.disconnect()
	z.mu.Lock()
	defer z.mu.Unlock()
	clear(z.watches)
	if z.observer != nil {
		z.observer.SessionExpired()
	}
}

// exchange waits for as long as a request takes, and leaves mu locked if it
// got an answer.
func (z *fakeZooKeeper) exchange(ctx context.Context, op, path string) error {
	fail := func(kind store.Kind, err error) error {
		return &store.Error{Op: op, Subject: path, Kind: kind, Err: err}
	}
	z.mu.Lock()
	connected, hangs, lost, latency := z.connected, z.hangs, z.lost, z.latency
	z.mu.Unlock()
	if !connected {
		if hangs {
			<-ctx.Done()
		}
		return fail(store.Unavailable, errors.New("not connected"))
	}
	if latency > 0 {
		select {
		case <-ctx.Done():
			return fail(store.Unavailable, ctx.Err())
		case <-lost:
			return fail(store.Unavailable, errors.New("connection lost"))
		case <-time.After(latency):
		}
	}
	z.mu.Lock()
	switch {
	case !z.connected:
		z.mu.Unlock()
		return fail(store.Unavailable, errors.New("connection lost"))
	case z.denied[path]:
		z.mu.Unlock()
		return fail(store.Denied, nil)
	}
	return nil
}

// GetWatched implements ZooKeeper.
func (z *fakeZooKeeper) GetWatched(ctx context.Context, path string) ([]byte, store.Stat, error) {
	if err := z.exchange(ctx, "reading znode", path); err != nil {
		return nil, store.Stat{}, err
	}
	defer z.mu.Unlock()
	z.reads[path]++
	z.watches[watch{path, false}] = true
	r := z.at(path, z.applied)
	if !r.exists {
		return nil, store.Stat{}, &store.Error{Op: "reading znode", Subject: path, Kind: store.NotFound}
	}
	return []byte(r.data), r.stat, nil
}

// ChildrenWatched implements ZooKeeper.
func (z *fakeZooKeeper) ChildrenWatched(ctx context.Context, path string) ([]string, store.Stat, error) {
	if err := z.exchange(ctx, "listing znode", path); err != nil {
		return nil, store.Stat{}, err
	}
	defer z.mu.Unlock()
	z.reads[path]++
	r := z.at(path, z.applied)
	if !r.exists {
		z.watches[watch{path, false}] = true
		return nil, store.Stat{}, &store.Error{Op: "listing znode", Subject: path, Kind: store.NotFound}
	}
	z.watches[watch{path, true}] = true
	return slices.Clone(r.children), r.stat, nil
}

// Sync implements ZooKeeper.
func (z *fakeZooKeeper) Sync(ctx context.Context, path string) error {
	if err := z.exchange(ctx, "syncing", path); err != nil {
		return err
	}
	defer z.mu.Unlock()
	z.syncs++
	z.catchUp()
	return nil
}

// readsUnder counts the reads of znodes beneath a path since the last call.
func (z *fakeZooKeeper) readsUnder(prefix string) int {
	z.mu.Lock()
	defer z.mu.Unlock()
	n := 0
	for path, count := range z.reads {
		if strings.HasPrefix(path, prefix) {
			n += count
			delete(z.reads, path)
		}
	}
	return n
}
