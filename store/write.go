package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// Write says who writes a value and under which condition.
type Write struct {
	// Author and Comment are kept beside the content and shown in the history.
	Author, Comment string
	// Expect, if not nil, is the version that must count when the write
	// happens (a pointer to "" for a value never written); else the write
	// fails with Conflict.
	Expect *Version
	// ExpectContent, if not nil, is the content that must count, byte for
	// byte: the condition that Python's writers use.
	ExpectContent []byte
	// Publishing, if not nil, is called with a new version and its content, which
	// it must not modify, before ZooKeeper has it: whoever reads the pointer may
	// then find it there, and S3 need not be asked for it. It is called again if
	// another version is tried, and isn't if there is nothing to publish.
	Publishing func(Version, []byte)
}

// ErrOutcomeUnknown is wrapped by the error, an Unavailable, of a write that may
// or may not have been published.
var ErrOutcomeUnknown = errors.New("the outcome is unknown, look which version counts before repeating it")

// Put publishes content as a new version and returns it. When it returns nil,
// ZooKeeper has the new version. Errors: NotFound if there is no such pointer;
// Conflict if the condition doesn't hold, or somebody holds the lock until ctx
// is done, or somebody else published meanwhile; TooLarge; Denied;
// Unavailable. After an error nothing was published, with one exception: when
// ZooKeeper is lost between the last step and its answer, the error (an
// Unavailable) wraps ErrOutcomeUnknown.
func (s *Store) Put(ctx context.Context, ref Ref, content []byte, w Write) (Value, error) {
	return s.attempt(ctx, ref, w, func(Value) ([]byte, error) { return content, nil }, false)
}

// Update publishes change(old) as a new version and returns it, where old is
// the value that counts. If change returns the content that it was given,
// nothing is published and the old value is returned. Conflicts with other
// writers are resolved by reading again and calling change again, until ctx is
// done; an error from change ends the update and is returned as it is. change
// may be called several times and must not modify the content it is given. The
// other errors are those of Put.
func (s *Store) Update(ctx context.Context, ref Ref, w Write, change func(old Value) ([]byte, error)) (Value, error) {
	for wait := 2 * time.Millisecond; ; wait = min(2*wait, 200*time.Millisecond) {
		value, err := s.attempt(ctx, ref, w, change, true)
		if !errors.Is(err, errRaced) {
			return value, err
		}
		select {
		case <-ctx.Done():
			return Value{}, err
		case <-time.After(rand.N(wait)):
		}
	}
}

// errRaced marks the conflicts that a retry can resolve.
var errRaced = errors.New("somebody else published at the same time")

// attempt is one write under the lock. needOld says that change looks at the
// old content.
func (s *Store) attempt(ctx context.Context, ref Ref, w Write, change func(Value) ([]byte, error), needOld bool) (Value, error) {
	if err := ref.check(); err != nil {
		return Value{}, err
	}
	// Locking creates a znode beside the pointer: a name that isn't there, such
	// as a misspelt one, must not leave it behind.
	if _, _, err := s.zn.Get(ctx, ref.Path); err != nil {
		return Value{}, err
	}
	unlock, err := s.zn.Lock(ctx, ref.LockPath())
	if err != nil {
		return Value{}, err
	}
	defer unlock()

	old, err := s.current(ctx, ref, needOld || w.ExpectContent != nil)
	if err != nil {
		return Value{}, err
	}
	if err := w.check(ref, old); err != nil {
		return Value{}, err
	}
	content, err := change(old)
	if err != nil {
		return Value{}, err
	}
	if int64(len(content)) > s.max {
		return Value{}, &Error{Op: "writing", Subject: ref.Path, Kind: TooLarge,
			Err: fmt.Errorf("the content has %d bytes, the limit is %d", len(content), s.max)}
	}
	if needOld && old.Version != "" && bytes.Equal(content, old.Content) {
		return old, nil
	}
	return s.publish(ctx, ref, w, old, content)
}

// current reads the value that counts, under the lock. Whoever replaces a
// value whole doesn't need the old content, and so can mend a value whose
// object is lost.
func (s *Store) current(ctx context.Context, ref Ref, withContent bool) (Value, error) {
	if withContent {
		return s.Get(ctx, ref)
	}
	v, stat, err := s.Pointer(ctx, ref)
	if errors.Is(err, Invalid) {
		// Publishing is how an unreadable pointer is mended.
		return Value{Stat: stat}, nil
	}
	return Value{Version: v, Stat: stat}, err
}

func (w Write) check(ref Ref, old Value) error {
	if w.Expect != nil && *w.Expect != old.Version {
		return &Error{Op: "writing", Subject: ref.Path, Kind: Conflict,
			Err: fmt.Errorf("the version is %q, not %q as expected: read it again and repeat the change", old.Version, *w.Expect)}
	}
	if w.ExpectContent != nil && !bytes.Equal(w.ExpectContent, old.Content) {
		return &Error{Op: "writing", Subject: ref.Path, Kind: Conflict,
			Err: errors.New("the content is not what was expected: read it again and repeat the change")}
	}
	return nil
}

// publish writes the content, the index and the pointer, in this order: until
// the pointer is set nobody sees the new version, and what a failure leaves is
// an object that nothing names.
func (s *Store) publish(ctx context.Context, ref Ref, w Write, old Value, content []byte) (Value, error) {
	v := next(old.Version, s.now())
	meta := map[string]string{MetaSHA256: contentHash(content)}
	if w.Author != "" {
		meta[metaAuthor] = encodeMeta(w.Author)
	}
	if w.Comment != "" {
		meta[metaComment] = encodeMeta(w.Comment)
	}
	if err := s.blobs.Put(ctx, ref.Key(v), content, PutOptions{Metadata: meta, IfAbsent: true}); err != nil {
		if errors.Is(err, Exists) {
			return Value{}, fmt.Errorf("%w (%w): %w", Conflict, errRaced, err)
		}
		return Value{}, err
	}
	if err := s.blobs.Put(ctx, ref.IndexKey(), []byte(v), PutOptions{}); err != nil {
		return Value{}, err
	}
	if w.Publishing != nil {
		w.Publishing(v, content)
	}
	stat, err := s.setPointer(ctx, ref, v, old.Stat.Version)
	if err != nil {
		if errors.Is(err, Conflict) {
			s.repairIndex(ctx, ref)
			return Value{}, fmt.Errorf("%w: %w", errRaced, err)
		}
		return Value{}, err
	}
	return Value{Version: v, Content: content, Author: w.Author, Comment: w.Comment, Stat: stat}, nil
}

// setPointer sets the pointer from the znode version that was read under the
// lock, so that a lost lock can't lose an update. Where the answer is lost it
// looks what became of the request.
func (s *Store) setPointer(ctx context.Context, ref Ref, v Version, znodeVersion int32) (Stat, error) {
	stat, err := s.zn.Set(ctx, ref.Path, []byte(v), znodeVersion)
	if kind := KindOf(err); kind != Unavailable && kind != Conflict {
		return stat, err
	}
	// A Conflict may be our own first attempt, repeated by a driver that lost
	// the answer.
	now, stat, readErr := s.Pointer(ctx, ref)
	switch {
	case readErr == nil && now == v:
		return stat, nil
	case KindOf(err) == Conflict:
		return Stat{}, err
	default:
		return Stat{}, &Error{Op: "publishing", Subject: ref.Path, Kind: Unavailable,
			Err: fmt.Errorf("%w: %w", ErrOutcomeUnknown, err)}
	}
}

// repairIndex makes the index name what the pointer names, after a write that
// lost a race had set it. Failing is harmless: the next write sets it.
func (s *Store) repairIndex(ctx context.Context, ref Ref) {
	if v, _, err := s.Pointer(ctx, ref); err == nil && v != "" {
		_ = s.blobs.Put(ctx, ref.IndexKey(), []byte(v), PutOptions{})
	}
}
