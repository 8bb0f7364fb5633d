package store

import (
	"errors"
	"fmt"
)

// Kind says what went wrong in terms a caller can act on. Every error that
// leaves this package, and every error that a Znodes or Blobs driver returns,
// carries exactly one. A Kind is itself an error, so that
// errors.Is(err, store.NotFound) works through any wrapping.
type Kind uint8

// The kinds. Their zero value is no kind: KindOf returns it for an error that
// carries none.
const (
	// NotFound: the znode, object or version isn't there.
	NotFound Kind = iota + 1
	// Exists: it is there already, and the caller wanted to create it.
	Exists
	// Conflict: somebody else changed it since it was read, or holds its lock.
	Conflict
	// Invalid: a name, version or content breaks a rule. Repeating can't help.
	Invalid
	// Denied: the backend knows us and refuses, or doesn't accept who we say we are.
	Denied
	// Unavailable: the backend can't be reached, doesn't answer in time, or
	// answers nonsense. Repeating may help.
	Unavailable
	// TooLarge: the content is over the limit that the caller set.
	TooLarge
)

var kindText = [...]string{
	NotFound:    "not found",
	Exists:      "already exists",
	Conflict:    "conflict",
	Invalid:     "invalid",
	Denied:      "permission denied",
	Unavailable: "unavailable",
	TooLarge:    "too large",
}

// Error returns the kind in a word or two, such as "not found".
func (k Kind) Error() string {
	if int(k) < len(kindText) && kindText[k] != "" {
		return kindText[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Error is the error type of this package and of its drivers.
type Error struct {
	// Op is what was being done, in the progressive: "reading znode".
	Op string
	// Subject is what it was done to: a path, a key, a name.
	Subject string
	// Kind is what went wrong.
	Kind Kind
	// Err is the cause or the advice; nil if Kind says it all.
	Err error
}

// Error renders "reading znode \"/a/b\": not found", with the cause behind it.
func (e *Error) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("%s %q: %v", e.Op, e.Subject, e.Kind)
	}
	return fmt.Sprintf("%s %q: %v: %v", e.Op, e.Subject, e.Kind, e.Err)
}

// Unwrap makes both the kind and the cause visible to errors.Is and errors.As.
func (e *Error) Unwrap() []error {
	if e.Err == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Err}
}

// KindOf returns the kind that err carries (the outermost, if several), or 0.
func KindOf(err error) Kind {
	if k, ok := errors.AsType[Kind](err); ok {
		return k
	}
	return 0
}
