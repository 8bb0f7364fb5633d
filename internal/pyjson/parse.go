package pyjson

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	nan      = "NaN"
	infinity = "Infinity"
)

const (
	// maxDepth is how deep arrays and objects may be nested. Python's own limit
	// is somewhat less than 1000, and depends on who calls.
	maxDepth = 500
	// maxDigits is how many digits a whole number may have that Python reads.
	maxDigits = 4300
)

// Error is an error at a place in a text.
type Error struct {
	// Line and Column count from 1; the column is in characters.
	Line, Column int
	// Pointer is the JSON pointer (RFC 6901) of the value that is wrong; "" if
	// it is the whole, or the text is no JSON.
	Pointer string
	// Err says what is wrong.
	Err error
}

// Error renders "line 2, column 7 (/limits/burst): …".
func (e *Error) Error() string {
	if e.Pointer == "" {
		return fmt.Sprintf("line %d, column %d: %v", e.Line, e.Column, e.Err)
	}
	return fmt.Sprintf("line %d, column %d (%s): %v", e.Line, e.Column, e.Pointer, e.Err)
}

// Unwrap returns what is wrong.
func (e *Error) Unwrap() error { return e.Err }

// ErrorAt returns an *Error for the byte at an offset.
func ErrorAt(text []byte, offset int, pointer string, err error) error {
	before := text[:min(max(offset, 0), len(text))]
	start := bytes.LastIndexByte(before, '\n') + 1
	return &Error{bytes.Count(before, []byte{'\n'}) + 1, utf8.RuneCount(before[start:]) + 1, pointer, err}
}

// Parse reads a text as json.loads does. The error is an *Error.
func Parse(text []byte) (Value, error) {
	p := parser{text: text}
	p.space()
	v, err := p.value(0)
	if err == nil {
		p.space()
		if p.at < len(text) {
			err = p.unexpected("the end")
		}
	}
	if err != nil {
		return Value{}, ErrorAt(text, p.at, "", err)
	}
	return v, nil
}

// parser reads a text. After an error at is where it is.
type parser struct {
	text []byte
	at   int
}

func (p *parser) space() {
	for p.at < len(p.text) && strings.IndexByte(" \t\r\n", p.text[p.at]) >= 0 {
		p.at++
	}
}

// next returns the byte at the place; 0 at the end.
func (p *parser) next() byte {
	if p.at == len(p.text) {
		return 0
	}
	return p.text[p.at]
}

func (p *parser) unexpected(wanted string) error {
	if p.at == len(p.text) {
		return fmt.Errorf("the text ends where %s is expected", wanted)
	}
	r, size := utf8.DecodeRune(p.text[p.at:])
	if r == utf8.RuneError && size == 1 {
		return errors.New("it is not UTF-8")
	}
	return fmt.Errorf("%q stands where %s is expected", r, wanted)
}

// words are the values that are written as words.
var words = []Value{
	{Kind: Null, Text: "null"}, {Kind: Bool, Text: "true"}, {Kind: Bool, Text: "false"},
	{Kind: Number, Text: nan}, {Kind: Number, Text: infinity}, {Kind: Number, Text: "-" + infinity},
}

func (p *parser) value(depth int) (Value, error) {
	start := p.at
	var v Value
	var err error
	switch c := p.next(); c {
	case '{':
		v, err = p.object(depth + 1)
	case '[':
		v, err = p.array(depth + 1)
	case '"':
		v.Kind = String
		v.Text, err = p.string()
	default:
		for _, word := range words {
			if bytes.HasPrefix(p.text[p.at:], []byte(word.Text)) {
				p.at += len(word.Text)
				word.Offset = start
				return word, nil
			}
		}
		if c != '-' && !isDigit(c) {
			return v, p.unexpected("a value")
		}
		v.Kind = Number
		v.Text, err = p.number()
	}
	v.Offset = start
	return v, err
}

func (p *parser) array(depth int) (Value, error) {
	v := Value{Kind: Array}
	err := p.list(depth, ']', func() error {
		item, err := p.value(depth)
		v.Items = append(v.Items, item)
		return err
	})
	return v, err
}

func (p *parser) object(depth int) (Value, error) {
	v := Value{Kind: Object}
	var index map[string]int // of the fields, by their names
	err := p.list(depth, '}', func() error {
		if p.next() != '"' {
			return p.unexpected("a name in double quotes")
		}
		name, err := p.string()
		if err != nil {
			return err
		}
		p.space()
		if p.next() != ':' {
			return p.unexpected("':'")
		}
		p.at++
		p.space()
		value, err := p.value(depth)
		if i, twice := index[name]; twice {
			v.Fields[i].Value = value
			return err
		}
		if index == nil {
			index = make(map[string]int)
		}
		index[name] = len(v.Fields)
		v.Fields = append(v.Fields, Field{name, value})
		return err
	})
	return v, err
}

// list reads what stands between brackets, each element by a call of element.
func (p *parser) list(depth int, end byte, element func() error) error {
	if depth > maxDepth {
		return fmt.Errorf("it is nested deeper than %d times", maxDepth)
	}
	p.at++
	p.space()
	if p.next() == end {
		p.at++
		return nil
	}
	for {
		if err := element(); err != nil {
			return err
		}
		p.space()
		switch c := p.next(); {
		case c == end:
			p.at++
			return nil
		case c != ',' || p.at == len(p.text):
			return p.unexpected(fmt.Sprintf("',' or '%c'", end))
		}
		p.at++
		p.space()
	}
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func (p *parser) digits() int {
	start := p.at
	for isDigit(p.next()) {
		p.at++
	}
	return p.at - start
}

func (p *parser) number() (string, error) {
	start := p.at
	if p.next() == '-' {
		p.at++
	}
	whole := 1
	if p.next() == '0' {
		p.at++
	} else if whole = p.digits(); whole == 0 {
		return "", p.unexpected("a digit")
	}
	isWhole := true
	if p.next() == '.' {
		isWhole = false
		p.at++
		if p.digits() == 0 {
			return "", p.unexpected("a digit")
		}
	}
	if c := p.next(); c == 'e' || c == 'E' {
		isWhole = false
		p.at++
		if c := p.next(); c == '+' || c == '-' {
			p.at++
		}
		if p.digits() == 0 {
			return "", p.unexpected("a digit")
		}
	}
	if isWhole && whole > maxDigits {
		p.at = start
		return "", fmt.Errorf("a whole number has %d digits, and Python reads no more than %d", whole, maxDigits)
	}
	return string(p.text[start:p.at]), nil
}

func (p *parser) string() (string, error) {
	p.at++
	start := p.at
	for p.at < len(p.text) && p.text[p.at] != '"' && p.text[p.at] != '\\' && p.text[p.at] >= ' ' && p.text[p.at] < utf8.RuneSelf {
		p.at++
	}
	if p.next() == '"' { // most strings
		p.at++
		return string(p.text[start : p.at-1]), nil
	}
	decoded := bytes.Clone(p.text[start:p.at])
	for {
		switch c := p.next(); {
		case c == '"':
			p.at++
			return string(decoded), nil
		case c == '\\':
			var err error
			if decoded, err = p.escape(decoded); err != nil {
				return "", err
			}
		case p.at == len(p.text):
			return "", p.unexpected("'\"'")
		case c < ' ':
			return "", fmt.Errorf("%q stands in a string: it must be written as an escape", c)
		default:
			r, size := utf8.DecodeRune(p.text[p.at:])
			if r == utf8.RuneError && size == 1 {
				return "", errors.New("it is not UTF-8")
			}
			decoded = append(decoded, p.text[p.at:p.at+size]...)
			p.at += size
		}
	}
}

const escapes = "\"\"\\\\//b\bf\fn\nr\rt\t"

// escape reads one escape, and the second half of a surrogate pair with the
// first.
func (p *parser) escape(decoded []byte) ([]byte, error) {
	rest := p.text[p.at+1:]
	if len(rest) == 0 {
		p.at++
		return nil, p.unexpected("the rest of an escape")
	}
	if rest[0] != 'u' {
		for i := 0; i < len(escapes); i += 2 {
			if escapes[i] == rest[0] {
				p.at += 2
				return append(decoded, escapes[i+1]), nil
			}
		}
		p.at++
		return nil, p.unexpected(`one of "\/bfnrtu`)
	}
	r, err := p.unit()
	if err != nil {
		return nil, err
	}
	if isHigh := r>>10 == 0xd800>>10; isHigh && bytes.HasPrefix(p.text[p.at:], []byte(`\u`)) {
		after := p.at
		low, err := p.unit()
		if err != nil {
			return nil, err
		}
		if low>>10 == 0xdc00>>10 {
			return utf8.AppendRune(decoded, 0x10000+(r&0x3ff)<<10+low&0x3ff), nil
		}
		p.at = after // it stands for itself
	}
	return appendRune(decoded, r), nil
}

// unit reads an escape of four hexadecimal digits.
func (p *parser) unit() (rune, error) {
	digits := p.text[p.at+2 : min(p.at+6, len(p.text))]
	n, err := strconv.ParseUint(string(digits), 16, 16)
	if err != nil || len(digits) != 4 {
		return 0, errors.New(`\u must be followed by four hexadecimal digits`)
	}
	p.at += 6
	return rune(n), nil
}

// appendRune appends a character of at most 16 bits, or half a surrogate pair.
func appendRune(text []byte, r rune) []byte {
	if r >= 0xd800 && r <= 0xdfff {
		return append(text, 0xed, 0x80|byte(r>>6&0x3f), 0x80|byte(r&0x3f))
	}
	return utf8.AppendRune(text, r)
}
