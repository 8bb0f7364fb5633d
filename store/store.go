package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Value is one version of a value's content.
type Value struct {
	// Version is "" for a pointer that has never been written.
	Version Version
	// Content is the caller's own copy; nil for a pointer never written.
	Content []byte
	// Author and Comment are what the writer said; "" if it said nothing, as
	// Python's writers do.
	Author, Comment string
	// Modified is when the object was written, by S3's clock. Zero if unknown.
	Modified time.Time
	// Stat is the pointer's, as of the read that found Version or the write that
	// made it. Zero if the value was read by its version.
	Stat Stat
}

// Entry is one line of a value's history.
type Entry struct {
	Version         Version
	Size            int64 // of the content, in bytes
	Author, Comment string
	Modified        time.Time // by S3's clock
	Current         bool      // the pointer names it
}

// Options of a Store. The zero value is ready for use.
type Options struct {
	// MaxContent is the largest content that is read or written, in bytes.
	// 0 means DefaultMaxContent.
	MaxContent int64
	// Now is the clock that versions are taken from. nil means time.Now.
	Now func() time.Time
}

// DefaultMaxContent is the limit on a value's size unless Options say
// otherwise: 16 MiB.
const DefaultMaxContent = 16 << 20

// The metadata of the content objects that this package writes.
const (
	metaAuthor  = "kingpin-author"
	metaComment = "kingpin-comment"
	// MetaSHA256 holds the content's SHA-256 in hexadecimal; drivers compare
	// it with what they have read.
	MetaSHA256 = "kingpin-sha256"
)

// Store reads and writes versioned values. It keeps no state of its own and is
// safe for concurrent use; so are several stores, on this machine and others,
// over one ensemble and bucket.
type Store struct {
	zn    Znodes
	blobs Blobs
	max   int64
	now   func() time.Time
}

// New returns a store over the two backends, which it does not own. blobs may
// be nil in a process that only handles pointers; then whatever needs an
// object fails with Unavailable.
func New(zn Znodes, blobs Blobs, opts Options) *Store {
	s := &Store{zn: zn, blobs: blobs, max: opts.MaxContent, now: opts.Now}
	if s.max == 0 {
		s.max = DefaultMaxContent
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.blobs == nil {
		s.blobs = noBlobs{}
	}
	return s
}

// Pointer reads which version counts. The version is "" if the pointer has
// never been written. Errors: NotFound if there is no such znode; Invalid if
// it holds something that is not a version.
func (s *Store) Pointer(ctx context.Context, ref Ref) (Version, Stat, error) {
	if err := ref.check(); err != nil {
		return "", Stat{}, err
	}
	data, stat, err := s.zn.Get(ctx, ref.Path)
	if err != nil {
		return "", Stat{}, err
	}
	if len(data) == 0 {
		return "", stat, nil
	}
	v, err := ParseVersion(string(data))
	if err != nil {
		return "", stat, fmt.Errorf("reading pointer %q: %w", ref.Path, err)
	}
	return v, stat, nil
}

// Get reads the version that counts. A pointer that has never been written
// gives a Value without version and content. Errors: those of Pointer; those
// of GetVersion.
func (s *Store) Get(ctx context.Context, ref Ref) (Value, error) {
	v, stat, err := s.Pointer(ctx, ref)
	if err != nil || v == "" {
		return Value{Stat: stat}, err
	}
	value, err := s.GetVersion(ctx, ref, v)
	value.Stat = stat
	return value, err
}

// GetVersion reads the content at a version, whether it counts or not. Errors:
// NotFound if S3 has no such object (a version just written may take S3 a
// moment), TooLarge, Denied, Unavailable.
func (s *Store) GetVersion(ctx context.Context, ref Ref, v Version) (Value, error) {
	if err := ref.check(); err != nil {
		return Value{}, err
	}
	content, object, err := s.blobs.Get(ctx, ref.Key(v), s.max)
	if err != nil {
		return Value{}, err
	}
	return Value{
		Version:  v,
		Content:  content,
		Author:   decodeMeta(object.Metadata[metaAuthor]),
		Comment:  decodeMeta(object.Metadata[metaComment]),
		Modified: object.Modified,
	}, nil
}

// Index reads the newest version from S3 alone, for when ZooKeeper can't be
// asked. Python's writers keep it too. Errors: NotFound, Invalid, Unavailable.
func (s *Store) Index(ctx context.Context, ref Ref) (Version, error) {
	body, _, err := s.blobs.Get(ctx, ref.IndexKey(), maxVersionLen)
	if err != nil {
		return "", err
	}
	v, err := ParseVersion(strings.TrimSpace(string(body)))
	if err != nil {
		return "", fmt.Errorf("reading index %q: %w", ref.IndexKey(), err)
	}
	return v, nil
}

// History lists the versions that are stored, newest first: all of them for
// limit 0. It costs one listing, and one request for each entry returned (for
// author and comment). Versions that were stored but never published, as a
// failed write leaves them, are listed too.
func (s *Store) History(ctx context.Context, ref Ref, limit int) ([]Entry, error) {
	current, _, err := s.Pointer(ctx, ref)
	if err != nil {
		return nil, err
	}
	var entries []Entry
	for object, err := range s.blobs.List(ctx, ref.historyPrefix()) {
		if err != nil {
			return nil, err
		}
		if v, ok := ref.versionOf(object.Key); ok {
			entries = append(entries, Entry{Version: v, Size: object.Size, Modified: object.Modified, Current: v == current})
		}
	}
	slices.SortFunc(entries, func(a, b Entry) int { return b.Version.Compare(a.Version) })
	if limit > 0 && len(entries) > limit {
		entries = entries[:limit]
	}
	for i := range entries {
		object, err := s.blobs.Head(ctx, ref.Key(entries[i].Version))
		if err != nil {
			return nil, err
		}
		entries[i].Author = decodeMeta(object.Metadata[metaAuthor])
		entries[i].Comment = decodeMeta(object.Metadata[metaComment])
	}
	return entries, nil
}

// CreatePointer creates the value's znode, empty, and its parents. It is done
// if the znode is there already, written or not.
func (s *Store) CreatePointer(ctx context.Context, ref Ref) error {
	if err := ref.check(); err != nil {
		return err
	}
	if err := s.zn.Create(ctx, ref.Path, nil); err != nil && KindOf(err) != Exists {
		return err
	}
	return nil
}

// Delete removes the value's znode and its lock. The stored versions stay.
// Errors: NotFound; Conflict if the znode has children or is being written.
func (s *Store) Delete(ctx context.Context, ref Ref) error {
	if err := ref.check(); err != nil {
		return err
	}
	if err := s.zn.Delete(ctx, ref.Path, AnyVersion); err != nil {
		return err
	}
	// A lock that a writer holds has a child and stays; the next delete of a
	// value of this name takes it.
	err := s.zn.Delete(ctx, ref.LockPath(), AnyVersion)
	if kind := KindOf(err); kind == NotFound || kind == Conflict {
		return nil
	}
	return err
}

func contentHash(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

// S3 keeps user metadata as HTTP headers, which must be printable ASCII.
func encodeMeta(text string) string { return url.PathEscape(text) }

func decodeMeta(text string) string {
	if plain, err := url.PathUnescape(text); err == nil {
		return plain
	}
	return text
}
