package zkconn_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/go-zookeeper/zk"

	"github.com/kingpinfs/kingpin/internal/devcluster/devtest"
	"github.com/kingpinfs/kingpin/internal/zkconn"
	"github.com/kingpinfs/kingpin/store"
	"github.com/kingpinfs/kingpin/store/storetest"
)

func TestStoreConformance(t *testing.T) {
	storetest.Store(t, func(t *testing.T) (store.Znodes, store.Blobs) {
		t.Helper()
		return openShared(t), storetest.NewMemoryBlobs()
	})
}

func TestZnodes(t *testing.T) {
	c, ctx := openShared(t), within(t)

	must(t, c.Create(ctx, "/a/b/c", []byte("one"))) // makes /a and /a/b
	stat := wantData(t, c, "/a/b/c", "one")
	if stat.Czxid == 0 || stat.Mzxid != stat.Czxid || stat.Version != 0 || stat.Mtime.IsZero() || stat.EphemeralOwner != 0 {
		t.Errorf("unexpected stat of a fresh znode: %+v", stat)
	}
	wantData(t, c, "/a/b", "")
	wantKind(t, c.Create(ctx, "/a/b/c", nil), store.Exists)

	set, err := c.Set(ctx, "/a/b/c", []byte("two"), stat.Version)
	must(t, err)
	if now := wantData(t, c, "/a/b/c", "two"); now != set || now.Mzxid <= stat.Mzxid || now.Version != 1 {
		t.Errorf("Set returned %+v, then Get %+v", set, now)
	}
	_, err = c.Set(ctx, "/a/b/c", nil, stat.Version)
	wantKind(t, err, store.Conflict)
	_, err = c.Set(ctx, "/a/b/c", nil, store.AnyVersion)
	must(t, err)
	if data, _, err := c.Get(ctx, "/a/b/c"); err != nil || data == nil || len(data) != 0 {
		t.Errorf("empty data came back as %#v, %v", data, err)
	}

	for _, name := range []string{"z", "m", "a"} {
		must(t, c.Create(ctx, "/a/b/"+name, nil))
	}
	names, stat, err := c.Children(ctx, "/a/b")
	must(t, err)
	if !slices.Equal(names, []string{"a", "c", "m", "z"}) || stat.NumChildren != 4 {
		t.Errorf("children %q, stat %+v", names, stat)
	}
	names, _, err = c.Children(ctx, "/") // the chroot
	must(t, err)
	if !slices.Equal(names, []string{"a"}) {
		t.Errorf("the chroot holds %q", names)
	}

	wantKind(t, c.Delete(ctx, "/a/b", store.AnyVersion), store.Conflict) // it has children
	wantKind(t, c.Delete(ctx, "/a/b/z", 7), store.Conflict)
	must(t, c.Delete(ctx, "/a/b/z", 0))
	wantKind(t, c.Delete(ctx, "/a/b/z", store.AnyVersion), store.NotFound)
	_, _, err = c.Get(ctx, "/a/b/z")
	wantKind(t, err, store.NotFound)
	_, _, err = c.Children(ctx, "/a/b/z")
	wantKind(t, err, store.NotFound)
	_, err = c.Set(ctx, "/a/b/z", nil, store.AnyVersion)
	wantKind(t, err, store.NotFound)
	must(t, c.Sync(ctx, "/a"))
	must(t, c.Sync(ctx, "/"))
}

func TestErrorsSayWhat(t *testing.T) {
	c, ctx := openShared(t), within(t)
	_, _, err := c.Get(ctx, "/missing")
	if want := `reading znode "/missing": not found`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	err = c.Create(ctx, "/big", make([]byte, 1<<20))
	wantKind(t, err, store.TooLarge)
	must(t, c.Create(ctx, "/almost", bytes.Repeat([]byte("x"), 1<<20-1000)))
	data, _, err := c.Get(ctx, "/almost")
	if err != nil || len(data) != 1<<20-1000 {
		t.Errorf("read %d bytes, %v", len(data), err)
	}
	_, err = c.Set(ctx, "/almost", make([]byte, 1<<20), store.AnyVersion)
	wantKind(t, err, store.TooLarge)
}

func TestInvalidPaths(t *testing.T) {
	c, ctx := openShared(t), within(t)
	for _, path := range []string{"", "a", "a/b", "/a/", "//a", "/a//b", "/.", "/a/..", "/a/./b", "/a\x00", "/\u0007", "/\xff", "/\ufffd"} {
		wantKind(t, c.Create(ctx, path, nil), store.Invalid)
		_, _, err := c.GetWatched(ctx, path)
		wantKind(t, err, store.Invalid)
		_, err = c.Lock(ctx, path)
		wantKind(t, err, store.Invalid)
	}
	for _, path := range []string{"/a.b", "/...", "/.a", "/ä ö", "/a-b_c:1"} {
		must(t, c.Create(ctx, path, nil))
	}
}

func TestMissingChrootIsMade(t *testing.T) {
	cfg := config(t, devtest.SharedZooKeeper(t))
	cfg.Chroot += "/not/there/"
	c, ctx := open(t, cfg), within(t)
	_, _, err := c.Children(ctx, "/")
	wantKind(t, err, store.NotFound)
	must(t, c.Create(ctx, "/x", nil))
	names, _, err := c.Children(ctx, "/")
	if err != nil || !slices.Equal(names, []string{"x"}) {
		t.Fatalf("got %q, %v", names, err)
	}
}

// Ours are open to everybody, as Python's are; and null data, which Python
// writes, is empty.
func TestZnodesOfOthers(t *testing.T) {
	addr := devtest.SharedZooKeeper(t)
	raw, chroot := devtest.RawZooKeeper(t, addr)
	c, ctx := open(t, config(t, addr)), within(t)
	must(t, c.Create(ctx, "/ours", nil))
	acl, _, err := raw.GetACL(chroot + "/ours")
	must(t, err)
	if want := zk.WorldACL(zk.PermAll); !slices.Equal(acl, want) {
		t.Errorf("the ACL is %v, want %v", acl, want)
	}
	_, err = raw.Create(chroot+"/null", nil, 0, zk.WorldACL(zk.PermAll))
	must(t, err)
	if data, _, err := c.Get(ctx, "/null"); err != nil || data == nil || len(data) > 0 {
		t.Errorf("null data came back as %#v, %v", data, err)
	}
}

func TestCreateConcurrently(t *testing.T) {
	c, ctx := openShared(t), within(t)
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			if err := c.Create(ctx, fmt.Sprintf("/a/b/c/d/%d", i), nil); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	names, _, err := c.Children(ctx, "/a/b/c/d")
	if err != nil || len(names) != 50 {
		t.Fatalf("%d children, %v", len(names), err)
	}
}

func TestCreateEphemeral(t *testing.T) {
	addr := devtest.SharedZooKeeper(t)
	c, other, ctx := open(t, config(t, addr)), open(t, config(t, addr)), within(t)
	const path = "/discovery/test/prod/x-127.0.0.1:1"
	must(t, c.CreateEphemeral(ctx, path, []byte("127.0.0.1:1")))
	if stat := wantData(t, other, path, "127.0.0.1:1"); fmt.Sprintf("0x%x", uint64(stat.EphemeralOwner)) != c.Status().Session {
		t.Errorf("the owner is %x, our session %s", stat.EphemeralOwner, c.Status().Session)
	}
	must(t, c.CreateEphemeral(ctx, path, []byte("127.0.0.1:1"))) // as if the first answer was lost
	wantKind(t, c.CreateEphemeral(ctx, path, []byte("else")), store.Exists)
	wantKind(t, other.CreateEphemeral(ctx, path, []byte("127.0.0.1:1")), store.Exists)
	wantKind(t, c.Create(ctx, path+"/child", nil), store.Invalid)
	c.Close() // ends the session
	_, _, err := other.Get(ctx, path)
	wantKind(t, err, store.NotFound)
}

func TestReplaceEphemeral(t *testing.T) {
	addr := devtest.SharedZooKeeper(t)
	c, other, ctx := open(t, config(t, addr)), open(t, config(t, addr)), within(t)
	const path = "/discovery/test/prod/x-127.0.0.1:1"
	wantKind(t, c.ReplaceEphemeral(ctx, path, nil, 0), store.NotFound)
	must(t, other.CreateEphemeral(ctx, path, []byte("theirs")))
	wantKind(t, c.ReplaceEphemeral(ctx, path, []byte("ours"), 1), store.Conflict)
	if stat := wantData(t, c, path, "theirs"); zkconn.SessionName(stat.EphemeralOwner) != other.Status().Session {
		t.Errorf("after a conflict the owner is %s", zkconn.SessionName(stat.EphemeralOwner))
	}
	must(t, c.ReplaceEphemeral(ctx, path, []byte("ours"), 0))
	if stat := wantData(t, other, path, "ours"); zkconn.SessionName(stat.EphemeralOwner) != c.Status().Session {
		t.Errorf("the owner is %s, our session %s", zkconn.SessionName(stat.EphemeralOwner), c.Status().Session)
	}
	other.Close()
	wantData(t, c, path, "ours")
}

func TestStatusHasOurAddress(t *testing.T) {
	addr := sharedServer(t)
	c := open(t, config(t, addr))
	if local := zkconn.New(config(t, addr)).Status().LocalAddr; local != "" {
		t.Errorf("without a connection it is %q", local)
	}
	must(t, c.WaitConnected(within(t)))
	if local := c.Status().LocalAddr; !strings.HasPrefix(local, "127.0.0.1:") || local == addr {
		t.Errorf("our end of the connection to %s is %q", addr, local)
	}
}

func TestDigestAuth(t *testing.T) {
	addr := devtest.SharedZooKeeper(t)
	raw, chroot := devtest.RawZooKeeper(t, addr)
	_, err := raw.Create(chroot+"/private", []byte("secret"), 0, zk.DigestACL(zk.PermAll, "user", "pa:ss"))
	must(t, err)

	ctx := within(t)
	stranger := open(t, config(t, addr))
	_, _, err = stranger.Get(ctx, "/private")
	wantKind(t, err, store.Denied)
	if !strings.Contains(err.Error(), "--zk-auth") {
		t.Errorf("the error doesn't say how to mend it: %v", err)
	}

	var log bytes.Buffer
	cfg := config(t, addr)
	cfg.Logger = storingLogger(&log)
	cfg.Auth = "user:pa:ss"
	proxy := proxied(t, cfg.Servers[0])
	cfg.Servers = []string{proxy.Addr()}
	r := newRecorder()
	cfg.Observer = r
	user := open(t, cfg)
	wantData(t, user, "/private", "secret")
	// The credentials go with every connection.
	proxy.Break()
	r.awaitSessions(t, "new disconnected same")
	wantData(t, user, "/private", "secret")
	user.Close()
	if strings.Contains(log.String(), "pa:ss") {
		t.Errorf("the log holds the password:\n%s", log.String())
	}

	cfg.Auth = "wrong:one"
	_, _, err = open(t, cfg).Get(ctx, "/private")
	wantKind(t, err, store.Denied)
	cfg.Auth = "nonsense"
	wantKind(t, zkconn.New(cfg).Open(), store.Invalid)
}

func TestDeniedIsNotRepeated(t *testing.T) {
	addr := devtest.SharedZooKeeper(t)
	raw, chroot := devtest.RawZooKeeper(t, addr)
	_, err := raw.Create(chroot+"/readonly", nil, 0, zk.WorldACL(zk.PermRead))
	must(t, err)
	c, ctx := open(t, config(t, addr)), within(t)
	wantKind(t, c.Create(ctx, "/readonly/x", nil), store.Denied)
	_, err = c.Lock(ctx, "/readonly/lock")
	wantKind(t, err, store.Denied)
	if _, err := c.Set(ctx, "/readonly", nil, store.AnyVersion); !errors.Is(err, store.Denied) {
		t.Errorf("got %v", err)
	}
}
