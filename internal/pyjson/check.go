package pyjson

import (
	"errors"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Check says what in a value other readers than Python's can't understand,
// although Python writes it: numbers that aren't finite, and halves of surrogate
// pairs. text is what the value was parsed from. The error is an *Error.
func (v Value) Check(text []byte) error {
	if at, pointer, err := v.check(); err != nil {
		return ErrorAt(text, at, pointer, err)
	}
	return nil
}

var (
	errNotFinite = errors.New("the number is not finite, which JSON can't say")
	errHalfText  = errors.New("the text holds half of a surrogate pair, which is no character")
	errHalfName  = errors.New("a name holds half of a surrogate pair, which is no character")
)

// check returns where the first fault is, by its offset and by its pointer from
// the value on.
func (v Value) check() (at int, pointer string, err error) {
	switch v.Kind {
	case Number:
		if t := numberText(v.Text); strings.HasSuffix(t, infinity) || t == nan {
			return v.Offset, "", errNotFinite
		}
	case String:
		if !utf8.ValidString(v.Text) {
			return v.Offset, "", errHalfText
		}
	case Array:
		for i, item := range v.Items {
			if at, pointer, err := item.check(); err != nil {
				return at, "/" + strconv.Itoa(i) + pointer, err
			}
		}
	case Object:
		for _, field := range v.Fields {
			if !utf8.ValidString(field.Name) {
				return field.Value.Offset, "", errHalfName
			}
			if at, pointer, err := field.Value.check(); err != nil {
				return at, "/" + EscapePointer(field.Name) + pointer, err
			}
		}
	}
	return 0, "", nil
}

var pointerEscapes = strings.NewReplacer("~", "~0", "/", "~1")

// EscapePointer writes a field's name as a part of a JSON pointer.
func EscapePointer(name string) string { return pointerEscapes.Replace(name) }

// At returns the value that lies where a path of names and indexes leads to, or
// where it ends if it leads to nothing.
func (v Value) At(path []string) Value {
	for _, part := range path {
		next, found := v.Field(part)
		if i, err := strconv.Atoi(part); v.Kind == Array && err == nil && 0 <= i && i < len(v.Items) {
			next, found = v.Items[i], true
		}
		if !found {
			return v
		}
		v = next
	}
	return v
}
