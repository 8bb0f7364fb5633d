package zkconn

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/kingpinfs/kingpin/store"
)

// createTries bounds how often the missing parents of a znode are made: if
// somebody keeps removing them, it isn't ours to win.
const createTries = 5

// openACL lets everybody do everything, as the znodes of Python's tools do.
var openACL = zk.WorldACL(zk.PermAll)

// full puts the chroot before a path.
func (c *Conn) full(path string) (string, error) {
	if err := checkPath(path); err != nil {
		return "", err
	}
	if path == "/" && c.cfg.Chroot != "" {
		return c.cfg.Chroot, nil
	}
	return c.cfg.Chroot + path, nil
}

// bare takes the chroot off a path.
func (c *Conn) bare(full string) string {
	path := strings.TrimPrefix(full, c.cfg.Chroot)
	if path == "" {
		return "/"
	}
	return path
}

// read is the answer to a read: of data or of children.
type read struct {
	data     []byte
	children []string
	stat     store.Stat
}

// request runs a call about one path, and makes its error one of store's.
func request[T any](ctx context.Context, c *Conn, op, path string, r repeat, run func(conn *zk.Conn, full string) (T, error)) (T, error) {
	full, err := c.full(path)
	if err != nil {
		var zero T
		return zero, storeError(op, path, err)
	}
	value, err := call(ctx, c, r, func(conn *zk.Conn) (T, error) { return run(conn, full) })
	return value, storeError(op, path, err)
}

// Get returns a znode's data. Errors: NotFound, Denied, Unavailable, Invalid.
func (c *Conn) Get(ctx context.Context, path string) ([]byte, store.Stat, error) {
	r, err := request(ctx, c, "reading znode", path, twice, getData)
	return r.data, r.stat, err
}

// Children returns the names of a znode's children, sorted. Errors: NotFound,
// Denied, Unavailable, Invalid.
func (c *Conn) Children(ctx context.Context, path string) ([]string, store.Stat, error) {
	r, err := request(ctx, c, "listing znode", path, twice, getChildren)
	return r.children, r.stat, err
}

// GetWatched returns a znode's data, and makes sure that the observer will
// hear of the next change. After NotFound it will hear of the creation. Asking
// again and again is cheap, and arms no second watch.
func (c *Conn) GetWatched(ctx context.Context, path string) ([]byte, store.Stat, error) {
	r, err := request(ctx, c, "reading znode", path, twice, func(conn *zk.Conn, full string) (read, error) {
		return c.watchedRead(conn, full, dataWatch)
	})
	return r.data, r.stat, err
}

// ChildrenWatched returns the names of a znode's children, sorted, and makes
// sure that the observer will hear when one comes or goes. After NotFound it
// will hear of the znode's creation.
func (c *Conn) ChildrenWatched(ctx context.Context, path string) ([]string, store.Stat, error) {
	r, err := request(ctx, c, "listing znode", path, twice, func(conn *zk.Conn, full string) (read, error) {
		return c.watchedRead(conn, full, childWatch)
	})
	return r.children, r.stat, err
}

// Sync makes the reads that follow at least as new as the ensemble's leader
// was when it was called: without it, another server may lag behind.
func (c *Conn) Sync(ctx context.Context, path string) error {
	_, err := request(ctx, c, "synchronizing with the ZooKeeper leader for", path, twice,
		func(conn *zk.Conn, full string) (string, error) { return conn.Sync(full) })
	return err
}

// Create creates a persistent znode, and its missing parents (and chroot) with
// empty data. Everybody may read and change it. Errors: Exists, TooLarge,
// Denied, Invalid, Unavailable; after the last it may or may not be there.
func (c *Conn) Create(ctx context.Context, path string, data []byte) error {
	return c.createAt(ctx, path, data, 0)
}

// CreateEphemeral creates a znode that goes when the session does, and its
// missing parents as persistent ones. It is not created again in a new
// session. A znode of this very session, left by a call whose answer was lost,
// is a success; one of another session is Exists.
func (c *Conn) CreateEphemeral(ctx context.Context, path string, data []byte) error {
	err := c.createAt(ctx, path, data, zk.FlagEphemeral)
	if !errors.Is(err, store.Exists) {
		return err
	}
	there, stat, readErr := c.Get(ctx, path)
	if readErr == nil && stat.EphemeralOwner == c.currentSession() && slices.Equal(there, data) {
		return nil
	}
	return err
}

// ReplaceEphemeral puts a znode of our session, with new data, in the place of
// one that another session left, if that has the given version. Both happen at
// once: whoever lists the parent sees the one or the other. Errors: NotFound,
// Conflict, TooLarge, Denied, Invalid, Unavailable; after the last it may or may
// not have happened.
func (c *Conn) ReplaceEphemeral(ctx context.Context, path string, data []byte, version int32) error {
	const op = "replacing znode"
	if err := checkSize(op, path, data); err != nil {
		return err
	}
	_, err := request(ctx, c, op, path, once, func(conn *zk.Conn, full string) (struct{}, error) {
		_, err := conn.Multi(
			&zk.DeleteRequest{Path: full, Version: version},
			&zk.CreateRequest{Path: full, Data: data, Acl: openACL, Flags: zk.FlagEphemeral},
		)
		return struct{}{}, err
	})
	return err
}

func (c *Conn) createAt(ctx context.Context, path string, data []byte, flags int32) error {
	const op = "creating znode"
	if err := checkSize(op, path, data); err != nil {
		return err
	}
	_, err := request(ctx, c, op, path, once, func(conn *zk.Conn, full string) (string, error) {
		return create(conn, full, data, flags)
	})
	return err
}

// Set replaces a znode's data if its version is still the given one. Errors:
// NotFound, Conflict, TooLarge, Denied, Invalid, Unavailable; after the last it
// may or may not have happened.
func (c *Conn) Set(ctx context.Context, path string, data []byte, version int32) (store.Stat, error) {
	const op = "setting znode"
	if err := checkSize(op, path, data); err != nil {
		return store.Stat{}, err
	}
	return request(ctx, c, op, path, once, func(conn *zk.Conn, full string) (store.Stat, error) {
		stat, err := conn.Set(full, data, version)
		return toStat(stat), err
	})
}

// Delete removes a znode that has no children, if its version is still the
// given one. Errors: NotFound, Conflict, Denied, Invalid, Unavailable; after
// the last it may or may not have happened.
func (c *Conn) Delete(ctx context.Context, path string, version int32) error {
	_, err := request(ctx, c, "deleting znode", path, once, func(conn *zk.Conn, full string) (struct{}, error) {
		return struct{}{}, conn.Delete(full, version)
	})
	return err
}

// checkSize refuses what would make the server drop the connection.
func checkSize(op, path string, data []byte) error {
	const overhead = 128 // headers, lengths, the ACL
	if len(data)+len(path)+overhead <= maxRequest {
		return nil
	}
	return &store.Error{Op: op, Subject: path, Kind: store.TooLarge,
		Err: fmt.Errorf("%d bytes; ZooKeeper takes requests of up to %d", len(data), maxRequest)}
}

func getData(conn *zk.Conn, full string) (read, error) {
	data, stat, err := conn.Get(full)
	return dataRead(data, stat, err)
}

func getChildren(conn *zk.Conn, full string) (read, error) {
	children, stat, err := conn.Children(full)
	return childrenRead(children, stat, err)
}

func dataRead(data []byte, stat *zk.Stat, err error) (read, error) {
	if err != nil {
		return read{}, err
	}
	if data == nil {
		data = []byte{} // null data and empty data are the same thing
	}
	return read{data: data, stat: toStat(stat)}, nil
}

func childrenRead(children []string, stat *zk.Stat, err error) (read, error) {
	if err != nil {
		return read{}, err
	}
	slices.Sort(children)
	return read{children: children, stat: toStat(stat)}, nil
}

// create creates a znode and its missing parents, and returns the path it got.
func create(conn *zk.Conn, full string, data []byte, flags int32) (string, error) {
	for try := 1; ; try++ {
		made, err := conn.Create(full, data, flags, openACL)
		if !errors.Is(err, zk.ErrNoNode) || try == createTries {
			return made, err
		}
		if err := createParents(conn, full); err != nil {
			return "", err
		}
	}
}

// createParents creates the missing ones, empty and persistent.
func createParents(conn *zk.Conn, full string) error {
	parent := path.Dir(full)
	_, err := conn.Create(parent, nil, 0, openACL)
	if errors.Is(err, zk.ErrNoNode) {
		if err := createParents(conn, parent); err != nil {
			return err
		}
		_, err = conn.Create(parent, nil, 0, openACL)
	}
	if errors.Is(err, zk.ErrNodeExists) {
		return nil
	}
	return err
}

func toStat(s *zk.Stat) store.Stat {
	if s == nil {
		return store.Stat{}
	}
	return store.Stat{
		Czxid: s.Czxid, Mzxid: s.Mzxid, Pzxid: s.Pzxid, Version: s.Version,
		NumChildren: s.NumChildren, EphemeralOwner: s.EphemeralOwner,
		Ctime: time.UnixMilli(s.Ctime), Mtime: time.UnixMilli(s.Mtime),
	}
}
