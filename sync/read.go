package sync

import (
	"context"
	"errors"
	"time"

	"github.com/kingpinfs/kingpin/store"
)

// zkTimeout bounds the exchange with a ZooKeeper server that we are connected
// to.
const zkTimeout = 10 * time.Second

// pointer is what a pointer's znode says.
type pointer struct {
	data []byte
	stat store.Stat
}

// readPointer reads a znode and leaves a watch on it. An answer that is older
// than what we know, or that denies what we know, may come from a server that
// lags behind; then it is asked again once that has caught up.
func (e *Engine) readPointer(ctx context.Context, path string, knownZxid int64) (pointer, error) {
	return readNewest(ctx, e, path, knownZxid, func(ctx context.Context) (pointer, int64, error) {
		data, stat, err := e.cfg.ZooKeeper.GetWatched(ctx, path)
		return pointer{data, stat}, stat.Mzxid, err
	})
}

// readChildren does the same for a znode's children.
func (e *Engine) readChildren(ctx context.Context, path string, knownZxid int64) ([]string, store.Stat, error) {
	type answer struct {
		names []string
		stat  store.Stat
	}
	a, err := readNewest(ctx, e, path, knownZxid, func(ctx context.Context) (answer, int64, error) {
		names, stat, err := e.cfg.ZooKeeper.ChildrenWatched(ctx, path)
		return answer{names, stat}, stat.Pzxid, err
	})
	return a.names, a.stat, err
}

func readNewest[T any](ctx context.Context, e *Engine, path string, knownZxid int64, read func(context.Context) (T, int64, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, zkTimeout)
	defer cancel()
	e.stats.Reads.Add(1)
	answer, zxid, err := read(ctx)
	gone := store.KindOf(err) == store.NotFound
	if err == nil || gone {
		e.passed(StageZooKeeper)
	}
	if knownZxid == 0 || err == nil && zxid >= knownZxid || err != nil && !gone {
		return answer, err
	}
	if err := e.cfg.ZooKeeper.Sync(ctx, path); err != nil {
		return answer, err
	}
	e.stats.Reads.Add(1)
	answer, _, err = read(ctx)
	return answer, err
}

// catchUp makes the reads that follow at least as new as what an earlier process
// may have served of a file whose version isn't known. Once a session is enough:
// within one, neither server nor client goes back.
func (e *Engine) catchUp(ctx context.Context, now *view) error {
	e.mu.Lock()
	session, done := e.sessions, e.caughtUp == e.sessions
	e.mu.Unlock()
	if !now.unknown || done {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, zkTimeout)
	defer cancel()
	if err := e.cfg.ZooKeeper.Sync(ctx, now.sub.ZKPath); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.caughtUp = max(e.caughtUp, session)
	return nil
}

// olderError says that the ensemble as a whole knows less than we serve.
func olderError(path string) error {
	return &store.Error{Op: "reading", Subject: path, Kind: store.Invalid,
		Err: errors.New("ZooKeeper has an older version than the one served, as after a restore from a backup; publish the value again to serve it")}
}

func parsePointer(path string, data []byte) (store.Version, error) {
	if len(data) == 0 {
		return "", nil
	}
	v, err := store.ParseVersion(string(data))
	if err != nil {
		return "", &store.Error{Op: "reading pointer", Subject: path, Kind: store.Invalid, Err: err}
	}
	return v, nil
}
