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
	return v.Walk(func(pointer string, v Value) error {
		switch v.Kind {
		case Number:
			if t := numberText(v.Text); strings.HasSuffix(t, infinity) || t == nan {
				return ErrorAt(text, v.Offset, pointer, errors.New("the number is not finite, which JSON can't say"))
			}
		case String:
			if !utf8.ValidString(v.Text) {
				return ErrorAt(text, v.Offset, pointer, errors.New("the text holds half of a surrogate pair, which is no character"))
			}
		case Object:
			for _, field := range v.Fields {
				if !utf8.ValidString(field.Name) {
					return ErrorAt(text, field.Value.Offset, pointer, errors.New("a name holds half of a surrogate pair, which is no character"))
				}
			}
		}
		return nil
	})
}

// Walk calls f with the value and everything in it, and with their JSON
// pointers, until f returns an error, which it returns.
func (v Value) Walk(f func(pointer string, v Value) error) error { return v.walk("", f) }

func (v Value) walk(pointer string, f func(string, Value) error) error {
	if err := f(pointer, v); err != nil {
		return err
	}
	for i, item := range v.Items {
		if err := item.walk(pointer+"/"+strconv.Itoa(i), f); err != nil {
			return err
		}
	}
	for _, field := range v.Fields {
		if err := field.Value.walk(pointer+"/"+EscapePointer(field.Name), f); err != nil {
			return err
		}
	}
	return nil
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
