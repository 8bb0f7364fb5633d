package store

import (
	"context"
	"errors"
	"iter"
)

// noBlobs stands in where a process was given no S3.
type noBlobs struct{}

var errNoBlobs = errors.New("no S3 bucket was given")

func (noBlobs) fail(op, key string) error {
	return &Error{Op: op, Subject: key, Kind: Unavailable, Err: errNoBlobs}
}

func (b noBlobs) Get(_ context.Context, key string, _ int64) ([]byte, Object, error) {
	return nil, Object{}, b.fail("reading object", key)
}

func (b noBlobs) Head(_ context.Context, key string) (Object, error) {
	return Object{}, b.fail("reading object", key)
}

func (b noBlobs) Put(_ context.Context, key string, _ []byte, _ PutOptions) error {
	return b.fail("writing object", key)
}

func (b noBlobs) List(_ context.Context, prefix string) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		yield(Object{}, b.fail("listing objects", prefix))
	}
}
