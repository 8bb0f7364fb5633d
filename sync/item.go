package sync

import (
	"context"
	"crypto/sha256"
	"sync"
	"time"

	"github.com/kingpinfs/kingpin/metaconfig"
	"github.com/kingpinfs/kingpin/serverset"
	"github.com/kingpinfs/kingpin/store"
)

// kind is what an item is.
type kind uint8

const (
	dependencyItem kind = iota + 1
	metaconfigItem
	configItem
	serversetItem
)

// key names an item: a dependency, a metaconfig, or a file by its name within
// its tree.
type key struct {
	kind kind
	name string
}

func (k key) isFile() bool { return k.kind == configItem || k.kind == serversetItem }

func fileKey(t metaconfig.Type, file string) key {
	if t == metaconfig.Serverset {
		return key{serversetItem, file}
	}
	return key{configItem, file}
}

func (k key) fileType() metaconfig.Type {
	if k.kind == serversetItem {
		return metaconfig.Serverset
	}
	return metaconfig.Config
}

// item is one thing that the engine keeps current. One worker at a time works
// on it (the queue sees to that); its fields are guarded by the engine's mu.
type item struct {
	key  key
	path string // the znode it is read from; "" while nothing asks for it
	twin *item  // the next of the items that are read from the same znode
	// zxid is that of the newest state that has been read. An answer that is
	// older comes from a server that lags behind.
	zxid int64

	wanted   bool // false: it is taken away as soon as that is certain
	parked   bool // an attempt waits for ZooKeeper
	settled  bool // its first load has come to an end, good or bad
	unread   bool // not read since the ZooKeeper session began
	changed  bool // ZooKeeper has spoken of a change, and no attempt has ended since
	restored bool // it comes from before the start, and nothing has asked for it since
	reported bool // its failure has been logged, so its recovery will be
	gaveUp   bool // we ended its last download
	failures int  // attempts in a row that failed
	err      error
	slot     *slot // of the worker that works on it
	fetch    *fetching

	notified  moment // when ZooKeeper last spoke of a change
	processed moment // when the last attempt ended
	synced    moment // when what is served was last known to be current

	unwantedAt uint64 // see retire.go

	*nodeState  // a dependency's or a metaconfig's, else nil
	*fileState  // a file's, else nil
	*guardState // a serverset's, beside its file
}

// moment is a time that takes little memory, in nanoseconds since 1970. 0 is
// never.
type moment int64

func momentOf(t time.Time) moment { return moment(t.UnixNano()) }

func (m moment) time() time.Time {
	if m == 0 {
		return time.Time{}
	}
	return time.Unix(0, int64(m))
}

// nodeState is what is known of a dependency or a metaconfig.
type nodeState struct {
	doubt   uint64   // see retire.go
	doubted uint64   // the same
	members []string // a dependency's, as far as they can be names

	version store.Version // a metaconfig's
	parsed  store.Version // the version that was parsed last, good or bad
	content []byte        // its text; nil if it is what metaconfig.Render makes of subs
	subs    []*metaconfig.Subscription
}

// fileState is what is known of a file.
type fileState struct {
	// owners are what asks for it, one a metaconfig, in the order of their
	// names. The item is wanted as long as there are any.
	owners   []*metaconfig.Subscription
	conflict string // the metaconfig that asks in vain for something else under this name
	savedFor string // the metaconfig that asked for it before the restart
	adopted  bool   // it was found in the directory, and nothing has ever asked for it

	// sinking is held while the sink is called for the file, and before the
	// engine's mu. Not so for SetStatus.
	sinking sync.Mutex
	serving served  // what readers see; its zero value: nothing
	pending *served // recorded on disk, about to be served
	// What this process writes; see written.go.
	offered *offer   // about to be the newest version, as far as is known
	written *written // the newest version, recorded on disk, not served yet
}

// guardState is what is known of a serverset.
type guardState struct {
	guard      *serverset.Guard // its served list is what readers see; nil before the first one
	judged     serverset.State  // the guard's before its last verdict
	held       bool
	heldReason string
	accepted   []string // the held list that an operator wants served; nil if none
	bad        []string // the members without an endpoint, as of the last reading
}

func newItem(k key) *item {
	it := &item{key: k, unread: true}
	switch k.kind {
	case serversetItem:
		it.guardState, it.fileState = &guardState{}, &fileState{}
	case configItem:
		it.fileState = &fileState{}
	default:
		it.nodeState = &nodeState{}
	}
	return it
}

// sub returns what the file is to be made of. Where several metaconfigs ask
// for one name, the first by name decides. The item must be wanted.
func (it *item) sub() *metaconfig.Subscription { return it.owners[0] }

// source names what a subscription's file is made of.
func source(sub *metaconfig.Subscription) store.Ref {
	return store.Ref{Path: sub.ZKPath, Prefix: sub.KeyPrefix}
}

// served says which version of a file readers see.
type served struct {
	Version      string            `json:"version"`
	Zxid         int64             `json:"zxid"`
	Order        int64             `json:"order,omitempty"` // the Entry's
	ZnodeVersion int32             `json:"znode_version"`
	ZKPath       string            `json:"zk_path"`
	Prefix       string            `json:"prefix,omitempty"`
	Sum          [sha256.Size]byte `json:"-"`
	Size         int               `json:"size"`
	ModTime      time.Time         `json:"mod_time"`
	Changed      time.Time         `json:"changed"` // when this box began to serve the content
}

func (s *served) isZero() bool { return s.ModTime.IsZero() }

// isUnknown says that it was found in the directory, and is a version of nobody
// knows what.
func (s *served) isUnknown() bool { return !s.isZero() && s.ZKPath == "" }

func (s *served) is(content []byte) bool { return s.Sum == sha256.Sum256(content) }

// isOf says whether what is served is a version of a value.
func (s *served) isOf(ref store.Ref) bool { return s.ZKPath == ref.Path && s.Prefix == ref.Prefix }

// fetching is a download in progress. The engine's mu guards it.
type fetching struct {
	key      key
	started  time.Time
	timeout  time.Duration
	cancel   context.CancelFunc
	deadline *time.Timer // ends it, as a newer version is known; nil if none is
	ended    bool        // by us, for the sake of a newer version or of a better connection
	patient  bool        // it isn't ended before it ends by itself
	slow     bool        // it has taken longer than slowFetch
}
