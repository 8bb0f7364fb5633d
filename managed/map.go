package managed

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"

	"github.com/kingpinfs/kingpin/internal/pyjson"
	"github.com/kingpinfs/kingpin/store"
)

// Map is a managed map of fields, each of which holds a JSON value.
type Map struct {
	*Reader[*MapView]
	validators []func(field string, value json.RawMessage) error
}

// MapView is a map at a moment. It never changes.
type MapView struct {
	names  []string // in their order
	fields map[string]mapField
}

type mapField struct {
	kind pyjson.Kind
	text string          // a text's, or the JSON text of anything else
	raw  json.RawMessage // as Python writes it
}

// NewMap returns a map, which does nothing before Open. Each validator must
// accept each field: a content that it refuses is no good content, and can't be
// written.
func NewMap(domain, key string, options Options, validators ...func(field string, value json.RawMessage) error) *Map {
	m := &Map{validators: validators}
	m.Reader = newReader(domain, key, options, new(MapView), m.decode)
	return m
}

func (m *Map) decode(content []byte, _ *MapView) (*MapView, bool, error) {
	v, err := parseShape(MapShape, content)
	if err != nil {
		return nil, false, err
	}
	view := &MapView{fields: make(map[string]mapField, len(v.Fields))}
	for name, value := range sortedFields(v) {
		field := mapField{value.Kind, shown(value), value.Append(nil, true)}
		if err := m.validate(name, field.raw); err != nil {
			return nil, false, err
		}
		view.names = append(view.names, name)
		view.fields[name] = field
	}
	return view, true, nil
}

func (m *Map) validate(name string, raw json.RawMessage) error {
	for _, validate := range m.validators {
		if err := validate(name, raw); err != nil {
			return fmt.Errorf("%w value of %q: %w", store.Invalid, shorten(name), err)
		}
	}
	return nil
}

// Len returns how many fields there are.
func (v *MapView) Len() int { return len(v.names) }

// Names yields the names of the fields, sorted.
func (v *MapView) Names() iter.Seq[string] { return slices.Values(v.names) }

// Text returns a field: if it holds a text the text, else its JSON text. ok says
// that there is such a field.
func (v *MapView) Text(name string) (text string, ok bool) {
	field, ok := v.fields[name]
	return field.text, ok
}

// Int returns a field that holds a whole number. ok says that there is such a
// field, and that it does.
func (v *MapView) Int(name string) (n int64, ok bool) {
	field, ok := v.fields[name]
	if !ok || field.kind != pyjson.Number {
		return 0, false
	}
	n, err := strconv.ParseInt(field.text, 10, 64)
	return n, err == nil
}

// JSON returns the JSON text of a field, which must not be changed; nil if there
// is no such field. Numbers are exactly those that were written.
func (v *MapView) JSON(name string) json.RawMessage { return v.fields[name].raw }

// Decode is json.Unmarshal of a field. Errors: NotFound if there is no such
// field; Invalid if it doesn't fit.
func (v *MapView) Decode(name string, into any) error {
	field, ok := v.fields[name]
	if !ok {
		return &store.Error{Op: "decoding field", Subject: name, Kind: store.NotFound}
	}
	if err := json.Unmarshal(field.raw, into); err != nil {
		return &store.Error{Op: "decoding field", Subject: name, Kind: store.Invalid, Err: err}
	}
	return nil
}

// Set gives a field a value, which is marshalled by encoding/json; a
// json.RawMessage is a text of JSON. It returns the version that counts then: the
// old one if the field had the value. Errors: those of Client.Update; Invalid if
// the value can't be said in JSON, or there is something else than a map.
func (m *Map) Set(ctx context.Context, w store.Write, name string, value any) (store.Value, error) {
	v, err := marshal(value)
	if err == nil {
		err = errors.Join(checkTexts(name), m.validate(name, v.Append(nil, true)))
	}
	if err != nil {
		return store.Value{}, fmt.Errorf("setting field %q: %w", name, err)
	}
	return m.edit(ctx, MapShape, w, func(old pyjson.Value) (pyjson.Value, error) { return old.With(name, v), nil })
}

// Unset takes fields out. The rest is as with Set.
func (m *Map) Unset(ctx context.Context, w store.Write, names ...string) (store.Value, error) {
	return m.edit(ctx, MapShape, w, func(old pyjson.Value) (pyjson.Value, error) { return withoutFields(old, names), nil })
}

// Clear takes all fields out. The rest is as with Set.
func (m *Map) Clear(ctx context.Context, w store.Write) (store.Value, error) {
	return m.edit(ctx, MapShape, w, func(pyjson.Value) (pyjson.Value, error) { return pyjson.Value{Kind: pyjson.Object}, nil })
}

// marshal returns a Go value as JSON. The error is Invalid.
func marshal(value any) (pyjson.Value, error) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(value)
	var v pyjson.Value
	if err == nil {
		v, err = pyjson.Parse(text.Bytes())
	}
	if err != nil {
		return v, fmt.Errorf("%w value: %w", store.Invalid, err)
	}
	return v, nil
}
