package integration

import (
	"errors"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/go-zookeeper/zk"
	"github.com/google/uuid"

	"github.com/kingpinfs/kingpin/internal/devcluster/devtest"
)

// rawZK is ZooKeeper by the plain client library. All paths are of the fleet,
// without the chroot. Every method fails the test if the request fails, unless
// it says otherwise.
type rawZK struct {
	t      testing.TB
	conn   *zk.Conn
	chroot string
}

// connectZK opens a session of its own, with its own ephemeral znodes; it ends
// with the test or when conn is closed.
func connectZK(t testing.TB, addr string) rawZK {
	t.Helper()
	conn, chroot := devtest.RawZooKeeper(t, addr)
	return rawZK{t: t, conn: conn, chroot: chroot}
}

// create makes a persistent znode, and those above it that are missing, with
// null data. nil data is null data.
func (z rawZK) create(znode string, data []byte) {
	z.t.Helper()
	full := z.chroot + znode
	for i := len(z.chroot) + 1; i < len(full); i++ {
		if full[i] != '/' {
			continue
		}
		_, err := z.conn.Create(full[:i], nil, 0, zk.WorldACL(zk.PermAll))
		if err != nil && !errors.Is(err, zk.ErrNodeExists) {
			z.t.Fatalf("creating znode %q: %v", full[:i], err)
		}
	}
	if _, err := z.conn.Create(full, data, 0, zk.WorldACL(zk.PermAll)); err != nil {
		z.t.Fatalf("creating znode %q: %v", full, err)
	}
}

// createEphemeral makes a znode that lasts as long as the session. Its parent
// must exist. With flags zk.FlagSequence ZooKeeper appends a number; the path
// that came of it is returned.
func (z rawZK) createEphemeral(znode string, data []byte, flags int32) string {
	z.t.Helper()
	created, err := z.conn.Create(z.chroot+znode, data, zk.FlagEphemeral|flags, zk.WorldACL(zk.PermAll))
	if err != nil {
		z.t.Fatalf("creating ephemeral znode %q: %v", z.chroot+znode, err)
	}
	return strings.TrimPrefix(created, z.chroot)
}

// join makes an endpoint a member of a serverset, as register does, and returns
// the member's znode.
func (z rawZK) join(serverset, endpoint string) string {
	z.t.Helper()
	return z.createEphemeral(serverset+"/"+hexUUID()+"-"+endpoint, []byte(endpoint), 0)
}

// hexUUID returns 32 random hexadecimal digits, of a version 4 UUID.
func hexUUID() string { return strings.ReplaceAll(uuid.NewString(), "-", "") }

// set replaces a znode's data, whatever it is.
func (z rawZK) set(znode string, data []byte) {
	z.t.Helper()
	if _, err := z.conn.Set(z.chroot+znode, data, -1); err != nil {
		z.t.Fatalf("setting znode %q: %v", z.chroot+znode, err)
	}
}

// get returns a znode's data and Stat.
func (z rawZK) get(znode string) ([]byte, *zk.Stat) {
	z.t.Helper()
	data, stat, err := z.conn.Get(z.chroot + znode)
	if err != nil {
		z.t.Fatalf("reading znode %q: %v", z.chroot+znode, err)
	}
	return data, stat
}

// exists tells whether a znode is there.
func (z rawZK) exists(znode string) bool {
	z.t.Helper()
	there, _, err := z.conn.Exists(z.chroot + znode)
	if err != nil {
		z.t.Fatalf("looking for znode %q: %v", z.chroot+znode, err)
	}
	return there
}

// children returns the names below a znode, sorted.
func (z rawZK) children(znode string) []string {
	z.t.Helper()
	names, _, err := z.conn.Children(z.chroot + znode)
	if err != nil {
		z.t.Fatalf("listing znode %q: %v", z.chroot+znode, err)
	}
	slices.Sort(names)
	return names
}

// remove deletes a znode, which must have no children.
func (z rawZK) remove(znode string) {
	z.t.Helper()
	if err := z.conn.Delete(z.chroot+znode, -1); err != nil {
		z.t.Fatalf("deleting znode %q: %v", z.chroot+znode, err)
	}
}

// addMember lists a metaconfig, or a dependency, in a dependency, as Python's
// tools do: a persistent znode with null data. The dependency is created if it
// isn't there.
func (z rawZK) addMember(dependency, member string) {
	z.t.Helper()
	z.create(path.Join(dependencyRoot, dependency, member), nil)
}
