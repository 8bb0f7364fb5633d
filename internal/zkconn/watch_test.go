package zkconn_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/kingpinfs/kingpin/internal/devcluster"
	"github.com/kingpinfs/kingpin/internal/devcluster/devtest"
	"github.com/kingpinfs/kingpin/internal/zkconn"
	"github.com/kingpinfs/kingpin/store"
)

// openObserved opens a client and returns what it reports to.
func openObserved(t testing.TB, cfg zkconn.Config) (*zkconn.Conn, *recorder) {
	t.Helper()
	r := newRecorder()
	cfg.Observer = r
	return open(t, cfg), r
}

func TestDataWatch(t *testing.T) {
	addr := devtest.SharedZooKeeper(t)
	writer, ctx := open(t, config(t, addr)), within(t)
	c, r := openObserved(t, config(t, addr))
	must(t, writer.Create(ctx, "/x", []byte("0")))

	for i := 1; i <= 3; i++ {
		// Each read sees what the change before wrote, and arms one watch
		// however often it is repeated.
		for range 10 {
			data, _, err := c.GetWatched(ctx, "/x")
			must(t, err)
			if want := fmt.Sprint(i - 1); string(data) != want {
				t.Fatalf("read %q, want %q", data, want)
			}
		}
		if n := c.Status().Watches; n != 1 {
			t.Fatalf("%d watches are armed", n)
		}
		_, err := writer.Set(ctx, "/x", []byte(fmt.Sprint(i)), store.AnyVersion)
		must(t, err)
		r.awaitChange(t, "/x", i)
	}
	// The last change fired the watch, and nobody has read since.
	_, err := writer.Set(ctx, "/x", nil, store.AnyVersion)
	must(t, err)
	_, _, err = c.GetWatched(ctx, "/x")
	must(t, err)
	must(t, writer.Delete(ctx, "/x", store.AnyVersion))
	r.awaitChange(t, "/x", 4)
	if n := r.changes("/x"); n != 4 {
		t.Errorf("%d changes were reported, want 4", n)
	}
}

func TestChildWatch(t *testing.T) {
	addr := devtest.SharedZooKeeper(t)
	writer, ctx := open(t, config(t, addr)), within(t)
	c, r := openObserved(t, config(t, addr))
	must(t, writer.Create(ctx, "/d", nil))
	want := []string{}
	for i := range 5 {
		for range 3 {
			names, stat, err := c.ChildrenWatched(ctx, "/d")
			must(t, err)
			if !slices.Equal(names, want) || int(stat.NumChildren) != len(want) {
				t.Fatalf("read %q, %+v; want %q", names, stat, want)
			}
		}
		name := fmt.Sprintf("child-%d", i)
		want = append(want, name)
		must(t, writer.Create(ctx, "/d/"+name, nil))
		r.awaitChange(t, "/d", i+1)
	}
	// What a child holds is none of the parent's business.
	_, _, err := c.ChildrenWatched(ctx, "/d")
	must(t, err)
	_, _, err = c.GetWatched(ctx, "/d/child-0")
	must(t, err)
	_, err = writer.Set(ctx, "/d/child-0", []byte("x"), store.AnyVersion)
	must(t, err)
	r.awaitChange(t, "/d/child-0", 1)
	must(t, writer.Delete(ctx, "/d/child-0", store.AnyVersion))
	r.awaitChange(t, "/d", 6)
}

func TestWatchForCreation(t *testing.T) {
	addr := devtest.SharedZooKeeper(t)
	writer, ctx := open(t, config(t, addr)), within(t)
	c, r := openObserved(t, config(t, addr))
	for i := range 3 {
		for range 5 {
			_, _, err := c.GetWatched(ctx, "/later")
			wantKind(t, err, store.NotFound)
			_, _, err = c.ChildrenWatched(ctx, "/later")
			wantKind(t, err, store.NotFound)
		}
		if n := c.Status().Watches; n != 1 {
			t.Fatalf("%d watches are armed", n)
		}
		must(t, writer.Create(ctx, "/later", []byte("x")))
		r.awaitChange(t, "/later", 3*i+1)

		_, _, err := c.ChildrenWatched(ctx, "/later")
		must(t, err)
		must(t, writer.Create(ctx, "/later/child", nil))
		r.awaitChange(t, "/later", 3*i+2)

		data, _, err := c.GetWatched(ctx, "/later")
		if err != nil || string(data) != "x" {
			t.Fatalf("read %q, %v", data, err)
		}
		must(t, writer.Delete(ctx, "/later/child", store.AnyVersion))
		must(t, writer.Delete(ctx, "/later", store.AnyVersion))
		r.awaitChange(t, "/later", 3*i+3)
	}
}

// Whatever the interleaving, who reads after the last hint has the last value.
func TestNoChangeIsMissed(t *testing.T) {
	addr := devtest.SharedZooKeeper(t)
	writer, ctx := open(t, config(t, addr)), within(t)
	c, r := openObserved(t, config(t, addr))
	must(t, writer.Create(ctx, "/x", []byte("0")))
	const changes = 500
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 1; i <= changes; i++ {
			if _, err := writer.Set(ctx, "/x", []byte(fmt.Sprint(i)), store.AnyVersion); err != nil {
				t.Error(err)
			}
		}
	})
	for range 4 {
		wg.Go(func() {
			for ctx.Err() == nil {
				heard := r.changes("/x")
				data, _, err := c.GetWatched(ctx, "/x")
				if err != nil {
					t.Error(err)
					return
				}
				if string(data) == fmt.Sprint(changes) {
					return
				}
				r.awaitChange(t, "/x", heard+1)
			}
		})
	}
	wg.Wait()
}

func TestWatchesSurviveAReconnect(t *testing.T) {
	addr := devtest.SharedZooKeeper(t)
	cfg := config(t, addr)
	writer, ctx := open(t, cfg), within(t)
	proxy := proxied(t, cfg.Servers[0])
	cfg.Servers = []string{proxy.Addr()}
	cfg.Logger = nil
	c, r := openObserved(t, cfg)

	// 1,000 long paths make several packets of watches.
	const n = 1000
	path := func(i int) string { return fmt.Sprintf("/w/%s-%04d", strings.Repeat("x", 200), i) }
	each := func(do func(i int) error) {
		t.Helper()
		work := make(chan int)
		var wg sync.WaitGroup
		for range 16 {
			wg.Go(func() {
				for i := range work {
					if err := do(i); err != nil {
						t.Error(err)
					}
				}
			})
		}
		for i := range n {
			work <- i
		}
		close(work)
		wg.Wait()
	}
	each(func(i int) error {
		if i%3 == 2 {
			return nil // not there yet
		}
		return writer.Create(ctx, path(i), nil)
	})
	each(func(i int) error {
		var err error
		if i%3 == 0 {
			_, _, err = c.GetWatched(ctx, path(i))
		} else {
			_, _, err = c.ChildrenWatched(ctx, path(i))
		}
		if i%3 == 2 && store.KindOf(err) == store.NotFound {
			err = nil
		}
		return err
	})
	change := func(i int) error {
		switch i % 3 {
		case 0:
			_, err := writer.Set(ctx, path(i), []byte("changed"), store.AnyVersion)
			return err
		case 1:
			return writer.Create(ctx, path(i)+"/child", nil)
		default:
			return writer.Create(ctx, path(i), nil)
		}
	}

	// Half of the changes come while we are away, half after.
	proxy.Cut()
	r.awaitSessions(t, "new disconnected")
	each(func(i int) error {
		if i >= n/2 {
			return nil
		}
		return change(i)
	})
	restore(t, proxy)
	r.awaitSessions(t, "new disconnected same")
	for i := range n / 2 {
		r.awaitChange(t, path(i), 1)
	}
	each(func(i int) error {
		if i < n/2 {
			return nil
		}
		return change(i)
	})
	for i := range n {
		r.awaitChange(t, path(i), 1)
		if got := r.changes(path(i)); got != 1 {
			t.Fatalf("%d changes of %s were reported, want 1", got, path(i))
		}
	}
	if left := c.Status().Watches; left != 0 {
		t.Errorf("%d watches are left of those that fired", left)
	}
	r.awaitSessions(t, "new disconnected same")
}

// Answers to requests that waited for the connection must not hide earlier
// changes from the watches, which the library sets again with "whatever is
// newer than the last answer". (TestAnswersWait in wire_test.go does it slowly.)
func TestQueuedRequestsHideNoChange(t *testing.T) {
	addr := devtest.SharedZooKeeper(t)
	cfg := config(t, addr)
	cfg.Logger = nil
	writer, ctx := open(t, cfg), within(t)
	proxy := proxied(t, cfg.Servers[0])
	cfg.Servers = []string{proxy.Addr()}
	c, r := openObserved(t, cfg)
	const watched, rounds = 200, 3
	path := func(i int) string { return fmt.Sprintf("/w/%03d", i) }
	for i := range watched {
		must(t, writer.Create(ctx, path(i), nil))
	}
	for round := 1; round <= rounds; round++ {
		for i := range watched {
			_, _, err := c.GetWatched(ctx, path(i))
			must(t, err)
		}
		var wg sync.WaitGroup
		stop := make(chan struct{})
		for range 30 { // some of these wait for the connection
			wg.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					if _, _, err := c.Get(ctx, "/"); err != nil && store.KindOf(err) != store.Unavailable {
						t.Error(err)
						return
					}
				}
			})
		}
		proxy.Cut()
		for i := range watched {
			_, err := writer.Set(ctx, path(i), []byte("x"), store.AnyVersion)
			must(t, err)
		}
		restore(t, proxy)
		for i := range watched {
			r.awaitChange(t, path(i), round)
		}
		close(stop)
		wg.Wait()
	}
}

// A watch whose event never arrives is noticed by the next read.
func TestLostWatchIsFoundByTheNextRead(t *testing.T) {
	addr := devtest.SharedZooKeeper(t)
	cfg := config(t, addr)
	writer, ctx := open(t, cfg), within(t)
	var swallow atomic.Bool
	var swallowed atomic.Int32
	proxy := startFrameProxy(t, cfg.Servers[0], all, func(packet []byte) bool {
		if swallow.Load() && xid(packet) == xidEvent {
			swallowed.Add(1)
			return false
		}
		return true
	})
	cfg.Servers = []string{proxy.addr()}
	var log bytes.Buffer
	cfg.Logger = storingLogger(&log)
	c, r := openObserved(t, cfg)

	must(t, writer.Create(ctx, "/data", nil))
	must(t, writer.Create(ctx, "/children", nil))
	must(t, writer.Create(ctx, "/deleted", nil))
	read := func() (paths []string) {
		for _, path := range []string{"/data", "/deleted", "/created"} {
			if _, _, err := c.GetWatched(ctx, path); err == nil {
				paths = append(paths, path)
			} else if store.KindOf(err) != store.NotFound {
				t.Fatal(err)
			}
		}
		names, _, err := c.ChildrenWatched(ctx, "/children")
		must(t, err)
		return append(paths, names...)
	}
	change := func(created, deleted, child string) {
		_, err := writer.Set(ctx, "/data", []byte("new"), store.AnyVersion)
		must(t, err)
		must(t, writer.Create(ctx, created, nil))
		must(t, writer.Delete(ctx, deleted, store.AnyVersion))
		must(t, writer.Create(ctx, child, nil))
		must(t, c.Sync(ctx, "/")) // its answer comes after the events
	}

	if got := read(); !slices.Equal(got, []string{"/data", "/deleted"}) {
		t.Fatalf("read %q", got)
	}
	swallow.Store(true)
	change("/created", "/deleted", "/children/one")
	swallow.Store(false)
	if swallowed.Load() != 4 || len(r.reported()) != 0 {
		t.Fatalf("%d events were swallowed, %q reported", swallowed.Load(), r.reported())
	}
	// The next read sees the change, and arms new watches.
	if got := read(); !slices.Equal(got, []string{"/data", "/created", "one"}) {
		t.Fatalf("read %q", got)
	}
	change("/deleted", "/created", "/children/two")
	for _, path := range []string{"/data", "/created", "/deleted", "/children"} {
		r.awaitChange(t, path, 1)
	}
	c.Close()
	if n := strings.Count(log.String(), "watch was lost"); n != 4 {
		t.Errorf("%d lost watches were logged, want 4", n)
	}
}

// A server that refuses to set the watches again, here because it takes small
// packets only, must not leave us with watches that never fire: the session is
// given up, and the observer told to read everything again.
func TestWatchesThatCannotBeSetAgainEndTheSession(t *testing.T) {
	server := devtest.ZooKeeperWith(t, devcluster.ZooKeeperConfig{
		JVM: []string{"-Djute.maxbuffer=8192"},
	})
	writer, ctx := open(t, config(t, server.Addr())), within(t)
	cfg := config(t, server.Addr())
	proxy := proxied(t, server.Addr())
	cfg.Servers = []string{proxy.Addr()}
	c, r := openObserved(t, cfg)
	const n = 300
	path := func(i int) string { return fmt.Sprintf("/%s-%03d", strings.Repeat("x", 50), i) }
	readAll := func() {
		t.Helper()
		for i := range n {
			_, _, err := c.GetWatched(ctx, path(i))
			must(t, err)
		}
	}
	for i := range n {
		must(t, writer.Create(ctx, path(i), nil))
	}
	readAll()
	before := c.Status().Session
	proxy.Break()
	r.await(t, "a new session", func() bool { return strings.HasSuffix(r.sessionText(), "disconnected expired new") })
	if after := c.Status().Session; after == before || after == "" {
		t.Errorf("the session was %q and is %q", before, after)
	}
	readAll()
	for i := range n {
		_, err := writer.Set(ctx, path(i), []byte("x"), store.AnyVersion)
		must(t, err)
	}
	for i := range n {
		r.awaitChange(t, path(i), 1)
	}
}
