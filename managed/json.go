package managed

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"github.com/kingpinfs/kingpin/store"
)

// JSON is a managed JSON document, decoded into a T by encoding/json; where T
// holds an any, its numbers are json.Numbers and so exact. The snapshots are
// shared by all who call Get: don't change what they refer to.
type JSON[T any] struct {
	*Reader[T]
	validators []func(T) error
}

// NewJSON returns a JSON document, which does nothing before Open. Each validator
// must accept the document: a content that it refuses is no good content, and
// can't be written.
func NewJSON[T any](domain, key string, options Options, validators ...func(T) error) *JSON[T] {
	j := &JSON[T]{validators: validators}
	var empty T
	j.Reader = newReader(domain, key, options, empty, func(content []byte, _ T) (T, bool, error) {
		value, err := j.parse(content)
		return value, err == nil, err
	})
	return j
}

func (j *JSON[T]) parse(content []byte) (T, error) {
	var value T
	if _, err := parseShape(AnyJSON, content); err != nil { // says where
		return value, err
	}
	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.UseNumber()
	if err := decoder.Decode(&value); err != nil {
		return value, fmt.Errorf("%w document: %w", store.Invalid, err)
	}
	return value, j.validate(value)
}

func (j *JSON[T]) validate(value T) error {
	for _, validate := range j.validators {
		if err := validate(value); err != nil {
			return fmt.Errorf("%w document: %w", store.Invalid, err)
		}
	}
	return nil
}

// Set publishes a document, as Python's json.dumps would write it, with the
// fields in encoding/json's order, and returns the new version. Errors: those of
// Client.Put; Invalid if the document can't be said in JSON.
func (j *JSON[T]) Set(ctx context.Context, w store.Write, value T) (store.Value, error) {
	file, client, err := j.target()
	if err != nil {
		return store.Value{}, err
	}
	content, err := j.render(value)
	if err != nil {
		return store.Value{}, fmt.Errorf("writing %q: %w", file, err)
	}
	return client.Put(ctx, file, content, w)
}

// SetText publishes a text, byte for byte. The rest is as with Set.
func (j *JSON[T]) SetText(ctx context.Context, w store.Write, content []byte) (store.Value, error) {
	file, client, err := j.target()
	if err != nil {
		return store.Value{}, err
	}
	if _, err := j.parse(content); err != nil {
		return store.Value{}, fmt.Errorf("writing %q: %w", file, err)
	}
	return client.Put(ctx, file, content, w)
}

// Update publishes what change makes of the document that counts, a zero one if
// nothing was ever written, and returns the version that counts then. change may
// be called several times. What T has no place for is lost. The rest is as with
// Set.
func (j *JSON[T]) Update(ctx context.Context, w store.Write, change func(old T) (T, error)) (store.Value, error) {
	file, client, err := j.target()
	if err != nil {
		return store.Value{}, err
	}
	return client.Update(ctx, file, w, func(old store.Value) ([]byte, error) {
		document := j.empty
		if old.Version != "" {
			if document, err = j.parse(old.Content); err != nil {
				return nil, fmt.Errorf("changing %q at version %s: %w", file, old.Version, err)
			}
		}
		changed, err := change(document)
		if err != nil {
			return nil, err
		}
		return j.render(changed)
	})
}

func (j *JSON[T]) render(value T) ([]byte, error) {
	if err := j.validate(value); err != nil {
		return nil, err
	}
	v, err := marshal(value)
	if err != nil {
		return nil, err
	}
	return v.Append(nil, false), nil
}
