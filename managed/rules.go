package managed

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/kingpinfs/kingpin/internal/pyjson"
	"github.com/kingpinfs/kingpin/store"
)

// Shape is what a content must be.
type Shape uint8

// The shapes, of which each demands what AnyJSON demands, but AnyBytes.
const (
	AnyBytes        Shape = iota // anything that isn't empty
	AnyJSON                      // JSON, of whatever kind
	ListShape                    // a JSON array
	MapShape                     // a JSON object
	MappedListShape              // a JSON object of arrays
	DeciderShape                 // a JSON object of names and integers; see ParseDecider
)

var shapeNames = [...]string{"bytes", "JSON", "list", "map", "mapped list", "map of deciders"}

// String names the shape, such as "list".
func (s Shape) String() string { return shapeNames[s] }

// ShapeOf returns what a config's name alone says of its content: admin.decider
// holds the deciders, and what ends in "json" after a dot, a dash or an
// underscore holds JSON.
func ShapeOf(file string) Shape {
	if file == DeciderFile {
		return DeciderShape
	}
	for _, ending := range []string{".json", "-json", "_json"} {
		if strings.HasSuffix(strings.ToLower(file), ending) {
			return AnyJSON
		}
	}
	return AnyBytes
}

// Rules are what a config's content must satisfy before it is published. The
// zero value has the rules for all contents.
type Rules struct {
	// Name of the config, for messages.
	Name string
	// Shape is what the content must be.
	Shape Shape
	// Schema must accept it; nil for none.
	Schema *Schema
	// MaxSize is the largest content, in bytes. 0 means store.DefaultMaxContent.
	MaxSize int64
}

// Check refuses a content that breaks a rule. The error is TooLarge or Invalid,
// and says where in the content what is wrong.
func (r Rules) Check(content []byte) error {
	limit := r.MaxSize
	if limit == 0 {
		limit = store.DefaultMaxContent
	}
	switch {
	case int64(len(content)) > limit:
		return r.refuse(store.TooLarge, fmt.Errorf("it has %d bytes, the limit is %d", len(content), limit))
	case len(content) == 0:
		return r.refuse(store.Invalid, errors.New("it is empty, and no monitor would serve that: an empty list is [], an empty map {}"))
	case r.Shape == AnyBytes && r.Schema == nil:
		return nil
	}
	v, err := pyjson.Parse(content)
	if err != nil {
		return r.refuse(store.Invalid, fmt.Errorf("it is not JSON: %w", err))
	}
	if err := errors.Join(v.Check(content), r.Shape.check(v, content)); err != nil {
		return r.refuse(store.Invalid, err)
	}
	if r.Schema != nil {
		if err := r.Schema.check(v, content); err != nil {
			return r.refuse(store.Invalid, fmt.Errorf("the config's schema refuses it: %w", err))
		}
	}
	return nil
}

func (r Rules) refuse(kind store.Kind, err error) error {
	return &ContentError{store.Error{Op: "checking the content of", Subject: r.Name, Kind: kind, Err: err}}
}

// ContentError says what is wrong with a content, and may quote from it.
type ContentError struct{ refusal store.Error }

// Error quotes the content.
func (e *ContentError) Error() string { return e.refusal.Error() }

// Unwrap returns the *store.Error that it is.
func (e *ContentError) Unwrap() error { return &e.refusal }

var placeInContent = regexp.MustCompile(`line \d+, column \d+`)

// WithoutContent says the same, for those who may not see the content: of it only
// the places that are wrong.
func (e *ContentError) WithoutContent() string {
	text := fmt.Sprintf("%s %q: %v", e.refusal.Op, e.refusal.Subject, e.refusal.Kind)
	if places := placeInContent.FindAllString(e.refusal.Error(), maxFaults); len(places) > 0 {
		text += ": " + strings.Join(places, "; ")
	}
	return text
}

// check says what makes a value another shape.
func (s Shape) check(v pyjson.Value, content []byte) error {
	want := pyjson.Object
	switch s {
	case AnyBytes, AnyJSON:
		return nil
	case ListShape:
		want = pyjson.Array
	}
	if v.Kind != want {
		return faults{{v.Offset, "", wantKind(v, want)}}.in(content)
	}
	var found faults
	for _, field := range v.Fields {
		var err error
		switch s {
		case MappedListShape:
			err = wantKind(field.Value, pyjson.Array)
		case DeciderShape:
			err = checkDecider(field.Name, field.Value)
		}
		if err != nil {
			found = append(found, fault{field.Value.Offset, "/" + pyjson.EscapePointer(field.Name), err})
		}
	}
	return found.in(content)
}

func wantKind(v pyjson.Value, want pyjson.Kind) error {
	if v.Kind == want {
		return nil
	}
	return fmt.Errorf("want a JSON %v, not %s", want, withArticle(v.Kind))
}

func withArticle(k pyjson.Kind) string {
	switch k {
	case pyjson.Null:
		return "null"
	case pyjson.Array, pyjson.Object:
		return "an " + k.String()
	default:
		return "a " + k.String()
	}
}

// checkDecider refuses an entry of the deciders that is none.
func checkDecider(name string, v pyjson.Value) error {
	if err := CheckDeciderName(name); err != nil {
		return err
	}
	text := v.String()
	if v.Kind == pyjson.Number {
		text = v.Text
	}
	_, err := parseDeciderValue(text)
	return err
}
