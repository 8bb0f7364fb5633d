package zkconn_test

import (
	"context"
	"encoding/hex"
	"errors"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/kingpinfs/kingpin/internal/devcluster/devtest"
	"github.com/kingpinfs/kingpin/internal/zkconn"
	"github.com/kingpinfs/kingpin/store"
)

const lockPath = "/config/manageddata/test/x.lock"

// shortly returns a context for what is bound to fail.
func shortly(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}

// contender is what kazoo's names look like.
var contender = regexp.MustCompile(`^[0-9a-f]{32}__lock__[0-9]{10}$`)

// contenders returns the names under the lock path, lowest sequence first.
func contenders(t *testing.T, c *zkconn.Conn) []string {
	t.Helper()
	names, _, err := c.Children(within(t), lockPath)
	if store.KindOf(err) != store.NotFound {
		must(t, err)
	}
	names = slices.DeleteFunc(names, func(name string) bool { return !contender.MatchString(name) })
	slices.SortFunc(names, func(a, b string) int { return strings.Compare(a[len(a)-10:], b[len(b)-10:]) })
	return names
}

// awaitContenders waits until there are n of them.
func awaitContenders(t *testing.T, c *zkconn.Conn, n int) []string {
	t.Helper()
	ctx := within(t)
	for {
		names := contenders(t, c)
		if len(names) == n {
			return names
		}
		if ctx.Err() != nil {
			t.Fatalf("there are %d contenders, want %d: %q", len(names), n, names)
		}
	}
}

func TestLockExcludes(t *testing.T) {
	addr := devtest.SharedZooKeeper(t)
	conns := []*zkconn.Conn{open(t, config(t, addr)), open(t, config(t, addr))}
	ctx := within(t)
	var inside, turns atomic.Int32
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			for range 5 {
				unlock, err := conns[i%2].Lock(ctx, lockPath)
				if err != nil {
					t.Error(err)
					return
				}
				if n := inside.Add(1); n != 1 {
					t.Errorf("%d hold the lock", n)
				}
				turns.Add(1)
				inside.Add(-1)
				unlock()
			}
		})
	}
	wg.Wait()
	if turns.Load() != 100 {
		t.Errorf("%d turns", turns.Load())
	}
	if left := contenders(t, conns[0]); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	// The recipe waits on the predecessor alone, and leaves no watch behind.
	for _, c := range conns {
		if n := c.Status().Watches; n != 0 {
			t.Errorf("%d watches are left", n)
		}
	}
}

func TestLockIsKazoos(t *testing.T) {
	addr := devtest.SharedZooKeeper(t)
	raw, chroot := devtest.RawZooKeeper(t, addr)
	c := open(t, config(t, addr))
	unlock, err := c.Lock(within(t), lockPath)
	must(t, err)
	names := contenders(t, c)
	if len(names) != 1 {
		t.Fatalf("our znodes: %q", names)
	}
	_, stat, err := raw.Get(chroot + lockPath + "/" + names[0])
	must(t, err)
	if stat.EphemeralOwner == 0 {
		t.Error("our znode isn't ephemeral")
	}
	unlock()

	// Kazoo's contender, which comes first.
	theirs, err := raw.Create(chroot+lockPath+"/"+strings.Repeat("0f", 16)+"__lock__", []byte("python"),
		zk.FlagEphemeral|zk.FlagSequence, zk.WorldACL(zk.PermAll))
	must(t, err)
	// These are none: no mark, no number.
	for _, name := range []string{"unrelated", "x__lock__", "x__lock__y"} {
		must(t, c.Create(within(t), lockPath+"/"+name, nil))
	}
	holder := theirs[strings.LastIndexByte(theirs, '/')+1:]
	_, err = c.Lock(shortly(t), lockPath)
	wantKind(t, err, store.Conflict)
	for _, want := range []string{holder, "python", lockPath} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q doesn't name %q", err, want)
		}
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the context's error isn't visible: %v", err)
	}

	// It waits for that one, and takes over.
	locked := make(chan func())
	go func() {
		unlock, err := c.Lock(within(t), lockPath)
		if err != nil {
			t.Error(err)
		}
		locked <- unlock
	}()
	awaitContenders(t, c, 2)
	select {
	case <-locked:
		t.Fatal("took a lock that kazoo holds")
	default:
	}
	must(t, raw.Delete(theirs, -1))
	unlock = <-locked
	// Now kazoo finds ours before its own.
	second, err := raw.Create(chroot+lockPath+"/"+strings.Repeat("00", 16)+"__lock__", nil,
		zk.FlagEphemeral|zk.FlagSequence, zk.WorldACL(zk.PermAll))
	must(t, err)
	if names := contenders(t, c); !strings.HasSuffix(second, names[len(names)-1]) {
		t.Errorf("the contenders are %q, the newest should be %s", names, second)
	}
	unlock()
	unlockAgain, err := c.Lock(shortly(t), lockPath)
	wantKind(t, err, store.Conflict)
	if unlockAgain != nil {
		t.Error("an error and an unlock function")
	}
}

func TestCancelledLockLeavesNothing(t *testing.T) {
	c := openShared(t)
	unlock, err := c.Lock(within(t), lockPath)
	must(t, err)
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			_, err := c.Lock(shortly(t), lockPath)
			// On a busy machine the time may be over before ZooKeeper has told.
			if store.KindOf(err) != store.Conflict && !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v", err)
			}
		})
	}
	wg.Wait()
	awaitContenders(t, c, 1)
	unlock()
	awaitContenders(t, c, 0)
}

// Unlocking works after the context that locked has ended.
func TestUnlockAfterContext(t *testing.T) {
	c := openShared(t)
	ctx, cancel := context.WithCancel(t.Context())
	unlock, err := c.Lock(ctx, lockPath)
	must(t, err)
	cancel()
	unlock()
	if left := contenders(t, c); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// The contender in the middle of the queue loses its session: it must not be
// forgotten, and it must not let the ones behind it pass.
func TestLockSurvivesExpiry(t *testing.T) {
	server := devtest.ZooKeeper(t)
	other := open(t, config(t, server.Addr()))
	proxy := proxied(t, server.Addr())
	cfg := config(t, proxy.Addr())
	cfg.SessionTimeout = time.Second
	c, r := openObserved(t, cfg)

	unlock, err := other.Lock(within(t), lockPath)
	must(t, err)
	locked := make(chan func())
	go func() {
		unlock, err := c.Lock(within(t), lockPath)
		if err != nil {
			t.Error(err)
		}
		locked <- unlock
	}()
	waiting := awaitContenders(t, other, 2)[1]
	proxy.Stall()
	awaitContenders(t, other, 1)
	restore(t, proxy)
	r.awaitSessions(t, "new disconnected expired new")
	again := awaitContenders(t, other, 2)[1]
	if again == waiting || again[:32] != waiting[:32] {
		t.Errorf("the contender was %s, and is %s", waiting, again)
	}
	unlock()
	unlock = <-locked

	// Whoever loses the session that holds the lock must not block others.
	proxy.Stall()
	theirs, err := other.Lock(within(t), lockPath)
	must(t, err)
	restore(t, proxy)
	unlock()
	if names := contenders(t, other); len(names) != 1 {
		t.Errorf("contenders: %q", names)
	}
	theirs()
	awaitContenders(t, other, 0)
}

// The answer to the creation of our znode is lost with the connection: it is
// found again, and no second one is made.
func TestLostAnswers(t *testing.T) {
	addr := devtest.SharedZooKeeper(t)
	cfg := config(t, addr)
	other := open(t, cfg)
	var lose atomic.Int32 // the kind of request to lose the answer to
	var lost atomic.Int32
	var proxy *frameProxy
	var mu sync.Mutex // guards numbers
	numbers := map[int32]bool{}
	proxy = startFrameProxy(t, cfg.Servers[0], func(packet []byte) bool {
		if opcode(packet) == lose.Load() && lose.CompareAndSwap(opcode(packet), 0) {
			mu.Lock()
			numbers[xid(packet)] = true
			mu.Unlock()
		}
		return true
	}, func(packet []byte) bool {
		mu.Lock()
		defer mu.Unlock()
		if !numbers[xid(packet)] {
			return true
		}
		delete(numbers, xid(packet))
		lost.Add(1)
		proxy.breakAll()
		return false
	})
	cfg.Servers = []string{proxy.addr()}
	c := open(t, cfg)
	must(t, c.Create(within(t), lockPath, nil))

	lose.Store(opCreate)
	unlock, err := c.Lock(within(t), lockPath)
	must(t, err)
	if names := contenders(t, other); len(names) != 1 || lost.Load() != 1 {
		t.Fatalf("%d answers were lost; contenders: %q", lost.Load(), names)
	}
	lose.Store(opDelete)
	unlock()
	awaitContenders(t, other, 0)
	if lost.Load() != 2 {
		t.Fatalf("%d answers were lost", lost.Load())
	}

	// Other writes report that they don't know. Reads are repeated.
	lose.Store(opCreate)
	wantKind(t, c.Create(within(t), "/x", []byte("data")), store.Unavailable)
	lose.Store(opGetData)
	wantData(t, c, "/x", "data")
	lose.Store(opCreate)
	wantKind(t, c.CreateEphemeral(within(t), "/member", []byte("m")), store.Unavailable)
	must(t, c.CreateEphemeral(within(t), "/member", []byte("m"))) // it was made then
	if lost.Load() != 5 {
		t.Fatalf("%d answers were lost", lost.Load())
	}
}

// A contender whose caller has left before the server answered.
func TestAbandonedLockLeavesNothing(t *testing.T) {
	server := devtest.ZooKeeper(t)
	c := open(t, config(t, server.Addr()))
	must(t, c.Create(within(t), lockPath, nil))
	must(t, server.Pause())
	for range 5 {
		_, err := c.Lock(shortly(t), lockPath)
		wantKind(t, err, store.Unavailable)
	}
	must(t, server.Resume())
	unlock, err := c.Lock(within(t), lockPath) // comes after all of those
	must(t, err)
	awaitContenders(t, c, 1)
	unlock()
}

func TestUnlockWhileDisconnected(t *testing.T) {
	addr := devtest.SharedZooKeeper(t)
	cfg := config(t, addr)
	other := open(t, cfg)
	proxy := proxied(t, cfg.Servers[0])
	cfg.Servers = []string{proxy.Addr()}
	c, r := openObserved(t, cfg)
	unlock, err := c.Lock(within(t), lockPath)
	must(t, err)
	proxy.Cut()
	r.awaitSessions(t, "new disconnected")
	unlock()
	if n := len(contenders(t, other)); n != 1 {
		t.Fatalf("%d contenders while disconnected", n)
	}
	restore(t, proxy)
	awaitContenders(t, other, 0)
}

func TestContenderNames(t *testing.T) {
	c := openShared(t)
	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() {
			unlock, err := c.Lock(within(t), lockPath)
			if err != nil {
				t.Error(err)
				return
			}
			unlock()
		})
	}
	wg.Wait()
	unlock, err := c.Lock(within(t), lockPath)
	must(t, err)
	defer unlock()
	id, _, _ := strings.Cut(contenders(t, c)[0], "__")
	if raw, err := hex.DecodeString(id); err != nil || raw[6]>>4 != 4 {
		t.Errorf("%s is no version 4 UUID: %v", id, err)
	}
}
