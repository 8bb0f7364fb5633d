package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	kpfs "github.com/kingpinfs/kingpin/fs"
	"github.com/kingpinfs/kingpin/internal/devcluster"
	"github.com/kingpinfs/kingpin/internal/devcluster/devtest"
	"github.com/kingpinfs/kingpin/store"
	kpsync "github.com/kingpinfs/kingpin/sync"
)

// servers are real ones, with a network between that can fail. Boxes share them.
type servers struct {
	zookeeper, s3 *devcluster.Proxy
	fleet         *fleet // past the proxies
}

// startServers makes a fleet of a few values, all of which box.dep asks for.
func startServers(t *testing.T) *servers {
	t.Helper()
	zookeeper, s3 := devtest.ZooKeeper(t), devtest.S3(t)
	s := &servers{}
	for proxy, target := range map[**devcluster.Proxy]string{
		&s.zookeeper: zookeeper.Addr(), &s.s3: strings.TrimPrefix(s3.Endpoint(), "http://"),
	} {
		var err error
		if *proxy, err = devcluster.StartProxy(target); err != nil {
			t.Fatal(err)
		}
		t.Cleanup((*proxy).Close)
	}
	a := &app{stderr: t.Output(), log: slog.New(slog.DiscardHandler)}
	var err error
	s.fleet, err = a.openFleet(t.Context(), &fleetOptions{
		ZooKeeper: zookeeperOptions{Servers: zookeeper.Addr()}, S3: s3Options{Bucket: devtest.Bucket, Endpoint: s3.Endpoint()},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.fleet.close)
	if _, err := s.fleet.metaconfigs().CreateDependency(t.Context(), "box.dep"); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"x", "y_json", "never_written"} {
		s.create(t, "test", key)
	}
	s.create(t, "admin", "decider")
	s.put(t, "config.manageddata.test.x", "x1")
	s.put(t, "config.manageddata.test.y_json", "{}")
	s.put(t, deciderConfig, `{"old": 1}`)
	return s
}

// create creates a config and gives it to all boxes.
func (s *servers) create(t *testing.T, domain, key string) {
	t.Helper()
	created, err := s.fleet.metaconfigs().CreateConfig(t.Context(), domain, key, store.Write{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.fleet.metaconfigs().AddMember(t.Context(), "box.dep", created.Subscription.Metaconfig); err != nil {
		t.Fatal(err)
	}
}

// put publishes as somebody elsewhere does.
func (s *servers) put(t *testing.T, file, content string) store.Version {
	t.Helper()
	value, err := s.fleet.configs().Put(t.Context(), file, []byte(content), store.Write{})
	if err != nil {
		t.Fatal(err)
	}
	return value.Version
}

// get returns what the fleet has.
func (s *servers) get(t *testing.T, file string) store.Value {
	t.Helper()
	value, err := s.fleet.configs().Get(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// writingBox is a machine that writes: a worker without a holder.
type writingBox struct {
	*worker
	t    *testing.T
	logs *logBuffer
}

// logBuffer keeps the JSON lines of a log. It is safe for concurrent use.
type logBuffer struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

func (b *logBuffer) Write(line []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(line)
}

// about returns the lines with a message.
func (b *logBuffer) about(t *testing.T, message string) []map[string]any {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	var lines []map[string]any
	for line := range strings.Lines(b.text.String()) {
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			t.Fatal(err)
		}
		if fields["msg"] == message {
			lines = append(lines, fields)
		}
	}
	return lines
}

// startBox starts a box whose volumes are plain, and returns when it serves what
// the fleet has.
func startBox(t *testing.T, s *servers) *writingBox {
	t.Helper()
	dir := t.TempDir()
	b := &writingBox{t: t, logs: &logBuffer{}}
	log := slog.New(slog.NewJSONHandler(b.logs, nil))
	sink := openSink(t, dir)
	b.worker = &worker{
		hello: &hello{}, log: log, link: &link{},
		options: &monitorOptions{
			Fleet: fleetOptions{
				ZooKeeper: zookeeperOptions{Servers: s.zookeeper.Addr()},
				S3:        s3Options{Bucket: devtest.Bucket, Endpoint: "http://" + s.s3.Addr()},
			},
			Dependencies: []string{"box.dep"}, ConfigDir: filepath.Join(dir, "config"), StateDir: filepath.Join(dir, "state"),
			MaxContent: 1 << 20,
		},
		configs: &served{Volume: sink.configs}, serversets: &served{Volume: sink.serversets},
		writer: newConfigWriter("/var/config", stagePatience, log),
	}
	if err := b.connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.disconnect)
	if err := b.zk.Open(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.engine.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	select {
	case <-b.engine.Ready():
	case <-time.After(stagePatience):
		t.Fatalf("the box isn't ready: %+v", b.engine.Snapshot())
	}
	return b
}

// change is what this process does to a file, as it is served now.
func (b *writingBox) change(name, content string) kpfs.Change {
	e, _, _ := b.configs.Get(name)
	return kpfs.Change{
		Name: name, Content: []byte(content), Base: e.Version,
		Caller: kpfs.Caller{UID: uint32(os.Getuid()), GID: uint32(os.Getgid()), PID: uint32(os.Getpid())},
	}
}

// write changes a file, which is served as it was written when that returns.
func (b *writingBox) write(name, content string) kpfs.Entry {
	b.t.Helper()
	counted := b.writer.counts()[published]
	e, err := b.writer.Write(b.t.Context(), b.change(name, content))
	if err != nil {
		b.t.Fatalf("writing %q: %v", name, err)
	}
	if n := b.writer.counts()[published] - counted; n != 1 {
		b.t.Errorf("it was counted %d times", n)
	}
	if got, status, ok := b.configs.Get(name); !ok || string(got.Content) != string(e.Content) || got.Version != e.Version || !got.ModTime.Equal(e.ModTime) || status.State != string(kpsync.Fresh) {
		b.t.Errorf("written is %+v, served is %+v, %+v (%v)", e, got, status, ok)
	}
	return e
}

// refuse makes a change that must fail.
func (b *writingBox) refuse(c kpfs.Change, want syscall.Errno) {
	b.t.Helper()
	before, _, _ := b.configs.Get(c.Name)
	outcome := unix.ErrnoName(want)
	counted := b.writer.counts()[outcome]
	_, err := b.writer.Write(b.t.Context(), c)
	var errno syscall.Errno
	if !errors.As(err, &errno) || errno != want {
		b.t.Errorf("writing %q: %v (%v), want %v", c.Name, errno, err, want)
	}
	if n := b.writer.counts()[outcome] - counted; n != 1 {
		b.t.Errorf("%s was counted %d times", outcome, n)
	}
	if after, _, _ := b.configs.Get(c.Name); string(after.Content) != string(before.Content) && string(after.Content) == string(c.Content) {
		b.t.Errorf("%q is served as %+v after a write that failed", c.Name, after)
	}
}

// failSoon makes a change that must fail after it has waited in vain. Others may
// take their time: this machine may be slow.
func (b *writingBox) failSoon(c kpfs.Change, want syscall.Errno) {
	b.t.Helper()
	patient := b.writer
	b.writer = newConfigWriter(patient.dir, 500*time.Millisecond, patient.log)
	b.writer.start(patient.parts)
	b.refuse(c, want)
	b.writer = patient
}

const (
	changedMessage = "changed through the mount"
	refusedMessage = "a change through the mount was refused or failed"
)

func TestWriter(t *testing.T) {
	s := startServers(t)
	b := startBox(t, s)
	const x, y, never = "config.manageddata.test.x", "config.manageddata.test.y_json", "config.manageddata.test.never_written"

	t.Run("configs", func(t *testing.T) {
		b.t = t
		fetches := b.engine.Stats().Fetches.Load()
		e := b.write(x, "x2")
		if value := s.get(t, x); string(value.Content) != "x2" || string(value.Version) != e.Version || e.Order != value.Stat.Mzxid {
			t.Errorf("the fleet has %+v, written was %+v", value, e)
		}
		b.write(x, "x3")
		first := b.write(never, "first\x00")
		if first.Version == "" || first.ZKPath != "/config/manageddata/test/never_written" {
			t.Errorf("the first version is %+v", first)
		}
		b.write(y, `{"a": 1}`)
		b.write(deciderConfig, `{"old": 1, "mapped": 7}`)
		if e, _, ok := b.configs.Get("decider/mapped"); !ok || string(e.Content) != "7\n" {
			t.Errorf("a decider in the map is served as %+v (%v)", e, ok)
		}
		// The watches have spoken of all of it when they speak of this.
		elsewhere := s.put(t, x, "elsewhere")
		awaitServed(t, b, x, elsewhere)
		if n := b.engine.Stats().Fetches.Load() - fetches; n != 1 {
			t.Errorf("%d objects were fetched, of which one was written elsewhere", n)
		}
	})

	t.Run("history", func(t *testing.T) {
		b.t = t
		b.write(x, "x4")
		history, err := s.fleet.configs().History(t.Context(), x, 1)
		if err != nil {
			t.Fatal(err)
		}
		me := identify(kpfs.Caller{UID: uint32(os.Getuid()), PID: uint32(os.Getpid())})
		host, _ := os.Hostname()
		if got := history[0]; got.Author != me.user+"@"+host || got.Comment != "through /var/config by "+me.command || me.command == "" {
			t.Errorf("the history has %+v", got)
		}
	})

	t.Run("deciders", func(t *testing.T) {
		b.t = t
		b.write("decider/new", "50\n")
		e := b.write("decider/new", " 60")
		if string(e.Content) != "60\n" {
			t.Errorf("the content became %q", e.Content)
		}
		same := b.write("decider/new", "60\n")
		if same.Version != e.Version || !same.ModTime.Equal(e.ModTime) {
			t.Errorf("%+v became %+v though nothing changed", e, same)
		}
		old, _, _ := b.configs.Get("decider/old")
		b.write("decider/another", "1")
		if still, _, _ := b.configs.Get("decider/old"); !still.ModTime.Equal(old.ModTime) {
			t.Errorf("another decider changed with it: %+v became %+v", old, still)
		}
		c := b.change("decider/new", "")
		c.Locked = true
		if err := b.writer.Remove(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		if got := string(s.get(t, deciderConfig).Content); got != `{"another": 1, "mapped": 7, "old": 1}` {
			t.Errorf("the deciders are %s", got)
		}
		awaitServed(t, b, deciderConfig, s.get(t, deciderConfig).Version)
		if e, _, ok := b.configs.Get("decider/new"); ok {
			t.Errorf("what was removed is served as %+v", e)
		}
	})

	t.Run("two boxes set deciders at once", func(t *testing.T) {
		b.t = t
		boxes := []*writingBox{b, startBox(t, s)}
		var all errgroup.Group
		const each = 5
		for i, box := range boxes {
			all.Go(func() error {
				for j := range each {
					name := fmt.Sprintf("decider/box%d_%d", i, j)
					if _, err := box.writer.Write(t.Context(), box.change(name, "42\n")); err != nil {
						return err
					}
					if e, _, ok := box.configs.Get(name); !ok || string(e.Content) != "42\n" {
						return fmt.Errorf("%s is served as %+v (%v) after it was written", name, e, ok)
					}
				}
				return nil
			})
		}
		if err := all.Wait(); err != nil {
			t.Fatal(err)
		}
		value := s.get(t, deciderConfig)
		for i := range boxes {
			for j := range each {
				if want := fmt.Sprintf(`"box%d_%d": 42`, i, j); !strings.Contains(string(value.Content), want) {
					t.Errorf("%s is lost: %s", want, value.Content)
				}
			}
		}
		for _, box := range boxes {
			awaitServed(t, box, deciderConfig, value.Version)
		}
	})

	t.Run("conflicts", func(t *testing.T) {
		b.t = t
		stale := b.change(x, "mine")
		newer := s.put(t, x, "somebody else's")
		b.refuse(stale, syscall.ESTALE)
		awaitServed(t, b, x, newer)
		b.write(x, "mine")
		created := kpfs.Change{Name: x, Content: []byte("created anew")}
		b.refuse(created, syscall.ESTALE)
		if got := string(s.get(t, x).Content); got != "mine" {
			t.Errorf("the fleet has %q", got)
		}
		unlock, err := s.fleet.znodes.Lock(t.Context(), "/config/manageddata/test/x.lock")
		if err != nil {
			t.Fatal(err)
		}
		defer unlock()
		b.failSoon(b.change(x, "locked out"), syscall.EBUSY)
	})

	t.Run("what isn't valid", func(t *testing.T) {
		b.t = t
		for _, content := range []string{"101", "-1", "1e3", "fifty", "", "\x00\x00", "5\n5\n"} {
			b.refuse(b.change("decider/old", content), syscall.EINVAL)
			b.refuse(b.change("decider/never_set", content), syscall.EINVAL)
		}
		b.refuse(b.change("decider/Upper", "50\n"), syscall.EINVAL)
		for _, name := range []string{"decider/.x.tmp", "decider/x~", "decider/#x", "decider/x.swp"} {
			b.refuse(b.change(name, "50\n"), syscall.EPERM)
			if err := b.writer.Accepts(name); !errors.Is(err, syscall.EPERM) {
				t.Errorf("%s: %v", name, err)
			}
		}
		for _, name := range []string{x, never, "decider/old", "decider/never_set"} {
			if err := b.writer.Accepts(name); err != nil || b.writer.AtOnce(name) != strings.HasPrefix(name, "decider/") {
				t.Errorf("%s: %v, at once: %v", name, err, b.writer.AtOnce(name))
			}
		}
		b.refuse(b.change(y, `{"secret": `), syscall.EINVAL)
		b.refuse(b.change(x, ""), syscall.EINVAL)
		b.refuse(b.change(x, strings.Repeat("s", 1<<20+1)), syscall.EFBIG)
		b.refuse(b.change(deciderConfig, `{"a": 101}`), syscall.EINVAL)
		b.refuse(b.change("config.manageddata.test.unknown", "x"), syscall.EPERM)
		b.refuse(b.change("README", "x"), syscall.EPERM)
		if err := b.writer.Remove(t.Context(), b.change(x, "")); !errors.Is(err, syscall.EPERM) {
			t.Errorf("removing a config: %v", err)
		}
		for _, line := range b.logs.about(t, refusedMessage) {
			for name, value := range line {
				if strings.Contains(fmt.Sprint(value), "secret") || strings.Contains(fmt.Sprint(value), "fifty") {
					t.Errorf("the log has content in %s: %v", name, value)
				}
			}
		}
	})

	t.Run("logs", func(t *testing.T) {
		b.t = t
		changed, refused := len(b.logs.about(t, changedMessage)), len(b.logs.about(t, refusedMessage))
		e := b.write("decider/old", "2")
		b.refuse(b.change("decider/old", "fifty"), syscall.EINVAL)
		c := b.change(y, "[")
		c.Caller = kpfs.Caller{UID: 54321, GID: 7}
		b.refuse(c, syscall.EINVAL)
		changes, refusals := b.logs.about(t, changedMessage)[changed:], b.logs.about(t, refusedMessage)[refused:]
		if len(changes) != 1 || len(refusals) != 2 {
			t.Fatalf("logged are %v and %v", changes, refusals)
		}
		wantFields(t, changes[0], map[string]any{
			"level": "INFO", "name": "decider/old", "operation": "write", "version": e.Version, "uid": float64(os.Getuid()), "gid": float64(os.Getgid()),
			"pid": float64(os.Getpid()), "bytes": 1.0,
		})
		wantFields(t, refusals[0], map[string]any{
			"level": "WARN", "name": "decider/old", "errno": "EINVAL", "kind": "invalid", "pid": float64(os.Getpid()),
			"error": "reading a decider: invalid: want a whole number from 0 to 100",
		})
		wantFields(t, refusals[1], map[string]any{
			"name": y, "errno": "EINVAL", "uid": 54321.0, "gid": 7.0, "user": "uid:54321", "pid": 0.0, "command": "",
			"error": `checking the content of "` + y + `": invalid: line 1, column 2; ` + "`kingpin config put` tells more",
		})
	})

	t.Run("a pointer that was removed", func(t *testing.T) {
		b.t = t
		c := b.change(never, "again")
		b.engine.Resync(time.Hour) // nothing is read meanwhile but what the watch says
		if err := s.fleet.store.Delete(t.Context(), store.Ref{Path: "/config/manageddata/test/never_written"}); err != nil {
			t.Fatal(err)
		}
		if _, err := b.writer.Write(t.Context(), c); !errors.Is(err, syscall.ENOENT) {
			t.Errorf("the error is %v", err)
		}
	})

	t.Run("backends away", func(t *testing.T) {
		b.t = t
		restore := func(p *devcluster.Proxy) {
			t.Helper()
			if err := p.Restore(); err != nil {
				t.Fatal(err)
			}
		}
		s.s3.Cut()
		b.refuse(b.change(x, "without S3"), syscall.EREMOTEIO)
		b.refuse(b.change("decider/old", "3"), syscall.EREMOTEIO)
		restore(s.s3)
		s.s3.Stall()
		b.failSoon(b.change(x, "without S3"), syscall.EREMOTEIO)
		restore(s.s3)
		b.write(x, "with S3")

		s.zookeeper.Stall()
		b.failSoon(b.change(x, "ZooKeeper is slow"), syscall.ETIMEDOUT)
		restore(s.zookeeper)
		b.write(x, "ZooKeeper isn't slow")

		s.zookeeper.Cut()
		b.failSoon(b.change(x, "without ZooKeeper"), syscall.EHOSTUNREACH)
		b.failSoon(b.change("decider/old", "3"), syscall.EHOSTUNREACH)
		// It is known to be away by now: who locks a directory doesn't wait, or
		// the test would take long.
		locked := b.change("decider/old", "3")
		locked.Locked = true
		if _, err := b.writer.Write(t.Context(), locked); !errors.Is(err, syscall.EHOSTUNREACH) {
			t.Errorf("the error is %v", err)
		}
		restore(s.zookeeper)
		if err := b.zk.WaitConnected(t.Context()); err != nil {
			t.Fatal(err)
		}
		b.write(x, "with ZooKeeper")
	})
}

func wantFields(t *testing.T, line map[string]any, want map[string]any) {
	t.Helper()
	for name, value := range want {
		if line[name] != value {
			t.Errorf("%s is %v, want %v, in %v", name, line[name], value, line)
		}
	}
}

// awaitServed waits until a box serves a version of a config.
func awaitServed(t *testing.T, b *writingBox, name string, version store.Version) {
	t.Helper()
	timeout := time.After(stagePatience)
	for {
		if e, _, ok := b.configs.Get(name); ok && store.Version(e.Version).Compare(version) >= 0 {
			return
		}
		select {
		case <-time.After(waitPoll):
		case <-timeout:
			t.Fatalf("version %s of %q isn't served", version, name)
		}
	}
}

// A process that has ended, and one that has a name of its own.
func TestIdentify(t *testing.T) {
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := uint32(cmd.Process.Pid)
	id := identify(kpfs.Caller{UID: 0, PID: pid})
	if id.command != "sleep" || id.user != "root" {
		t.Errorf("it is %+v", id)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if id := identify(kpfs.Caller{UID: 4_000_000_000, PID: pid}); id.command != "" || id.user != "uid:4000000000" {
		t.Errorf("who has ended is %+v", id)
	}
}

func TestErrnoOf(t *testing.T) {
	of := func(kind store.Kind, errs ...error) error {
		return &store.Error{Op: "testing", Subject: "it", Kind: kind, Err: errors.Join(errs...)}
	}
	for _, test := range []struct {
		err, ended error
		away       bool
		want       syscall.Errno
	}{
		{err: of(store.Invalid), want: syscall.EINVAL},
		{err: of(store.TooLarge), want: syscall.EFBIG},
		{err: of(store.Conflict), want: syscall.ESTALE},
		{err: of(store.Conflict), ended: context.DeadlineExceeded, want: syscall.EBUSY},
		{err: of(store.Exists), want: syscall.ESTALE},
		{err: of(store.Denied), want: syscall.EACCES},
		{err: s3Error{of(store.Denied)}, want: syscall.EACCES},
		{err: of(store.NotFound), want: syscall.ENOENT},
		{err: s3Error{of(store.NotFound)}, want: syscall.EREMOTEIO},
		{err: of(store.Unavailable), want: syscall.EHOSTUNREACH},
		{err: of(store.Unavailable), ended: context.DeadlineExceeded, want: syscall.ETIMEDOUT},
		{err: of(store.Unavailable), ended: context.DeadlineExceeded, away: true, want: syscall.EHOSTUNREACH},
		{err: of(store.Unavailable), ended: context.Canceled, want: syscall.EINTR},
		{err: s3Error{of(store.Unavailable, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED})}, want: syscall.EREMOTEIO},
		{err: s3Error{of(store.Unavailable)}, ended: context.DeadlineExceeded, want: syscall.EREMOTEIO},
		{err: of(store.Unavailable, store.ErrOutcomeUnknown), ended: context.DeadlineExceeded, want: syscall.EIO},
		{err: of(store.Unavailable, store.ErrOutcomeUnknown), ended: context.Canceled, away: true, want: syscall.EIO},
		{err: &writeError{syscall.EPERM, errors.New("mine")}, want: syscall.EPERM},
		{err: errors.New("whatever"), want: syscall.EIO},
	} {
		got := errnoOf(fmt.Errorf("writing: %w", test.err), test.ended, !test.away)
		if got != test.want {
			t.Errorf("%v (%v) is %v, want %v", test.err, test.ended, got, test.want)
		}
		// Whoever looks for an errno in it finds this one.
		var found syscall.Errno
		if !errors.As(&writeError{got, test.err}, &found) || found != got {
			t.Errorf("%v holds %v, want %v", test.err, found, got)
		}
	}
	for kind := store.Kind(1); !strings.HasPrefix(kind.Error(), "kind "); kind++ {
		if errnoOfKind[kind] == 0 {
			t.Errorf("no errno for %v", kind)
		}
	}
}
