package managed

import (
	"context"
	"fmt"
	"iter"
	"slices"

	"github.com/kingpinfs/kingpin/internal/pyjson"
	"github.com/kingpinfs/kingpin/store"
)

// MappedList is a managed map of fields, each of which holds a list of texts.
type MappedList struct {
	*Reader[*MappedListView]
	validators []func(field, item string) error
}

// MappedListView is a mapped list at a moment. It never changes.
type MappedListView struct {
	names []string // in their order
	lists map[string]*ListView
}

// noItems is the list of a field that there isn't.
var noItems = newListView(nil)

// NewMappedList returns a mapped list, which does nothing before Open. Each
// validator must accept each item: a content that it refuses is no good content,
// and can't be written.
func NewMappedList(domain, key string, options Options, validators ...func(field, item string) error) *MappedList {
	m := &MappedList{validators: validators}
	m.Reader = newReader(domain, key, options, new(MappedListView), m.decode)
	return m
}

func (m *MappedList) decode(content []byte, _ *MappedListView) (*MappedListView, bool, error) {
	v, err := parseShape(MappedListShape, content)
	if err != nil {
		return nil, false, err
	}
	view := &MappedListView{lists: make(map[string]*ListView, len(v.Fields))}
	for name, list := range sortedFields(v) {
		items := shownItems(list)
		if err := m.validate(name, items); err != nil {
			return nil, false, err
		}
		view.names = append(view.names, name)
		view.lists[name] = newListView(items)
	}
	return view, true, nil
}

func (m *MappedList) validate(name string, items []string) error {
	for _, item := range items {
		for _, validate := range m.validators {
			if err := validate(name, item); err != nil {
				return fmt.Errorf("%w item %q of %q: %w", store.Invalid, shorten(item), shorten(name), err)
			}
		}
	}
	return nil
}

// Len returns how many fields there are.
func (v *MappedListView) Len() int { return len(v.names) }

// Names yields the names of the fields, sorted.
func (v *MappedListView) Names() iter.Seq[string] { return slices.Values(v.names) }

// List returns the list of a field, an empty one if there is no such field.
func (v *MappedListView) List(name string) *ListView {
	if list, found := v.lists[name]; found {
		return list
	}
	return noItems
}

// Has tells whether there is a field.
func (v *MappedListView) Has(name string) bool {
	_, found := v.lists[name]
	return found
}

// Contains tells whether the current snapshot has an item in the list of a field.
func (m *MappedList) Contains(name, item string) bool { return m.Get().List(name).Contains(item) }

// Add appends to the list of a field, which is made if it is missing, those items
// that it doesn't have, and returns the version that counts then: the old one if
// nothing changed. Errors: those of Client.Update; Invalid if there is something
// else than a mapped list.
func (m *MappedList) Add(ctx context.Context, w store.Write, name string, items ...string) (store.Value, error) {
	return m.change(ctx, w, name, items, func(old pyjson.Value) pyjson.Value {
		list, _ := old.Field(name)
		return old.With(name, addTexts(list, items))
	})
}

// Remove takes items out of the list of a field, which stays, perhaps as an empty
// one. The rest is as with Add.
func (m *MappedList) Remove(ctx context.Context, w store.Write, name string, items ...string) (store.Value, error) {
	return m.change(ctx, w, name, nil, func(old pyjson.Value) pyjson.Value {
		list, found := old.Field(name)
		if !found {
			return old
		}
		return old.With(name, removeTexts(list, items))
	})
}

// Set makes these the items of a field. The rest is as with Add.
func (m *MappedList) Set(ctx context.Context, w store.Write, name string, items ...string) (store.Value, error) {
	return m.change(ctx, w, name, items, func(old pyjson.Value) pyjson.Value { return old.With(name, pyjson.Texts(items)) })
}

// Unset takes fields out. The rest is as with Add.
func (m *MappedList) Unset(ctx context.Context, w store.Write, names ...string) (store.Value, error) {
	return m.edit(ctx, MappedListShape, w, func(old pyjson.Value) (pyjson.Value, error) { return withoutFields(old, names), nil })
}

// change publishes a change that brings new items into the list of a field.
func (m *MappedList) change(ctx context.Context, w store.Write, name string, items []string, change func(pyjson.Value) pyjson.Value) (store.Value, error) {
	if err := checkTexts(append([]string{name}, items...)...); err != nil {
		return store.Value{}, err
	}
	if err := m.validate(name, items); err != nil {
		return store.Value{}, err
	}
	return m.edit(ctx, MappedListShape, w, func(old pyjson.Value) (pyjson.Value, error) { return change(old), nil })
}
