package sync

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/singleflight"
	"golang.org/x/time/rate"

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
	// Version is a config's version, or a serverset's zxid in decimal. It is ""
	// as long as it isn't known of a file that an earlier process left; then
	// ZKPath is, too.
	Version string
	ZKPath  string
	// Order is greater in newer versions of the same name. 0 is unknown: the one
	// published later is the newer.
	Order int64
}

// Status is what may change of a file without a new version.
type Status struct {
	State    State
	SyncedAt time.Time // when what is served was last known to be current
	Err      string    // why it isn't, in one line; "" if it is
}

// Sink is where files go. Calls for one file come one at a time, but for
// SetStatus, which may come beside any other; calls for different files come
// concurrently. A Sink must not call the Engine.
type Sink interface {
	// Leftovers returns the names of all that lies in the place of the files of
	// a type, or that readers see, and has been neither adopted nor published
	// nor removed. Not all of it need be files that Read can read.
	Leftovers(t metaconfig.Type) []string
	// Serves says whether readers see a file. They do before it is adopted, if
	// its mount has outlived the process that served it.
	Serves(t metaconfig.Type, name string) bool
	// Read returns what an earlier process left of a file, with the time that
	// stat shows; an error that is io/fs.ErrNotExist if it left nothing.
	Read(t metaconfig.Type, name string) (content []byte, modTime time.Time, err error)
	// Adopt serves, as e, what Read returned, or gives what is served another
	// version: neither writes its content.
	Adopt(t metaconfig.Type, name string, e Entry)
	// Disown ends serving a file and leaves what Read returned of it as it is:
	// it becomes one of the leftovers.
	Disown(t metaconfig.Type, name string)
	// Publish serves e from now on. After an error the file is what it was.
	Publish(t metaconfig.Type, name string, e Entry) error
	// Remove ends serving a file. It is no error if there is none.
	Remove(t metaconfig.Type, name string) error
	// SetStatus says how a served file stands. It is called with the engine
	// locked and must not wait for anything. It does nothing if the file isn't
	// served.
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
	// FetchTimeout bounds one attempt to fetch a content. The first attempts
	// get less, so that a connection that has died is not waited for that
	// long. 0 means 30 seconds.
	FetchTimeout time.Duration
	// Workers is how many contents are fetched at once, those that take long
	// not counted. Half as many items that need ZooKeeper alone are worked on
	// beside them. 0 means 32.
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

// Engine keeps the subscriptions of a box current. Create it with New, give it
// its past with Restore, start it with Run. The other methods are safe for
// concurrent use.
type Engine struct {
	cfg     Config
	log     *slog.Logger
	lanes   [2]*lane
	journal *journal // set by Restore
	flights singleflight.Group
	ration  *rate.Limiter // of fetches, while S3 is away
	chatter *rate.Limiter // of lines about publications
	stats   Stats

	flushNow chan struct{} // one slot: something has been published since the last flush
	ready    chan struct{} // closed when the first load is done

	mu        sync.Mutex // guards all below, and the fields of all items
	items     map[key]*item
	byPath    map[string]*item // the first of the items that are read from a znode
	unsettled int              // wanted items whose first load isn't over
	loaded    bool             // the first load is over
	isReady   bool             // ready is closed
	leaving   map[key]struct{} // adopted files that are disowned before the engine is ready
	stopped   bool
	connected bool
	everSeen  bool      // a session has been had
	sessions  int       // how many have been had
	caughtUp  int       // the last one in which catchUp succeeded
	away      bool      // ZooKeeper has been out of reach for longer than a change of servers takes
	lostAt    time.Time // when the connection was lost
	lostTimer *time.Timer
	resynced  time.Time
	stages    map[Stage]*stageHealth
	fetches   map[*fetching]struct{} // in progress
	stateErr  error                  // why the last attempt to save the state failed; nil if it did not

	// See retire.go.
	seq       uint64
	doubts    map[uint64]int
	lingering map[key]struct{}
	blind     map[key]struct{}
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
	StateErrors     atomic.Int64 // failures to save the state
	WorkerPanics    atomic.Int64 // attempts that ended in a panic
	SessionsExpired atomic.Int64 // ZooKeeper sessions lost
}

// New returns an engine that does nothing yet.
func New(cfg Config) *Engine {
	cfg.setDefaults()
	e := &Engine{
		cfg:       cfg,
		log:       cfg.Logger,
		ration:    rate.NewLimiter(awayRate, awayBurst),
		chatter:   rate.NewLimiter(chatterRate, chatterBurst),
		flushNow:  make(chan struct{}, 1),
		ready:     make(chan struct{}),
		items:     map[key]*item{},
		byPath:    map[string]*item{},
		away:      true,
		stages:    newStages(),
		fetches:   map[*fetching]struct{}{},
		doubts:    map[uint64]int{},
		lingering: map[key]struct{}{},
		blind:     map[key]struct{}{},
		leaving:   map[key]struct{}{},
	}
	e.lanes = [2]*lane{
		fetchLane: newLane(cfg.Workers, 2*cfg.Workers),
		znodeLane: newLane(max(1, cfg.Workers/2), 0),
	}
	return e
}

// Run works until ctx is done, and then returns nil once all work has ended.
// Restore must have been called.
func (e *Engine) Run(ctx context.Context) error {
	if e.journal == nil {
		return errors.New("the engine has not been restored")
	}
	e.startGraph()
	var group errgroup.Group
	for _, l := range e.lanes {
		stop := context.AfterFunc(ctx, l.queue.Close)
		defer stop()
		for range l.workers() {
			group.Go(func() error { e.work(ctx, l); return nil })
		}
	}
	group.Go(func() error { e.flushLoop(ctx); return nil })
	group.Go(func() error { e.resyncLoop(ctx); return nil })
	err := group.Wait()
	e.stopSession()
	// What fails now has been said in the log, and harms nobody before the next
	// start.
	e.noteSaved(errors.Join(e.cfg.Sink.Flush(), e.journal.Close()))
	return err
}

// Ready is closed when everything that can be served is served for the first
// time: everything has been read, and what could not be fetched has been tried.
func (e *Engine) Ready() <-chan struct{} { return e.ready }

// Stats returns the engine's counters, live.
func (e *Engine) Stats() *Stats { return &e.stats }

// ZnodeChanged says that the data or the children of a znode may have changed.
// It doesn't wait for anything to be read.
func (e *Engine) ZnodeChanged(path string) {
	now := momentOf(time.Now())
	e.mu.Lock()
	defer e.mu.Unlock()
	e.seq++
	for it := e.byPath[path]; it != nil; it = it.twin {
		it.notified, it.changed = now, true
		e.stats.Notifications.Add(1)
		if it.wanted && !it.key.isFile() {
			e.raiseDoubt(it)
		}
		wait := it.politeness()
		e.hurryFetch(it, wait+outdatedGrace)
		e.addAfter(it.key, wait)
	}
}

// politeness is how long a change waits before it is read, so that the boxes
// that serve a large file don't all ask S3 at once. mu must be held.
func (it *item) politeness() time.Duration {
	if !it.wanted || !it.key.isFile() || it.serving.isZero() {
		return 0
	}
	return jitter(it.sub().MaxWait)
}

// Reread reads a znode again now, whether or not it seems to have changed. It
// reports whether anything is subscribed to it.
func (e *Engine) Reread(path string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	for it := e.byPath[path]; it != nil; it = it.twin {
		e.add(it.key)
	}
	return e.byPath[path] != nil
}

// Resync reads everything again, spread over the given time.
func (e *Engine) Resync(spread time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.resynced = time.Now()
	for k := range e.items {
		e.addAfter(k, jitter(spread))
	}
}

func jitter(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return rand.N(d)
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
