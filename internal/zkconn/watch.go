package zkconn

import (
	"errors"
	"sync"

	"github.com/go-zookeeper/zk"
)

// watchKind is what a watch waits for.
type watchKind uint8

const (
	dataWatch   watchKind = iota // the znode's data changes, or it goes
	childWatch                   // a child comes or goes, or the znode goes
	createWatch                  // the znode comes into being
)

// watches knows which watches are armed. The servers keep a watch until it
// fires once; it can't be taken back, and arming it again while it is armed
// makes the library remember it twice, for ever. So each is armed once, and
// reads that find it armed are plain ones.
type watches struct {
	mu    sync.Mutex // guards armed
	armed map[watchKey]watch
}

type watchKey struct {
	path string // with the chroot
	kind watchKind
}

// watch is one that was armed.
type watch struct {
	// events gets the library's one event when the watch fires or is lost
	// with the session, and is then closed.
	events <-chan zk.Event
	// zxid is the last change that the arming read saw: the znode's Mzxid for
	// data, its Pzxid for children.
	zxid int64
}

// hasFired says that the watch isn't armed any more. It is exact after a
// read: the servers send a watch's event before any answer that shows the
// change, and the library delivers them in that order.
func (w watch) hasFired() bool {
	select {
	case <-w.events:
		return true
	default:
		return false
	}
}

// get returns the watch if it is armed.
func (ws *watches) get(path string, kind watchKind) (watch, bool) {
	key := watchKey{path, kind}
	ws.mu.Lock()
	defer ws.mu.Unlock()
	w, ok := ws.armed[key]
	if ok && w.hasFired() {
		delete(ws.armed, key)
		ok = false
	}
	return w, ok
}

// add records a watch that was just armed.
func (ws *watches) add(path string, kind watchKind, w watch) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if w.hasFired() {
		return
	}
	if ws.armed == nil {
		ws.armed = make(map[watchKey]watch)
	}
	ws.armed[watchKey{path, kind}] = w
}

// fired forgets the watches that an event fires.
func (ws *watches) fired(event zk.EventType, path string) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	switch event {
	case zk.EventNodeCreated:
		delete(ws.armed, watchKey{path, createWatch})
	case zk.EventNodeDataChanged:
		delete(ws.armed, watchKey{path, createWatch})
		delete(ws.armed, watchKey{path, dataWatch})
	case zk.EventNodeChildrenChanged:
		delete(ws.armed, watchKey{path, childWatch})
	case zk.EventNodeDeleted:
		for _, kind := range []watchKind{createWatch, dataWatch, childWatch} {
			delete(ws.armed, watchKey{path, kind})
		}
	}
}

// clear forgets all of them: the session is gone.
func (ws *watches) clear() {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.armed = nil
}

// any says whether one is armed.
func (ws *watches) any() bool {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for _, w := range ws.armed {
		if !w.hasFired() {
			return true
		}
	}
	return false
}

func (ws *watches) count() int {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	return len(ws.armed)
}

// zxidOf returns the change that a read of a kind is as new as.
func zxidOf(r read, kind watchKind) int64 {
	if kind == childWatch {
		return r.stat.Pzxid
	}
	return r.stat.Mzxid
}

// watchedRead reads data or children such that a watch is armed when it
// returns: one that fires if what it returned becomes wrong.
func (c *Conn) watchedRead(conn *zk.Conn, full string, kind watchKind) (read, error) {
	for {
		r, err, armed := c.readArmed(conn, full, kind)
		if armed {
			return r, err
		}
		r, err = c.readAndArm(conn, full, kind)
		if !errors.Is(err, zk.ErrNoNode) {
			return r, err
		}
		there, err := c.armCreation(conn, full)
		if err != nil {
			return read{}, err
		}
		if !there {
			return read{}, zk.ErrNoNode
		}
		// It appeared in between.
	}
}

// readArmed reads plainly, if a watch is armed already. It returns false if
// none is, or none is any more after the read.
func (c *Conn) readArmed(conn *zk.Conn, full string, kind watchKind) (r read, err error, armed bool) { //nolint:revive // armed says whether err counts
	w, ok := c.watches.get(full, kind)
	creation, awaited := c.watches.get(full, createWatch)
	if !ok && !awaited {
		return read{}, nil, false
	}
	r, err = plainRead(conn, full, kind)
	switch {
	case errors.Is(err, zk.ErrNoNode):
		if awaited && !creation.hasFired() {
			return read{}, err, true
		}
		if ok && !w.hasFired() {
			c.reportLost(full, kind)
		}
		return read{}, nil, false
	case err != nil:
		return read{}, err, true
	case ok && !w.hasFired() && zxidOf(r, kind) <= w.zxid:
		return r, nil, true
	case ok && !w.hasFired():
		c.reportLost(full, kind)
	case !ok && !creation.hasFired():
		c.reportLost(full, createWatch)
	}
	return read{}, nil, false
}

// reportLost logs that a znode changed and its watch, which should have fired
// before, has not.
func (c *Conn) reportLost(full string, kind watchKind) {
	c.watches.mu.Lock()
	delete(c.watches.armed, watchKey{full, kind})
	c.watches.mu.Unlock()
	c.log.Warn("a ZooKeeper watch was lost; it is armed again", "path", c.bare(full))
}

func plainRead(conn *zk.Conn, full string, kind watchKind) (read, error) {
	if kind == childWatch {
		return getChildren(conn, full)
	}
	return getData(conn, full)
}

// readAndArm reads and arms the watch in one request.
func (c *Conn) readAndArm(conn *zk.Conn, full string, kind watchKind) (read, error) {
	var (
		r      read
		events <-chan zk.Event
		err    error
	)
	if kind == childWatch {
		var children []string
		var stat *zk.Stat
		children, stat, events, err = conn.ChildrenW(full)
		r, err = childrenRead(children, stat, err)
	} else {
		var data []byte
		var stat *zk.Stat
		data, stat, events, err = conn.GetW(full)
		r, err = dataRead(data, stat, err)
	}
	if err == nil {
		c.watches.add(full, kind, watch{events, zxidOf(r, kind)})
	}
	return r, err
}

// armCreation arms a watch for a znode's creation, or says that it is there.
func (c *Conn) armCreation(conn *zk.Conn, full string) (there bool, err error) {
	there, stat, events, err := conn.ExistsW(full)
	switch {
	case err != nil:
		return false, err
	case there: // then it is a watch of the data
		c.watches.add(full, dataWatch, watch{events, stat.Mzxid})
	default:
		c.watches.add(full, createWatch, watch{events, 0})
	}
	return there, nil
}
