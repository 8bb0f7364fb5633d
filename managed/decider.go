package managed

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/kingpinfs/kingpin/store"
)

// The managed value that holds the deciders, and the name of its file.
const (
	DeciderDomain = "admin"
	DeciderKey    = "decider"
	DeciderFile   = "config.manageddata." + DeciderDomain + "." + DeciderKey
)

// MaxDecider is the largest value of a decider: always. 0 is never.
const MaxDecider = 100

// maxNameLen is what file systems allow for one name, in bytes.
const maxNameLen = 255

// BadDecider is an entry of the deciders that is none.
type BadDecider struct {
	Name string // as it was found
	Err  error  // what is wrong with it
}

// String names the entry and says what is wrong with it.
func (b BadDecider) String() string { return fmt.Sprintf("%q: %v", shorten(b.Name), b.Err) }

// ParseDecider reads the deciders' text: a JSON object of names and whole
// numbers from 0 to 100. An empty text, as of a value never written, holds
// none. skipped are, sorted by name, the entries that are no deciders: they are
// left out. The error is Invalid if the text is no JSON object at all.
func ParseDecider(content []byte) (values map[string]int, skipped []BadDecider, err error) {
	values = make(map[string]int)
	if len(content) == 0 {
		return values, nil, nil
	}
	if !utf8.Valid(content) {
		return nil, nil, fmt.Errorf("parsing deciders: %w: the text is not UTF-8", store.Invalid)
	}
	var entries map[string]json.RawMessage
	if err := json.Unmarshal(content, &entries); err != nil {
		return nil, nil, fmt.Errorf("parsing deciders: %w: want a JSON object of names and numbers: %w", store.Invalid, err)
	}
	if entries == nil {
		return nil, nil, fmt.Errorf("parsing deciders: %w: want a JSON object of names and numbers, not null", store.Invalid)
	}
	for name, raw := range entries {
		value, err := parseDeciderValue(string(raw))
		if err == nil {
			err = CheckDeciderName(name)
		}
		if err != nil {
			skipped = append(skipped, BadDecider{name, err})
			continue
		}
		values[name] = value
	}
	slices.SortFunc(skipped, func(a, b BadDecider) int { return cmp.Compare(a.Name, b.Name) })
	return values, skipped, nil
}

// parseDeciderValue accepts what Python's json reads as an int.
func parseDeciderValue(text string) (int, error) {
	value, err := strconv.Atoi(text)
	if err != nil || value < 0 || value > MaxDecider {
		return 0, fmt.Errorf("the value %s is not a whole number from 0 to %d", shorten(text), MaxDecider)
	}
	return value, nil
}

// CheckDeciderName refuses, with an Invalid error, what can't name a decider.
// Readers look a decider up by its name in lower case, and each is a file.
func CheckDeciderName(name string) error {
	var err error
	switch {
	case name == "":
		err = errors.New("it is empty")
	case name == "." || name == "..":
		err = errors.New("it is a directory")
	case strings.ContainsAny(name, "/\x00"):
		err = errors.New("it holds a slash or a NUL")
	case len(name) > maxNameLen:
		err = fmt.Errorf("it has %d bytes, more than %d", len(name), maxNameLen)
	case strings.ToLower(name) != name:
		err = errors.New("it is not in lower case")
	default:
		return nil
	}
	return fmt.Errorf("%w decider name %q: %w", store.Invalid, shorten(name), err)
}

// RenderDeciderValue returns the content of a decider's file: the number and a
// newline.
func RenderDeciderValue(value int) string { return strconv.Itoa(value) + "\n" }

// ParseDeciderFile reads what somebody wrote to a decider's file: a whole number
// from 0 to 100, with blanks around it and a newline at its end, or without. The
// error is Invalid, and doesn't quote the content.
func ParseDeciderFile(content []byte) (int, error) {
	text := strings.Trim(strings.TrimSuffix(string(content), "\n"), " \t")
	notDigit := func(c rune) bool { return c < '0' || '9' < c }
	value, err := strconv.Atoi(text)
	if err != nil || strings.ContainsFunc(text, notDigit) || value > MaxDecider {
		return 0, fmt.Errorf("reading a decider: %w: want a whole number from 0 to %d", store.Invalid, MaxDecider)
	}
	return value, nil
}

// shorten cuts what is too long for a message.
func shorten(text string) string {
	const most = 80
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}
