package pyjson

import (
	"cmp"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
)

// Kind is what a value is.
type Kind uint8

// The kinds of values.
const (
	Null Kind = iota
	Bool
	Number
	String
	Array
	Object
)

var kindNames = [...]string{Null: "null", Bool: "boolean", Number: "number", String: "string", Array: "array", Object: "object"}

// String names a kind as people call it, such as "string".
func (k Kind) String() string { return kindNames[k] }

// Value is a JSON value. The zero Value is null. Values share what they hold:
// who changes one makes a new one.
type Value struct {
	Kind Kind
	// Text is a String's text, a Number as it was written, and "true" or "false".
	Text string
	// Items are an Array's.
	Items []Value
	// Fields are an Object's, each name once, in the order of the text.
	Fields []Field
	// Offset is where in the parsed text the value begins, in bytes.
	Offset int
}

// Field is a named value of an object.
type Field struct {
	Name  string
	Value Value
}

// Text returns a string.
func Text(text string) Value { return Value{Kind: String, Text: text} }

// Int returns a whole number.
func Int(n int64) Value { return Value{Kind: Number, Text: strconv.FormatInt(n, 10)} }

// Texts returns an array of strings.
func Texts(texts []string) Value {
	items := make([]Value, len(texts))
	for i, text := range texts {
		items[i] = Text(text)
	}
	return Value{Kind: Array, Items: items}
}

// Field returns a field of an object.
func (v Value) Field(name string) (Value, bool) {
	for _, field := range v.Fields {
		if field.Name == name {
			return field.Value, true
		}
	}
	return Value{}, false
}

// With returns the object with a field set: in its place, or as the last one.
func (v Value) With(name string, value Value) Value {
	fields := slices.Clone(v.Fields)
	for i := range fields {
		if fields[i].Name == name {
			fields[i].Value = value
			return Value{Kind: Object, Fields: fields}
		}
	}
	return Value{Kind: Object, Fields: append(fields, Field{name, value})}
}

// Without returns the object without a field.
func (v Value) Without(name string) Value {
	fields := slices.DeleteFunc(slices.Clone(v.Fields), func(f Field) bool { return f.Name == name })
	return Value{Kind: Object, Fields: fields}
}

// Equal tells whether Python would write both values as the same text, with
// objects sorted.
func (v Value) Equal(w Value) bool {
	if v.Kind != w.Kind {
		return false
	}
	switch v.Kind {
	case Null:
		return true
	case Bool, String:
		return v.Text == w.Text
	case Number:
		return numberText(v.Text) == numberText(w.Text)
	case Array:
		return slices.EqualFunc(v.Items, w.Items, Value.Equal)
	default:
		sameField := func(a, b Field) bool { return a.Name == b.Name && a.Value.Equal(b.Value) }
		return slices.EqualFunc(Sorted(v.Fields), Sorted(w.Fields), sameField)
	}
}

// Go returns the value as encoding/json would decode it into an any, with
// numbers as json.Number in Python's notation. Halves of surrogate pairs become
// U+FFFD.
func (v Value) Go() any {
	switch v.Kind {
	case Bool:
		return v.Text == "true"
	case Number:
		return json.Number(numberText(v.Text))
	case String:
		return strings.ToValidUTF8(v.Text, "\uFFFD")
	case Array:
		items := make([]any, len(v.Items))
		for i, item := range v.Items {
			items[i] = item.Go()
		}
		return items
	case Object:
		fields := make(map[string]any, len(v.Fields))
		for _, field := range v.Fields {
			fields[strings.ToValidUTF8(field.Name, "\uFFFD")] = field.Value.Go()
		}
		return fields
	default:
		return nil
	}
}

// Sorted returns the fields in the order of their names' code points, which is
// that of their bytes.
func Sorted(fields []Field) []Field {
	byName := func(a, b Field) int { return cmp.Compare(a.Name, b.Name) }
	if slices.IsSortedFunc(fields, byName) {
		return fields
	}
	return slices.SortedFunc(slices.Values(fields), byName)
}
