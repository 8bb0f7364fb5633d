package integration

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/kingpinfs/kingpin/internal/devcluster"
	"github.com/kingpinfs/kingpin/internal/devcluster/devtest"
	"github.com/kingpinfs/kingpin/store"
)

const sharedLock = "/config/manageddata/" + sharedDomain + "/" + sharedKey + ".lock"

// awaitContenders waits until so many stand at the lock of the shared list, and
// returns their names.
func (f *fleet) awaitContenders(n int) (names []string) {
	f.t.Helper()
	await(f.t, fmt.Sprintf("%d contenders", n), func() error {
		if names = f.zk.children(sharedLock); len(names) != n {
			return fmt.Errorf("there are %q", names)
		}
		return nil
	})
	return names
}

// wantList checks what the shared list has.
func (f *fleet) wantList(entries ...string) {
	f.t.Helper()
	if got, want := f.run("list", "show", sharedList), strings.Join(entries, "\n"); got != want {
		f.t.Errorf("the list is %q, not %q", got, want)
	}
}

// shortSessions starts a ZooKeeper that gives nobody a session of more than two
// seconds, and a fleet on it and on an S3 server of the test's own.
func shortSessions(t testing.TB) (*devcluster.ZooKeeper, *devcluster.S3, *fleet) {
	t.Helper()
	zookeeper := devtest.ZooKeeperWith(t, devcluster.ZooKeeperConfig{
		TickTime: 200 * time.Millisecond, Settings: map[string]string{"maxSessionTimeout": "2000"},
	})
	s3, described := ownS3(t)
	f := newFleetOn(t, zookeeper.Addr(), described)
	f.newConfig(sharedDomain, sharedKey)
	return zookeeper, s3, f
}

// Who can't wait any longer for a lock that kazoo holds is told who holds it, and
// leaves nothing behind.
func TestWhoCannotWaitIsToldWhoHoldsTheLock(t *testing.T) {
	t.Parallel()
	f := newFleet(t, gofakes3)
	f.newConfig(sharedDomain, sharedKey)
	python := f.startPythonWriter(managedPath(sharedDomain, sharedKey))
	python.add("first")
	if answer := python.do("lock"); answer != "ok" {
		t.Fatalf("Python's lock: %q", answer)
	}
	holder := f.awaitContenders(1)[0]
	stored := f.s3.keys("")

	// Long enough to have met the lock by then.
	command := f.start("", "list", "add", sharedList, "second", "--timeout", "3s")
	p := f.startProgram(route{f.zkAddr, f.server.endpoint})
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	_, err := p.list.Add(ctx, store.Write{}, "third")
	code := command.wait()
	wantExit(t, result{stderr: command.stderr.String(), code: code}, 3, "conflict", "it is held by", holder, "not done within 3s")
	if store.KindOf(err) != store.Conflict || !strings.Contains(err.Error(), holder) {
		t.Errorf("a program that can't wait gets %v, which should name %q", err, holder)
	}

	if left := f.awaitContenders(1); left[0] != holder {
		t.Errorf("%q holds the lock, not %q", left[0], holder)
	}
	if now := f.s3.keys(""); len(now) != len(stored) {
		t.Errorf("objects are left: %q, before %q", now, stored)
	}
	if answer := python.do("unlock"); answer != "ok" {
		t.Fatalf("Python's unlock: %q", answer)
	}
	python.add("fourth")
	f.wantList("first", "fourth")
}

// Kazoo, if it waits, waits for ours.
func TestKazooWaitsForOurWriter(t *testing.T) {
	t.Parallel()
	server, described := ownS3(t)
	f := newFleetOn(t, devtest.SharedZooKeeper(t), described)
	f.newConfig(sharedDomain, sharedKey)
	python := f.startPythonWriter(managedPath(sharedDomain, sharedKey))
	python.add("first")
	release := holdWrites(server)
	defer release()
	ours := f.start("", "list", "add", sharedList, "ours")
	first := f.awaitContenders(1)[0]
	if _, err := fmt.Fprintln(python.in, "wait"); err != nil {
		t.Fatal(err)
	}
	if names := f.awaitContenders(2); lockHolder(t, names) != first {
		t.Errorf("of %q it isn't our %q that holds the lock", names, first)
	}
	release()
	if answer, err := python.answer(); err != nil || answer != "ok" {
		t.Fatalf("Python, which has waited: %q, %v", answer, err)
	}
	if code := ours.wait(); code != 0 {
		t.Errorf("our writer ended with %d", code)
	}
	f.wantList("first", "ours")
	python.do("unlock")
	python.add("theirs")
	f.wantList("first", "ours", "theirs")
}

// Kazoo's lock ends with its session, and ours goes on.
func TestLockOfADeadKazooIsFree(t *testing.T) {
	t.Parallel()
	_, _, f := shortSessions(t)
	python := f.startPythonWriter(managedPath(sharedDomain, sharedKey))
	python.add("theirs")
	if answer := python.do("lock"); answer != "ok" {
		t.Fatalf("Python's lock: %q", answer)
	}
	ours := f.start("", "list", "add", sharedList, "ours")
	f.awaitContenders(2)
	python.kill()
	if code := ours.wait(); code != 0 {
		t.Errorf("our writer ended with %d", code)
	}
	f.wantList("theirs", "ours")
	f.awaitContenders(0)
}

// Our lock ends with our session, which kazoo sees. What ours writes all the same
// when it is back takes nothing from what kazoo has written meanwhile.
func TestLockOfOursThatIsLost(t *testing.T) {
	t.Parallel()
	for _, by := range []string{"command", "program"} {
		t.Run(by, func(t *testing.T) {
			t.Parallel()
			zookeeper, s3, f := shortSessions(t)
			python := f.startPythonWriter(managedPath(sharedDomain, sharedKey))
			python.add("first")
			proxy := proxyTo(t, zookeeper.Addr())
			// Python's requests aren't signed.
			release := holdWritesOf(s3, func(r *http.Request) bool { return r.Header.Get("Authorization") != "" })
			defer release()
			ended := f.startAdding(by, route{proxy.Addr(), f.server.endpoint}, "ours")
			f.awaitContenders(1)
			if answer := python.do(`add "too early"`); answer != "locked" {
				t.Errorf("Python adds while we hold the lock: %q", answer)
			}
			proxy.Stall()
			f.awaitContenders(0)
			python.add("theirs")
			if err := proxy.Restore(); err != nil {
				t.Fatal(err)
			}
			release()
			if err := <-ended; err != nil {
				t.Errorf("ours ended with %v", err)
			}
			f.wantList("first", "theirs", "ours")
		})
	}
}

// startAdding adds an entry to the shared list, and tells how that ended.
func (f *fleet) startAdding(by string, way route, entry string) <-chan error {
	f.t.Helper()
	ended := make(chan error, 1)
	var w writer = &commander{f, way}
	if by == "program" {
		w = f.startProgram(way)
	}
	go func() {
		o, err := w.add([]string{entry})
		if err == nil && o.answer != done {
			err = fmt.Errorf("the outcome %v", o.answer)
		}
		ended <- err
	}()
	return ended
}
