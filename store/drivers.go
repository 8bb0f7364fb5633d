package store

import (
	"context"
	"iter"
	"time"
)

// Stat is what ZooKeeper tells of a znode beside its data. The zxids order all
// changes of an ensemble: of two states of one znode the one with the higher
// Mzxid (data) or Pzxid (children) is the newer.
type Stat struct {
	Czxid          int64     // the change that created the znode
	Mzxid          int64     // the change that last set its data
	Pzxid          int64     // the change that last added or removed a child
	Version        int32     // how often the data has been set; what Set compares
	NumChildren    int32     // how many children it has
	EphemeralOwner int64     // the session that owns it; 0 for a persistent znode
	Ctime          time.Time // when it was created, to the millisecond
	Mtime          time.Time // when its data was last set, to the millisecond
}

// AnyVersion is the version that Set and Delete take when whatever is there
// may be replaced.
const AnyVersion int32 = -1

// Znodes is what this package needs of a ZooKeeper client. Every method
// returns an *Error that says what was being done to which path; every method
// returns as soon as ctx is done. Implementations are safe for concurrent use.
// internal/zkconn implements it against a server, storetest.Memory in memory.
type Znodes interface {
	// Get returns a znode's data. Null data and empty data are the same thing.
	// Errors: NotFound.
	Get(ctx context.Context, path string) ([]byte, Stat, error)
	// Children returns the names (not paths) of a znode's children, sorted.
	// Errors: NotFound.
	Children(ctx context.Context, path string) ([]string, Stat, error)
	// Create creates a persistent znode, and its missing parents with empty
	// data. Errors: Exists.
	Create(ctx context.Context, path string, data []byte) error
	// Set replaces a znode's data if its version is still the given one (or
	// AnyVersion). Errors: NotFound, Conflict. After Unavailable it may or may
	// not have happened.
	Set(ctx context.Context, path string, data []byte, version int32) (Stat, error)
	// Delete removes a znode that has no children, if its version is still the
	// given one (or AnyVersion). Errors: NotFound, Conflict (the version
	// differs, or it has children).
	Delete(ctx context.Context, path string, version int32) error
	// Lock takes the lock at path (created if missing) by kazoo's lock recipe,
	// waiting for it until ctx is done; then the error is a Conflict that says
	// who holds it. The caller must call unlock exactly once; unlock doesn't
	// block for longer than a request takes, even after ctx is done. A lock is
	// lost without notice when the session expires: what is written under it
	// must be compared all the same.
	Lock(ctx context.Context, path string) (unlock func(), err error)
}

// Object is what is known of a stored object beside its content.
type Object struct {
	Key      string            // the whole key
	Size     int64             // bytes
	Modified time.Time         // by the server's clock, to the second
	Metadata map[string]string // the user metadata, keys in lower case; nil in listings
}

// PutOptions says how an object is to be written.
type PutOptions struct {
	// Metadata is stored beside the object: keys in lower case, values in
	// printable ASCII.
	Metadata map[string]string
	// IfAbsent makes the write fail with Exists if the key holds an object.
	// A server that doesn't know conditional writes writes unconditionally.
	IfAbsent bool
}

// Blobs is what this package needs of an object store. Every method returns an
// *Error that says what was being done to which key; every method returns as
// soon as ctx is done. Implementations are safe for concurrent use.
// internal/s3blob implements it against S3, storetest.Memory in memory.
type Blobs interface {
	// Get returns an object's content, whole and as it was written, or an
	// error. An object of more than limit bytes (limit > 0) is TooLarge and
	// is not read. Errors: NotFound, TooLarge, Denied, Unavailable.
	Get(ctx context.Context, key string, limit int64) ([]byte, Object, error)
	// Head returns what Get would, without the content.
	Head(ctx context.Context, key string) (Object, error)
	// Put writes an object. Errors: Exists, Denied, Unavailable.
	Put(ctx context.Context, key string, content []byte, opts PutOptions) error
	// List yields the objects whose keys begin with prefix, in the order of
	// their keys. It ends after the first error that it yields.
	List(ctx context.Context, prefix string) iter.Seq2[Object, error]
}
