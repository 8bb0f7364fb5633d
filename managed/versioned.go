package managed

import (
	"context"
	"sync"

	"github.com/kingpinfs/kingpin/store"
)

// versioned keeps what was made of values, each by its newest version, so that
// asking again costs a look at the pointer. The zero value is empty. It is safe
// for concurrent use.
type versioned[T any] struct {
	mu     sync.Mutex // guards byPath
	byPath map[string]made[T]
}

type made[T any] struct {
	version store.Version
	what    T
}

// get returns what a value makes. The version is "", and there is nothing, if
// there is no such value or it was never written.
func (c *versioned[T]) get(ctx context.Context, values *store.Store, ref store.Ref, parse func(store.Value) (T, error)) (what T, version store.Version, err error) {
	version, _, err = values.Pointer(ctx, ref)
	if store.KindOf(err) == store.NotFound {
		return what, "", nil
	}
	if err != nil || version == "" {
		return what, "", err
	}
	c.mu.Lock()
	kept, ok := c.byPath[ref.Path]
	c.mu.Unlock()
	if ok && kept.version == version {
		return kept.what, version, nil
	}
	value, err := values.GetVersion(ctx, ref, version)
	if err != nil {
		return what, "", err
	}
	if what, err = parse(value); err != nil {
		return what, "", err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byPath == nil {
		c.byPath = make(map[string]made[T])
	}
	c.byPath[ref.Path] = made[T]{version, what}
	return what, version, nil
}
