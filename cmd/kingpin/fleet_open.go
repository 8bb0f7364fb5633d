package main

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/kingpinfs/kingpin/internal/s3blob"
	"github.com/kingpinfs/kingpin/internal/zkconn"
	"github.com/kingpinfs/kingpin/metaconfig"
	"github.com/kingpinfs/kingpin/store"
)

const (
	// connectTimeout is how long a command tries to reach ZooKeeper.
	connectTimeout = 10 * time.Second
	// commandTimeout is how long a command may take once it has, the wait for
	// somebody else's lock included, unless --timeout says otherwise.
	commandTimeout = time.Minute
	// patience is how long a person isn't told what takes so long.
	patience = time.Second
)

// fleet is a command's connection to the backends.
type fleet struct {
	znodes *zkconn.Conn
	blobs  *s3blob.Client // nil for a command that needs ZooKeeper alone
	store  *store.Store
}

// withFleet connects to both backends, calls f and disconnects. f's context
// ends when the command has taken too long.
func (a *app) withFleet(ctx context.Context, o *fleetOptions, f func(context.Context, *fleet) error) error {
	timeout, err := o.limit()
	if err != nil {
		return err
	}
	opened, err := a.openFleet(ctx, o)
	if err != nil {
		return err
	}
	return opened.use(ctx, timeout, f)
}

// withZooKeeper is withFleet for commands that need no S3.
func (a *app) withZooKeeper(ctx context.Context, o *fleetOptions, f func(context.Context, *fleet) error) error {
	timeout, err := o.limit()
	if err != nil {
		return err
	}
	opened, err := a.openZooKeeper(ctx, o)
	if err != nil {
		return err
	}
	return opened.use(ctx, timeout, f)
}

// limit returns how long a command may take. Its errors are of usage.
func (o *fleetOptions) limit() (time.Duration, error) {
	if o.timeout < 0 {
		return 0, usagef("--timeout %v: want a time above 0, as 90s or 5m", o.timeout)
	}
	return cmp.Or(o.timeout, commandTimeout), nil
}

func (f *fleet) use(ctx context.Context, timeout time.Duration, do func(context.Context, *fleet) error) error {
	defer f.close()
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("not done within %v", timeout))
	defer cancel()
	return do(ctx, f)
}

// openFleet connects to ZooKeeper, and makes ready to talk to S3. The caller
// must call close.
func (a *app) openFleet(ctx context.Context, o *fleetOptions) (*fleet, error) {
	blobs, err := o.S3.open(ctx, 0, a.log)
	if err != nil {
		return nil, err
	}
	f, err := a.openZooKeeper(ctx, o)
	if err != nil {
		blobs.Close()
		return nil, err
	}
	f.blobs = blobs
	f.store = store.New(f.znodes, blobs, store.Options{})
	return f, nil
}

// openZooKeeper connects to ZooKeeper alone: what needs S3 fails. The caller
// must call close.
func (a *app) openZooKeeper(ctx context.Context, o *fleetOptions) (*fleet, error) {
	config, err := o.ZooKeeper.config(a.log)
	if err != nil {
		return nil, err
	}
	conn := zkconn.New(config)
	if err := conn.Open(); err != nil {
		return nil, err
	}
	if err := a.awaitZooKeeper(ctx, conn, config.Servers); err != nil {
		conn.Close()
		return nil, err
	}
	return &fleet{znodes: conn, store: store.New(conn, nil, store.Options{})}, nil
}

// awaitZooKeeper waits until ZooKeeper answers. A person at the terminal is
// told what takes so long.
func (a *app) awaitZooKeeper(ctx context.Context, conn *zkconn.Conn, servers []string) error {
	if isTerminal(a.stderr) {
		notice := time.AfterFunc(patience, func() {
			fmt.Fprintf(a.stderr, "kingpin: connecting to ZooKeeper at %s …\n", strings.Join(servers, ", "))
		})
		defer notice.Stop()
	}
	ctx, cancel := context.WithTimeoutCause(ctx, connectTimeout, fmt.Errorf("no server answered within %v", connectTimeout))
	defer cancel()
	return conn.WaitConnected(ctx)
}

// metaconfigs reads and writes the fleet's metaconfigs and dependencies.
func (f *fleet) metaconfigs() *metaconfig.Client { return metaconfig.NewClient(f.store, f.znodes) }

func (f *fleet) close() {
	f.znodes.Close()
	if f.blobs != nil {
		f.blobs.Close()
	}
}
