package storetest

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kingpinfs/kingpin/store"
)

// MemoryBlobs are objects in memory. It is safe for concurrent use.
type MemoryBlobs struct {
	// Fail, if not nil, is asked before every operation ("get", "head", "put",
	// "list"); an error from it is returned instead of doing anything. It may
	// not be set while an operation runs.
	Fail func(op, key string) error

	mu      sync.Mutex // guards objects
	objects map[string]memoryObject
}

type memoryObject struct {
	store.Object

	content []byte
}

// NewMemoryBlobs returns an empty store of objects.
func NewMemoryBlobs() *MemoryBlobs {
	return &MemoryBlobs{objects: map[string]memoryObject{}}
}

func (m *MemoryBlobs) fail(ctx context.Context, op, key string) error {
	if err := ctx.Err(); err != nil {
		return &store.Error{Op: op, Subject: key, Kind: store.Unavailable, Err: err}
	}
	if m.Fail != nil {
		return m.Fail(op, key)
	}
	return nil
}

// Get implements store.Blobs.
func (m *MemoryBlobs) Get(ctx context.Context, key string, limit int64) ([]byte, store.Object, error) {
	if err := m.fail(ctx, "get", key); err != nil {
		return nil, store.Object{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	o, ok := m.objects[key]
	if !ok {
		return nil, store.Object{}, &store.Error{Op: "reading object", Subject: key, Kind: store.NotFound}
	}
	if limit > 0 && o.Size > limit {
		return nil, store.Object{}, &store.Error{Op: "reading object", Subject: key, Kind: store.TooLarge,
			Err: fmt.Errorf("it has %d bytes, the limit is %d", o.Size, limit)}
	}
	return slices.Clone(o.content), o.clone(), nil
}

// Head implements store.Blobs.
func (m *MemoryBlobs) Head(ctx context.Context, key string) (store.Object, error) {
	if err := m.fail(ctx, "head", key); err != nil {
		return store.Object{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	o, ok := m.objects[key]
	if !ok {
		return store.Object{}, &store.Error{Op: "looking up object", Subject: key, Kind: store.NotFound}
	}
	return o.clone(), nil
}

func (o memoryObject) clone() store.Object {
	object := o.Object
	object.Metadata = maps.Clone(object.Metadata)
	return object
}

// Put implements store.Blobs.
func (m *MemoryBlobs) Put(ctx context.Context, key string, content []byte, opts store.PutOptions) error {
	if err := m.fail(ctx, "put", key); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.objects[key]; ok && opts.IfAbsent {
		return &store.Error{Op: "writing object", Subject: key, Kind: store.Exists}
	}
	m.objects[key] = memoryObject{
		Object: store.Object{
			Key:      key,
			Size:     int64(len(content)),
			Modified: time.Now().Truncate(time.Second),
			Metadata: maps.Clone(opts.Metadata),
		},
		content: slices.Clone(content),
	}
	return nil
}

// List implements store.Blobs. It yields what is there when it begins.
func (m *MemoryBlobs) List(ctx context.Context, prefix string) iter.Seq2[store.Object, error] {
	return func(yield func(store.Object, error) bool) {
		if err := m.fail(ctx, "list", prefix); err != nil {
			yield(store.Object{}, err)
			return
		}
		for _, object := range m.list(prefix) {
			if !yield(object, nil) {
				return
			}
		}
	}
}

func (m *MemoryBlobs) list(prefix string) []store.Object {
	m.mu.Lock()
	defer m.mu.Unlock()
	var objects []store.Object
	for key, o := range m.objects {
		if strings.HasPrefix(key, prefix) {
			object := o.Object
			object.Metadata = nil
			objects = append(objects, object)
		}
	}
	slices.SortFunc(objects, func(a, b store.Object) int { return strings.Compare(a.Key, b.Key) })
	return objects
}

// Delete removes an object, as an operator would by other means. It is no
// error if there is none.
func (m *MemoryBlobs) Delete(key string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.objects, key)
}
