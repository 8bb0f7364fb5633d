package sync

import (
	"context"
	"errors"
	"time"

	"github.com/kingpinfs/kingpin/store"
)

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

// outdatedGrace is how long a download may go on when a newer version is known:
// one that is about to succeed is better finished.
const outdatedGrace = time.Second

// fetchContent downloads a version's content. Items that need the same object
// at the same time share one download.
func (e *Engine) fetchContent(ctx context.Context, it *item, ref store.Ref, v store.Version) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, e.cfg.FetchTimeout)
	defer cancel()
	e.mu.Lock()
	it.fetch = &fetching{cancel: cancel, patient: it.gaveUp}
	e.mu.Unlock()
	shared, err, _ := e.flights.Do(ref.Key(v), func() (any, error) {
		e.stats.Fetches.Add(1)
		value, err := e.cfg.Contents.GetVersion(ctx, ref, v)
		return value.Content, err
	})
	content, _ := shared.([]byte)
	e.mu.Lock()
	it.gaveUp = it.fetch.outdated
	it.fetch = nil
	e.mu.Unlock()
	if err != nil {
		e.stats.FetchErrors.Add(1)
	}
	if !errors.Is(err, context.Canceled) {
		e.noteFetch(err)
	}
	if err != nil {
		return nil, fetchError{err}
	}
	return content, nil
}

// hurryFetch sees to it that a download that a newer version has made pointless
// doesn't hold up that version: it gets a moment to end. But never twice in a
// row, or a value that changes faster than it can be downloaded would never
// arrive. mu must be held.
func (it *item) hurryFetch() {
	if f := it.fetch; f != nil && !f.outdated && !f.patient {
		f.outdated = true
		time.AfterFunc(outdatedGrace, f.cancel)
	}
}
