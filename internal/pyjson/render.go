package pyjson

import (
	"math"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Append appends the text that json.dumps writes of a value. sortKeys is its
// parameter sort_keys; without it fields keep their order.
func (v Value) Append(text []byte, sortKeys bool) []byte {
	switch v.Kind {
	case Null:
		return append(text, "null"...)
	case Bool:
		return append(text, v.Text...)
	case Number:
		return append(text, numberText(v.Text)...)
	case String:
		return appendString(text, v.Text)
	case Array:
		text = append(text, '[')
		for i, item := range v.Items {
			if i > 0 {
				text = append(text, ", "...)
			}
			text = item.Append(text, sortKeys)
		}
		return append(text, ']')
	default:
		fields := v.Fields
		if sortKeys {
			fields = Sorted(fields)
		}
		text = append(text, '{')
		for i, field := range fields {
			if i > 0 {
				text = append(text, ", "...)
			}
			text = appendString(text, field.Name)
			text = append(text, ": "...)
			text = field.Value.Append(text, sortKeys)
		}
		return append(text, '}')
	}
}

// String returns the text of the value, with objects sorted.
func (v Value) String() string { return string(v.Append(nil, true)) }

const hexDigits = "0123456789abcdef"

// appendString appends a string's literal. A byte that belongs to no character
// becomes U+FFFD.
func appendString(text []byte, s string) []byte {
	text = append(text, '"')
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			i++
			text = appendASCII(text, c)
			continue
		}
		r, size := decodeRune(s[i:])
		i += size
		if r > 0xffff {
			r -= 0x10000
			text = appendEscape(text, 0xd800+r>>10)
			r = 0xdc00 + r&0x3ff
		}
		text = appendEscape(text, r)
	}
	return append(text, '"')
}

func appendASCII(text []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(text, '\\', c)
	case '\n':
		return append(text, '\\', 'n')
	case '\r':
		return append(text, '\\', 'r')
	case '\t':
		return append(text, '\\', 't')
	case '\f':
		return append(text, '\\', 'f')
	case '\b':
		return append(text, '\\', 'b')
	}
	if c < ' ' || c == 0x7f {
		return appendEscape(text, rune(c))
	}
	return append(text, c)
}

func appendEscape(text []byte, r rune) []byte {
	return append(text, '\\', 'u', hexDigits[r>>12&0xf], hexDigits[r>>8&0xf], hexDigits[r>>4&0xf], hexDigits[r&0xf])
}

// decodeRune is utf8.DecodeRuneInString that also takes half a surrogate pair.
func decodeRune(s string) (rune, int) {
	r, size := utf8.DecodeRuneInString(s)
	if r == utf8.RuneError && size == 1 && len(s) >= 3 && s[0] == 0xed && s[1] >= 0xa0 && s[1] <= 0xbf && s[2]&0xc0 == 0x80 {
		return 0xd000 | rune(s[1]&0x3f)<<6 | rune(s[2]&0x3f), 3
	}
	return r, size
}

// numberText returns what Python writes of a number that it has read: a whole
// number of any size as it is, and anything else as the double that it is.
func numberText(literal string) string {
	if !strings.ContainsAny(literal, ".eEN") && !strings.HasSuffix(literal, infinity) {
		if literal == "-0" {
			return "0"
		}
		return literal
	}
	if strings.HasSuffix(literal, infinity) || literal == nan {
		return literal
	}
	f, err := strconv.ParseFloat(literal, 64)
	if err != nil && !math.IsInf(f, 0) {
		return literal // no number at all, which the parser doesn't let pass
	}
	return floatText(f)
}

// floatText is Python's repr of a double, in the words of json.dumps.
func floatText(f float64) string {
	switch {
	case math.IsNaN(f):
		return nan
	case math.IsInf(f, 1):
		return infinity
	case math.IsInf(f, -1):
		return "-" + infinity
	}
	text := strconv.FormatFloat(f, 'e', -1, 64)
	_, exponent, _ := strings.Cut(text, "e")
	if n, err := strconv.Atoi(exponent); err == nil && (n < -4 || n >= 16) {
		return text
	}
	text = strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(text, ".") {
		text += ".0"
	}
	return text
}

// AppendIndented appends a text for people: each item and field on a line of its
// own, and characters as they are if they can be seen.
func (v Value) AppendIndented(text []byte) []byte { return v.appendIndented(text, "\n") }

// appendIndented has in newline the line end and the indentation of the value.
func (v Value) appendIndented(text []byte, newline string) []byte {
	inner := newline + "  "
	switch {
	case v.Kind == String:
		return appendReadable(text, v.Text)
	case len(v.Items) > 0:
		for i, item := range v.Items {
			text = append(append(text, "[,"[min(i, 1)]), inner...)
			text = item.appendIndented(text, inner)
		}
		return append(append(text, newline...), ']')
	case len(v.Fields) > 0:
		for i, field := range v.Fields {
			text = append(append(text, "{,"[min(i, 1)]), inner...)
			text = append(appendReadable(text, field.Name), ": "...)
			text = field.Value.appendIndented(text, inner)
		}
		return append(append(text, newline...), '}')
	default:
		return v.Append(text, false)
	}
}

func appendReadable(text []byte, s string) []byte {
	text = append(text, '"')
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		if r != utf8.RuneError && r >= utf8.RuneSelf && unicode.IsPrint(r) {
			text = append(text, s[i:i+size]...)
		} else {
			_, size = decodeRune(s[i:])
			literal := appendString(nil, s[i:i+size])
			text = append(text, literal[1:len(literal)-1]...)
		}
		i += size
	}
	return append(text, '"')
}
