package main

import (
	"context"
	"errors"
	"iter"
	"syscall"

	"github.com/kingpinfs/kingpin/store"
)

// errnoOfKind is what whoever writes through the mount gets for each kind of
// error; errnoOf has the exceptions. "Writing through the mount" in
// docs/managed-data.md says what they mean.
var errnoOfKind = map[store.Kind]syscall.Errno{
	store.NotFound:    syscall.ENOENT,
	store.Exists:      syscall.ESTALE,
	store.Conflict:    syscall.ESTALE,
	store.Invalid:     syscall.EINVAL,
	store.Denied:      syscall.EACCES,
	store.TooLarge:    syscall.EFBIG,
	store.Unavailable: syscall.EHOSTUNREACH,
}

// errnoOf returns what whoever writes gets for the error of a write. ended is
// why the write's context has ended, nil if it hasn't; connected says whether
// there is a ZooKeeper session.
func errnoOf(err, ended error, connected bool) syscall.Errno {
	kind := store.KindOf(err)
	own, isOurs := errors.AsType[*writeError](err)
	switch {
	case isOurs:
		return own.errno
	case errors.Is(err, store.ErrOutcomeUnknown):
		return syscall.EIO
	case errors.Is(ended, context.Canceled):
		return syscall.EINTR
	case kind == store.Conflict && ended != nil:
		return syscall.EBUSY // somebody holds the lock
	case isOfS3(err) && (kind == store.Unavailable || kind == store.NotFound):
		return syscall.EREMOTEIO
	case kind == store.Unavailable && ended != nil && connected:
		return syscall.ETIMEDOUT
	}
	if errno, ok := errnoOfKind[kind]; ok {
		return errno
	}
	return syscall.EIO
}

// writeError is an error with what whoever writes gets.
type writeError struct {
	errno syscall.Errno
	err   error
}

func (e *writeError) Error() string { return e.err.Error() }

// Unwrap has the errno first: a cause may hold one of its own, as of a connection.
func (e *writeError) Unwrap() []error { return []error{e.errno, e.err} }

// s3Error marks what S3 answered, or didn't.
type s3Error struct{ error }

func (e s3Error) Unwrap() error { return e.error }

func isOfS3(err error) bool { return errors.As(err, new(s3Error)) }

// markedBlobs are blobs whose errors can be told from ZooKeeper's.
type markedBlobs struct{ blobs store.Blobs }

func markS3(err error) error {
	if err == nil {
		return nil
	}
	return s3Error{err}
}

// Get implements store.Blobs.
func (m markedBlobs) Get(ctx context.Context, key string, limit int64) ([]byte, store.Object, error) {
	content, object, err := m.blobs.Get(ctx, key, limit)
	return content, object, markS3(err)
}

// Head implements store.Blobs.
func (m markedBlobs) Head(ctx context.Context, key string) (store.Object, error) {
	object, err := m.blobs.Head(ctx, key)
	return object, markS3(err)
}

// Put implements store.Blobs.
func (m markedBlobs) Put(ctx context.Context, key string, content []byte, opts store.PutOptions) error {
	return markS3(m.blobs.Put(ctx, key, content, opts))
}

// List implements store.Blobs.
func (m markedBlobs) List(ctx context.Context, prefix string) iter.Seq2[store.Object, error] {
	return func(yield func(store.Object, error) bool) {
		for object, err := range m.blobs.List(ctx, prefix) {
			if !yield(object, markS3(err)) {
				return
			}
		}
	}
}
