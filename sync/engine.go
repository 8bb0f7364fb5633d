package sync

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/singleflight"

	"github.com/kingpinfs/kingpin/metaconfig"
	"github.com/kingpinfs/kingpin/store"
)

// ZooKeeper is what the engine needs of a ZooKeeper client. After a watched
// read the client calls Engine.ZnodeChanged when the answer may have become
// wrong. *zkconn.Conn implements it.
type ZooKeeper interface {
	// GetWatched returns a znode's data. After NotFound the watch is for its
	// creation.
	GetWatched(ctx context.Context, path string) ([]byte, store.Stat, error)
	// ChildrenWatched returns the names of a znode's children. After NotFound
	// the watch is for its creation.
	ChildrenWatched(ctx context.Context, path string) ([]string, store.Stat, error)
	// Sync makes the reads that follow at least as new as the ensemble was
	// when it was called.
	Sync(ctx context.Context, path string) error
}

// Contents fetches the content of a version. *store.Store implements it.
type Contents interface {
	// GetVersion returns the value at a version. The engine keeps its content.
	GetVersion(ctx context.Context, ref store.Ref, v store.Version) (store.Value, error)
}

// Entry is one version of one file.
type Entry struct {
	Content []byte    // never modified after it is handed over
	ModTime time.Time // changes exactly when Content does
	Version string    // a config's version; a serverset's zxid, in decimal
	ZKPath  string
}

// Status is what may change of a file without a new version.
type Status struct {
	State    State
	SyncedAt time.Time // when what is served was last known to be current
	Err      string    // why it isn't, in one line; "" if it is
}

// Sink is where files go. Calls for one file come one at a time; calls for
// different files come concurrently.
type Sink interface {
	// Read returns what an earlier process left of a file.
	Read(t metaconfig.Type, name string) ([]byte, error)
	// Adopt serves, as e, what Read returned.
	Adopt(t metaconfig.Type, name string, e Entry)
	// Publish serves e from now on. After an error the file is what it was.
	Publish(t metaconfig.Type, name string, e Entry) error
	// Remove ends serving a file. It is no error if there is none.
	Remove(t metaconfig.Type, name string) error
	// SetStatus says how a served file stands.
	SetStatus(t metaconfig.Type, name string, s Status)
	// Flush makes what has been published survive a power failure.
	Flush() error
}

// Config is what an Engine is made of. The fields down to StateDir are
// required.
type Config struct {
	// Dependencies are the box's own dependencies. base.dep is loaded beside
	// them where it exists.
	Dependencies []string
	ZooKeeper    ZooKeeper
	Contents     Contents
	Sink         Sink
	StateDir     string

	// Resync is how long until everything is read again without a reason.
	// 0 means 30 minutes; each interval is varied by a tenth.
	Resync time.Duration
	// SessionSpread is the time over which everything is read again after the
	// session expired, so that not all boxes ask at once. 0 means 5 seconds.
	SessionSpread time.Duration
	// ServersetHold is how long a suspicious serverset is held back.
	// 0 means 5 minutes.
	ServersetHold time.Duration
	// FetchTimeout bounds one attempt to fetch a content. 0 means 30 seconds.
	FetchTimeout time.Duration
	// Workers is how many items are worked on at once. 0 means 32.
	Workers int
	Logger  *slog.Logger
}

func (c *Config) setDefaults() {
	setDefault(&c.Resync, 30*time.Minute)
	setDefault(&c.SessionSpread, 5*time.Second)
	setDefault(&c.ServersetHold, 5*time.Minute)
	setDefault(&c.FetchTimeout, 30*time.Second)
	setDefault(&c.Workers, 32)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// baseDependency is loaded by every monitor, where it exists.
const baseDependency = "base.dep"

// Engine keeps the subscriptions of a box current. Create it with New, give it
// its past with Restore, start it with Run. The other methods are safe for
// concurrent use.
type Engine struct {
	cfg     Config
	log     *slog.Logger
	queue   *queue
	journal *journal
	flights singleflight.Group
	stats   Stats

	flushNow chan struct{} // one slot: something has been published since the last flush
	ready    chan struct{} // closed when the first load is done

	mu         sync.Mutex // guards all below, and the fields of all items
	items      map[key]*item
	byPath     map[string][]key
	unsettled  int // wanted items whose first load isn't over
	isReady    bool
	connected  bool
	everSeen   bool // a session has been had
	lostTimer  *time.Timer
	failing    map[key]store.Kind // wanted items whose last attempt failed
	s3Failures int                // fetches in a row, of any file, that didn't get through to S3
	resynced   time.Time
}

// Stats counts what the engine does. All counters only grow.
type Stats struct {
	Notifications   atomic.Int64 // watch events that concerned an item
	Reads           atomic.Int64 // znodes read
	Fetches         atomic.Int64 // objects fetched
	FetchErrors     atomic.Int64 // objects that could not be fetched
	Published       atomic.Int64 // versions published
	PublishErrors   atomic.Int64 // versions that the sink refused
	InvalidMembers  atomic.Int64 // serverset members that name no endpoint, each time one is read
	HeldServersets  atomic.Int64 // suspicious lists held back
	StateErrors     atomic.Int64 // records that could not be saved
	WorkerPanics    atomic.Int64 // attempts that ended in a panic
	SessionsExpired atomic.Int64 // ZooKeeper sessions lost
}

// New returns an engine that does nothing yet.
func New(cfg Config) *Engine {
	cfg.setDefaults()
	return &Engine{
		cfg:      cfg,
		log:      cfg.Logger,
		queue:    newQueue(),
		flushNow: make(chan struct{}, 1),
		ready:    make(chan struct{}),
		items:    map[key]*item{},
		byPath:   map[string][]key{},
		failing:  map[key]store.Kind{},
	}
}

// Run works until ctx is done, and then returns nil once all work has ended.
// Restore must have been called.
func (e *Engine) Run(ctx context.Context) error {
	if e.journal == nil {
		return errors.New("the engine has not been restored")
	}
	stop := context.AfterFunc(ctx, e.queue.Close)
	defer stop()
	var group errgroup.Group
	for range e.cfg.Workers {
		group.Go(func() error { e.work(ctx); return nil })
	}
	group.Go(func() error { e.flushLoop(ctx); return nil })
	group.Go(func() error { e.resyncLoop(ctx); return nil })
	e.startGraph()
	err := group.Wait()
	e.mu.Lock()
	if e.lostTimer != nil {
		e.lostTimer.Stop()
	}
	e.mu.Unlock()
	return errors.Join(err, e.journal.Close())
}

// Ready is closed when everything that can be served is served for the first
// time: everything has been read, and what could not be fetched has been tried.
func (e *Engine) Ready() <-chan struct{} { return e.ready }

// ZnodeChanged says that the data or the children of a znode may have changed.
// It doesn't block.
func (e *Engine) ZnodeChanged(path string) {
	now := time.Now()
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, k := range e.byPath[path] {
		it := e.items[k]
		it.notified = now
		e.stats.Notifications.Add(1)
		it.hurryFetch()
		e.queue.AddAfter(k, it.politeness())
	}
}

// politeness is how long a change waits before it is read, so that the boxes
// that serve a large file don't all ask S3 at once. mu must be held.
func (it *item) politeness() time.Duration {
	if !it.wanted || !it.key.isFile() || it.serving.isZero() {
		return 0
	}
	if wait := it.sub().MaxWait; wait > 0 {
		return rand.N(wait)
	}
	return 0
}

// Reread reads a znode again now, whether or not it seems to have changed. It
// reports whether anything is subscribed to it.
func (e *Engine) Reread(path string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, k := range e.byPath[path] {
		e.queue.Add(k)
	}
	return len(e.byPath[path]) > 0
}

// Resync reads everything again, spread over the given time.
func (e *Engine) Resync(spread time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.resynced = time.Now()
	for k := range e.items {
		e.queue.AddAfter(k, jitter(spread))
	}
}

func jitter(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return rand.N(d)
}

// work does what the queue says until it is closed.
func (e *Engine) work(ctx context.Context) {
	for {
		k, ok := e.queue.Get()
		if !ok {
			return
		}
		e.attempt(ctx, k)
		e.queue.Done(k)
	}
}

// attempt brings one item up to date, once.
func (e *Engine) attempt(ctx context.Context, k key) {
	e.mu.Lock()
	it := e.items[k]
	if it != nil {
		it.parked = it.wanted && !e.connected
	}
	idle := it == nil || it.parked
	e.mu.Unlock()
	if idle || ctx.Err() != nil {
		return
	}
	err := e.bringUpToDate(ctx, it)
	if ctx.Err() != nil {
		return // what failed failed because of the shutdown
	}
	e.conclude(it, err)
}

func (e *Engine) bringUpToDate(ctx context.Context, it *item) (err error) {
	defer func() {
		if p := recover(); p != nil {
			e.stats.WorkerPanics.Add(1)
			err = fmt.Errorf("a defect of the monitor: %v", p)
			e.log.Error("panic while reading; please report it", "item", it.key.name, "panic", p)
		}
	}()
	e.mu.Lock()
	wanted := it.wanted
	e.mu.Unlock()
	if !wanted {
		return e.retire(it)
	}
	switch it.key.kind {
	case dependencyItem:
		return e.syncDependency(ctx, it)
	case metaconfigItem:
		return e.syncMetaconfig(ctx, it)
	case configItem:
		return e.syncConfig(ctx, it)
	default:
		return e.syncServerset(ctx, it)
	}
}

// resyncLoop reads everything again from time to time: the cure for whatever
// else went wrong.
func (e *Engine) resyncLoop(ctx context.Context) {
	for {
		interval := e.cfg.Resync - e.cfg.Resync/10 + jitter(e.cfg.Resync/5)
		select {
		case <-ctx.Done():
			return
		case <-time.After(interval):
			e.Resync(min(interval/10, 5*time.Minute))
		}
	}
}

// flushDelay is how long published versions may be lost to a power failure.
const flushDelay = time.Second

// flushLoop makes what has been published durable, a moment later and many at
// once: a disk flush for each would make a cold start take minutes.
func (e *Engine) flushLoop(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.flushNow:
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(flushDelay):
		}
		// The contents first: a record must not survive what it speaks of.
		if err := errors.Join(e.cfg.Sink.Flush(), e.journal.Sync()); err != nil {
			e.stats.StateErrors.Add(1)
			e.log.Warn("what is served now may not survive a power failure", "error", err)
		}
	}
}

// save appends a record. Serving goes on if it can't be saved: an old state on
// disk only matters at the next start. mu must not be held.
func (e *Engine) save(r record) {
	if err := e.journal.Append(r); err != nil {
		if e.stats.StateErrors.Add(1) == 1 {
			e.log.Warn("the state can't be saved: after a restart older content is served until ZooKeeper and S3 answer; free or mend the state directory",
				"state_dir", e.cfg.StateDir, "error", err)
		}
		return
	}
	select {
	case e.flushNow <- struct{}{}:
	default:
	}
}

// records yields what must survive a restart.
func (e *Engine) records() iter.Seq[record] {
	return func(yield func(record) bool) {
		e.mu.Lock()
		defer e.mu.Unlock()
		for _, it := range e.items {
			if r, ok := it.record(); ok && !yield(r) {
				return
			}
		}
	}
}

// record returns what must be known of the item at the next start. mu must be
// held.
func (it *item) record() (record, bool) {
	r := record{Kind: recordKind(it.key.kind), Name: it.key.name}
	switch it.key.kind {
	case dependencyItem:
		r.Members, r.Zxid = it.members, it.zxid
		return r, it.zxid != 0
	case metaconfigItem:
		r.Version, r.Content, r.Zxid = string(it.version), it.content, it.zxid
		return r, it.version != ""
	}
	switch {
	case it.pending != nil && it.serving.isZero():
		r.File = newFileRecord(it.pending)
	case it.pending != nil:
		r.File, r.Prev = newFileRecord(it.pending), newFileRecord(&it.serving)
	case it.serving.isZero():
		return r, false
	default:
		r.File = newFileRecord(&it.serving)
	}
	if it.guard != nil {
		r.Held = it.guard.State().Held
	}
	return r, true
}

func recordKind(k kind) string {
	switch k {
	case dependencyItem:
		return recordDependency
	case metaconfigItem:
		return recordMetaconfig
	case configItem:
		return recordConfig
	default:
		return recordServerset
	}
}

// AcceptServerset serves the list of a held serverset, by file name, at once.
// It returns an error if there is no such serverset or nothing is held.
func (e *Engine) AcceptServerset(name string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	it := e.items[key{serversetItem, name}]
	switch {
	case it == nil || !it.wanted:
		return fmt.Errorf("this box doesn't serve a serverset %q: see kingpin status", name)
	case !it.held:
		return fmt.Errorf("nothing is held back of serverset %q", name)
	}
	it.accepted = append([]string{}, it.guard.State().Held.Endpoints...)
	e.queue.Add(it.key)
	return nil
}
