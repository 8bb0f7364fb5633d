package rig

import (
	"context"
	"errors"
	"fmt"
	"path"
	"time"

	"github.com/go-zookeeper/zk"
	"golang.org/x/sync/errgroup"
)

// sessionTimeout is the monitor's, so that a bare client pings as often.
const sessionTimeout = 10 * time.Second

// everybody may do everything, as with the znodes of every fleet.
var everybody = zk.WorldACL(zk.PermAll)

// ZooKeeper is a session of the plain client library.
type ZooKeeper struct {
	conn   *zk.Conn
	events <-chan zk.Event
}

// connectZooKeeper opens a session. It must be closed.
func connectZooKeeper(ctx context.Context, addr string) (*ZooKeeper, error) {
	conn, events, err := zk.Connect([]string{addr}, sessionTimeout, zk.WithLogger(quiet{}))
	if err != nil {
		return nil, fmt.Errorf("connecting to ZooKeeper at %s: %w", addr, err)
	}
	z := &ZooKeeper{conn, events}
	for {
		select {
		case event := <-events:
			if event.State == zk.StateHasSession {
				return z, nil
			}
		case <-ctx.Done():
			z.close()
			return nil, fmt.Errorf("connecting to ZooKeeper at %s: %w", addr, ctx.Err())
		}
	}
}

// close ends the session and waits until the client's goroutines are gone.
func (z *ZooKeeper) close() {
	z.conn.Close()
	for open := true; open; {
		_, open = <-z.events
	}
}

// create makes a persistent znode, and those above it that are missing.
func (z *ZooKeeper) create(znode, data string) error {
	_, err := z.conn.Create(znode, []byte(data), 0, everybody)
	if errors.Is(err, zk.ErrNoNode) {
		if err := z.create(path.Dir(znode), ""); err != nil && !errors.Is(err, zk.ErrNodeExists) {
			return err
		}
		_, err = z.conn.Create(znode, []byte(data), 0, everybody)
	}
	if err != nil {
		return fmt.Errorf("creating znode %q: %w", znode, err)
	}
	return nil
}

// Set replaces a znode's data.
func (z *ZooKeeper) Set(znode, data string) error {
	if _, err := z.conn.Set(znode, []byte(data), -1); err != nil {
		return fmt.Errorf("setting znode %q: %w", znode, err)
	}
	return nil
}

// createAll makes znodes whose parents are there, many at a time.
func (z *ZooKeeper) createAll(ctx context.Context, all []*zk.CreateRequest) error {
	const (
		batch   = 400 // a request must stay below a megabyte
		atATime = 4
	)
	var group errgroup.Group
	group.SetLimit(atATime)
	for len(all) > 0 && ctx.Err() == nil {
		part := all[:min(batch, len(all))]
		all = all[len(part):]
		group.Go(func() error {
			operations := make([]any, len(part))
			for i, r := range part {
				operations[i] = r
			}
			if _, err := z.conn.Multi(operations...); err != nil {
				return fmt.Errorf("creating %d znodes from %q on: %w", len(part), part[0].Path, err)
			}
			return nil
		})
	}
	return errors.Join(group.Wait(), context.Cause(ctx))
}

// quiet drops the client library's log lines.
type quiet struct{}

// Printf implements zk.Logger.
func (quiet) Printf(string, ...any) {}
