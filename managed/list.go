package managed

import (
	"context"
	"fmt"
	"iter"
	"slices"

	"github.com/kingpinfs/kingpin/internal/pyjson"
	"github.com/kingpinfs/kingpin/store"
)

// List is a managed list of texts, in an order.
type List struct {
	*Reader[*ListView]
	validators []func(item string) error
}

// ListView is a list at a moment. It never changes. Items that aren't texts, such
// as numbers, appear as their JSON text.
type ListView struct {
	items []string
	has   map[string]struct{}
}

// NewList returns a list, which does nothing before Open. Each validator must
// accept each item: a content that it refuses is no good content, and can't be
// written.
func NewList(domain, key string, options Options, validators ...func(item string) error) *List {
	l := &List{validators: validators}
	l.Reader = newReader(domain, key, options, newListView(nil), l.decode)
	return l
}

func newListView(items []string) *ListView {
	v := &ListView{items, make(map[string]struct{}, len(items))}
	for _, item := range items {
		v.has[item] = struct{}{}
	}
	return v
}

func (l *List) decode(content []byte, _ *ListView) (*ListView, bool, error) {
	v, err := parseShape(ListShape, content)
	if err != nil {
		return nil, false, err
	}
	items := shownItems(v)
	if err := l.validate(items); err != nil {
		return nil, false, err
	}
	return newListView(items), true, nil
}

func shownItems(v pyjson.Value) []string {
	items := make([]string, len(v.Items))
	for i, item := range v.Items {
		items[i] = shown(item)
	}
	return items
}

func (l *List) validate(items []string) error {
	for _, item := range items {
		for _, validate := range l.validators {
			if err := validate(item); err != nil {
				return fmt.Errorf("%w item %q: %w", store.Invalid, shorten(item), err)
			}
		}
	}
	return nil
}

// Contains tells whether the list has an item.
func (v *ListView) Contains(item string) bool {
	_, found := v.has[item]
	return found
}

// Len returns how many items the list has.
func (v *ListView) Len() int { return len(v.items) }

// At returns the item at an index, which must be from 0 to Len()-1.
func (v *ListView) At(i int) string { return v.items[i] }

// All yields the items, in their order.
func (v *ListView) All() iter.Seq[string] { return slices.Values(v.items) }

// Contains tells whether the current snapshot has an item.
func (l *List) Contains(item string) bool { return l.Get().Contains(item) }

// Add appends those items that the list doesn't have, and returns the version
// that counts then: the old one if it had them all. Errors: those of
// Client.Update; Invalid if there is something else than a list.
func (l *List) Add(ctx context.Context, w store.Write, items ...string) (store.Value, error) {
	return l.change(ctx, w, items, func(v pyjson.Value) pyjson.Value { return addTexts(v, items) })
}

// Remove takes items out, wherever they are. The rest is as with Add.
func (l *List) Remove(ctx context.Context, w store.Write, items ...string) (store.Value, error) {
	return l.change(ctx, w, nil, func(v pyjson.Value) pyjson.Value { return removeTexts(v, items) })
}

// Set makes these the items of the list. The rest is as with Add.
func (l *List) Set(ctx context.Context, w store.Write, items ...string) (store.Value, error) {
	return l.change(ctx, w, items, func(pyjson.Value) pyjson.Value { return pyjson.Texts(items) })
}

// change publishes a change that brings new items in.
func (l *List) change(ctx context.Context, w store.Write, items []string, change func(pyjson.Value) pyjson.Value) (store.Value, error) {
	if err := checkTexts(items...); err != nil {
		return store.Value{}, err
	}
	if err := l.validate(items); err != nil {
		return store.Value{}, err
	}
	return l.edit(ctx, ListShape, w, func(v pyjson.Value) (pyjson.Value, error) { return change(v), nil })
}
