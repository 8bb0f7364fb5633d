package devcluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Ensemble is several ZooKeeper servers that replicate one tree. Its methods
// must not be called concurrently.
type Ensemble struct {
	members   []*ZooKeeper
	dir       string
	temporary bool
}

// StartEnsemble starts n servers and returns when all of them answer. cfg.Dir
// gets a directory for each, named 1 to n. The caller must call Stop.
func StartEnsemble(ctx context.Context, n int, cfg ZooKeeperConfig) (*Ensemble, error) {
	dir, temporary, err := serverDir(cfg.Dir, "kingpin-ensemble-")
	if err != nil {
		return nil, fmt.Errorf("starting a ZooKeeper ensemble: %w", err)
	}
	e := &Ensemble{dir: dir, temporary: temporary}
	if err := e.start(ctx, n, cfg); err != nil {
		return nil, fmt.Errorf("starting a ZooKeeper ensemble: %w", errors.Join(err, e.Stop(context.Background())))
	}
	return e, nil
}

func (e *Ensemble) start(ctx context.Context, n int, cfg ZooKeeperConfig) error {
	// Timeouts of the election's first steps are counted in ticks; a short
	// tick must not make them fail on a busy machine.
	servers := map[string]string{"initLimit": "100", "syncLimit": "50"}
	for id := 1; id <= n; id++ {
		cfg.Dir = filepath.Join(e.dir, strconv.Itoa(id))
		z, err := newZooKeeper(cfg)
		if err != nil {
			return err
		}
		e.members = append(e.members, z)
		peer, err := FreePort()
		if err != nil {
			return err
		}
		election, err := FreePort()
		if err != nil {
			return err
		}
		servers["server."+strconv.Itoa(id)] = fmt.Sprintf("127.0.0.1:%d:%d", peer, election)
	}
	for i, z := range e.members {
		if err := z.writeConfig(servers); err != nil {
			return err
		}
		myid := filepath.Join(z.dir, "data", "myid")
		if err := os.WriteFile(myid, []byte(strconv.Itoa(i+1)+"\n"), 0o644); err != nil {
			return err
		}
		if err := z.launch(); err != nil {
			return err
		}
	}
	for _, z := range e.members {
		if err := z.awaitServing(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Members returns the servers. Each may be killed, paused and restarted by
// itself; Restart returns when it serves, which takes a majority.
func (e *Ensemble) Members() []*ZooKeeper { return e.members }

// Addr returns the members' addresses as "127.0.0.1:port,127.0.0.1:port,…".
func (e *Ensemble) Addr() string {
	addrs := make([]string, len(e.members))
	for i, z := range e.members {
		addrs[i] = z.Addr()
	}
	return strings.Join(addrs, ",")
}

// Stop ends all members, and removes the directory if it is a temporary one.
func (e *Ensemble) Stop(ctx context.Context) error {
	var errs []error
	for _, z := range e.members {
		errs = append(errs, z.Stop(ctx))
	}
	if e.temporary {
		errs = append(errs, os.RemoveAll(e.dir))
	}
	return errors.Join(errs...)
}
