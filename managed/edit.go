package managed

import (
	"context"
	"fmt"
	"iter"
	"unicode/utf8"

	"github.com/kingpinfs/kingpin/internal/pyjson"
	"github.com/kingpinfs/kingpin/store"
)

// parseShape reads a content that must be of a shape. The error is Invalid and
// says where it is not.
func parseShape(shape Shape, content []byte) (pyjson.Value, error) {
	v, err := pyjson.Parse(content)
	if err == nil {
		err = shape.check(v, content)
	}
	if err != nil {
		return v, fmt.Errorf("%w %v: %w", store.Invalid, shape, err)
	}
	return v, nil
}

// edit publishes what change makes of a value of a shape, and of an empty one if
// there is none yet. A change that leaves everything as it was publishes nothing.
// The text is rendered as Python's writers do.
func (r *Reader[T]) edit(ctx context.Context, shape Shape, w store.Write, change func(pyjson.Value) (pyjson.Value, error)) (store.Value, error) {
	file, client, err := r.target()
	if err != nil {
		return store.Value{}, err
	}
	rules, err := client.Rules(ctx, file)
	if err != nil {
		return store.Value{}, err
	}
	switch {
	case shape == DeciderShape:
		// An entry that somebody else got wrong mustn't keep others from being
		// set. What is set here is checked by change.
		shape, rules.Shape = MapShape, MapShape
	case rules.Shape != DeciderShape:
		rules.Shape = shape
	}
	return client.update(ctx, rules, w, func(old store.Value) ([]byte, error) {
		v := pyjson.Value{Kind: pyjson.Object}
		if shape == ListShape {
			v.Kind = pyjson.Array
		}
		if old.Version != "" {
			if v, err = parseShape(shape, old.Content); err != nil {
				return nil, fmt.Errorf("changing %q at version %s: %w", file, old.Version, err)
			}
		}
		changed, err := change(v)
		if err != nil {
			return nil, fmt.Errorf("changing %q: %w", file, err)
		}
		if old.Version != "" && changed.Equal(v) {
			return old.Content, nil
		}
		return changed.Append(nil, shape != ListShape), nil
	})
}

// checkTexts refuses what a JSON string can't say.
func checkTexts(texts ...string) error {
	for _, text := range texts {
		if !utf8.ValidString(text) {
			return fmt.Errorf("%w text %q: it is not UTF-8", store.Invalid, shorten(text))
		}
	}
	return nil
}

// shown is how a value appears to those who want texts: a string's text, or the
// JSON text of anything else.
func shown(v pyjson.Value) string {
	if v.Kind == pyjson.String {
		return v.Text
	}
	return v.String()
}

// addTexts returns an array with those texts that it doesn't have.
func addTexts(v pyjson.Value, texts []string) pyjson.Value {
	has := make(map[string]bool, len(v.Items))
	for _, item := range v.Items {
		if item.Kind == pyjson.String {
			has[item.Text] = true
		}
	}
	items := v.Items[:len(v.Items):len(v.Items)]
	for _, text := range texts {
		if !has[text] {
			has[text] = true
			items = append(items, pyjson.Text(text))
		}
	}
	return pyjson.Value{Kind: pyjson.Array, Items: items}
}

// removeTexts returns an array without what appears as one of the texts.
func removeTexts(v pyjson.Value, texts []string) pyjson.Value {
	unwanted := make(map[string]bool, len(texts))
	for _, text := range texts {
		unwanted[text] = true
	}
	kept := pyjson.Value{Kind: pyjson.Array}
	for _, item := range v.Items {
		if !unwanted[shown(item)] {
			kept.Items = append(kept.Items, item)
		}
	}
	return kept
}

// withoutFields returns an object without some fields.
func withoutFields(v pyjson.Value, names []string) pyjson.Value {
	for _, name := range names {
		v = v.Without(name)
	}
	return v
}

// sortedFields yields an object's fields by the order of their names.
func sortedFields(v pyjson.Value) iter.Seq2[string, pyjson.Value] {
	return func(yield func(string, pyjson.Value) bool) {
		for _, field := range pyjson.Sorted(v.Fields) {
			if !yield(field.Name, field.Value) {
				return
			}
		}
	}
}
