package rig

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"sync"
	"time"

	"github.com/go-zookeeper/zk"
	"golang.org/x/sync/errgroup"

	"github.com/kingpinfs/kingpin/store"
)

// The bare programs are the baselines: what anybody would write who wants the
// contents and nothing else. No validation, no state, no files, no retries.

const (
	roleWatch = "bare-watch"
	roleLoad  = "bare-load"
	roleIdle  = "bare-idle"
)

// watchBare is a role: a watch on one config's znode, and a GET at each change.
// It prints a sighting of each content.
func watchBare(ctx context.Context, args []string, out io.Writer) error {
	znode := args[3]
	size, err := strconv.Atoi(args[4])
	if err != nil {
		return err
	}
	session, s3, err := connectBare(ctx, args)
	if err != nil {
		return err
	}
	defer session.close()
	defer s3.close()
	for {
		version, _, changed, err := session.conn.GetW(znode)
		if err != nil {
			return err
		}
		content, err := s3.get(ctx, store.Ref{Path: znode}.Key(store.Version(version)))
		if err != nil {
			return err
		}
		at := monotonic()
		n, whole := numberOf(content, size)
		if !whole {
			return fmt.Errorf("object of %q at version %s is damaged", znode, version)
		}
		if _, err := fmt.Fprintln(out, n, at); err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
}

// connectBare connects to the servers that a role's first arguments name.
func connectBare(ctx context.Context, places []string) (*ZooKeeper, *objects, error) {
	s3, err := openObjects(ctx, places[1], places[2])
	if err != nil {
		return nil, nil, err
	}
	session, err := connectZooKeeper(ctx, places[0])
	return session, s3, err
}

// bareWorkers is how many requests the bare loader has under way: as many as the
// monitor.
const bareWorkers = 32

// Loaded is what a bare loader has loaded.
type Loaded struct {
	Configs, Serversets, Endpoints int
}

// LoadBare loads a fleet in a process of its own, and returns what there was, and
// how long it took from executing the process to having it all.
func (r *Rig) LoadBare(ctx context.Context, f *Fleet) (loaded Loaded, took time.Duration, err error) {
	start := monotonic()
	var answer loadAnswer
	err = askRole(ctx, roleLoad, &answer, r.places(f.Dependency)...)
	return answer.Loaded, Duration(answer.At - start), err
}

// loadAnswer is what the role prints.
type loadAnswer struct {
	Loaded Loaded
	At     int64 // on the monotonic clock
}

// loadBare is a role: it reads what a dependency lists, with watches, as a
// program must that is to stay current, keeps it in memory, and ends.
func loadBare(ctx context.Context, args []string, out io.Writer) error {
	session, s3, err := connectBare(ctx, args)
	if err != nil {
		return err
	}
	// Not closed: it would take the server time that isn't measured with the
	// monitor, which is ready with its session open.
	l := &bareLoader{conn: session.conn, s3: s3, contents: map[string][]byte{}, members: map[string][]string{}}
	names, _, _, err := l.conn.ChildrenW(dependencyRoot + "/" + args[3])
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(bareWorkers)
	for _, name := range names {
		group.Go(func() error { return l.load(ctx, name) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	at := monotonic()
	loaded := Loaded{Configs: len(l.contents), Serversets: len(l.members)}
	for _, members := range l.members {
		loaded.Endpoints += len(members)
	}
	return tell(out, loadAnswer{loaded, at})
}

type bareLoader struct {
	conn *zk.Conn
	s3   *objects

	mu       sync.Mutex // guards the rest
	contents map[string][]byte
	members  map[string][]string
}

// load loads what a metaconfig tells of.
func (l *bareLoader) load(ctx context.Context, name string) error {
	text, err := l.value(ctx, metaconfigRoot+"/"+name)
	if err != nil {
		return err
	}
	var told []metaconfigObject
	if err := json.Unmarshal(text, &told); err != nil {
		return fmt.Errorf("reading metaconfig %q: %w", name, err)
	}
	for _, o := range told {
		if o.Type == "serverset" {
			members, _, _, err := l.conn.ChildrenW(o.ZKPath)
			if err != nil {
				return err
			}
			l.mu.Lock()
			l.members[o.ZKPath] = members
			l.mu.Unlock()
			continue
		}
		content, err := l.value(ctx, o.ZKPath)
		if err != nil {
			return err
		}
		l.mu.Lock()
		l.contents[o.ZKPath] = content
		l.mu.Unlock()
	}
	return nil
}

// value reads a pointer and the object that it names.
func (l *bareLoader) value(ctx context.Context, znode string) ([]byte, error) {
	version, _, _, err := l.conn.GetW(znode)
	if err != nil {
		return nil, fmt.Errorf("reading znode %q: %w", znode, err)
	}
	return l.s3.get(ctx, store.Ref{Path: znode}.Key(store.Version(version)))
}

// Idle is a client that does nothing but keep its session, in a process of its
// own.
type Idle struct{ process *child }

// StartIdle starts one. Stop must be called if there is no error.
func (r *Rig) StartIdle(ctx context.Context, c Config) (*Idle, error) {
	up := make(chan struct{}, 1)
	p, err := startRole(ctx, roleIdle, func(string) { up <- struct{}{} }, r.server.Addr(), c.Path())
	if err != nil {
		return nil, err
	}
	select {
	case <-up:
		return &Idle{p}, nil
	case <-p.done:
		return nil, p.ended()
	}
}

// PID returns the client's process.
func (i *Idle) PID() int { return i.process.pid() }

// Stop ends the client.
func (i *Idle) Stop() error { return i.process.finish() }

// idleBare is a role: a session with one watch.
func idleBare(ctx context.Context, args []string, out io.Writer) error {
	session, err := connectZooKeeper(ctx, args[0])
	if err != nil {
		return err
	}
	defer session.close()
	if _, _, _, err := session.conn.GetW(args[1]); err != nil {
		return err
	}
	if _, err := fmt.Fprintln(out, "up"); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}
