package sync

import (
	"context"
	"crypto/sha256"
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
	key    key
	path   string // the znode it is read from; "" while nothing asks for it
	wanted bool   // false: the next worker takes it away

	parked    bool  // an attempt waits for ZooKeeper
	settled   bool  // its first load has come to an end, good or bad
	failures  int   // attempts in a row that failed
	err       error // why the last attempt failed, nil if it didn't
	notified  time.Time
	processed time.Time
	synced    time.Time // when what is served was last known to be current

	// A dependency's.
	members []string
	zxid    int64 // of the last read that counted; also a metaconfig's

	// A metaconfig's.
	version store.Version
	content []byte
	subs    []metaconfig.Subscription

	// A file's.
	owners  []owner
	serving served  // what readers see; its zero value: nothing
	pending *served // recorded on disk, about to be served
	fetch   *fetching
	gaveUp  bool // the last download was ended because a newer version was known

	// A serverset's, beside a file's.
	guard      *serverset.Guard
	held       bool
	heldReason string
	accepted   []string // the held list that an operator wants served; nil if none
	badMembers []string // as of the last reading
}

// owner is a metaconfig that asks for a file.
type owner struct {
	metaconfig string
	sub        metaconfig.Subscription
}

// sub returns what the file is to be made of. Where several metaconfigs ask
// for one name, the first by name decides. The item must be wanted.
func (it *item) sub() metaconfig.Subscription { return it.owners[0].sub }

// served says which version of a file readers see.
type served struct {
	Version      string            `json:"version"`
	Zxid         int64             `json:"zxid"`
	ZnodeVersion int32             `json:"znode_version"`
	ZKPath       string            `json:"zk_path"`
	Prefix       string            `json:"prefix,omitempty"`
	Sum          [sha256.Size]byte `json:"-"`
	Size         int               `json:"size"`
	ModTime      time.Time         `json:"mod_time"`
	Changed      time.Time         `json:"changed"` // when this box began to serve the content
}

func (s *served) isZero() bool { return s.ZKPath == "" }

func (s *served) is(content []byte) bool { return s.Sum == sha256.Sum256(content) }

// zxidOf returns the zxid at which a value was served, or 0 if what is served
// comes from elsewhere.
func (s *served) zxidOf(ref store.Ref) int64 {
	if s.ZKPath != ref.Path || s.Prefix != ref.Prefix {
		return 0
	}
	return s.Zxid
}

// fetching is a download in progress.
type fetching struct {
	cancel   context.CancelFunc
	outdated bool // a newer version is known; cancel has been planned
	patient  bool // it may end however long it takes
}

// State says how what is served relates to what the fleet says.
type State string

// The states of a file.
const (
	Fresh  State = "fresh"  // the newest version, as far as ZooKeeper has told us
	Stale  State = "stale"  // the last good version: the newest can't be had, or isn't known
	Held   State = "held"   // a suspicious serverset is held back, the one before is served
	Absent State = "absent" // nothing has ever been there to serve
)

// state derives the file's state. mu must be held.
func (it *item) state(connected bool) State {
	switch {
	case it.serving.isZero():
		return Absent
	case it.held:
		return Held
	case it.err != nil || !connected || it.synced.IsZero():
		return Stale
	default:
		return Fresh
	}
}
