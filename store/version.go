package store

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Version names one version of a value: a decimal Unix time in seconds, such
// as "1448012345.67". Its text is part of the object's key, so it is kept as
// it was written: "1448012345.0" and "1448012345" are equally old, but not the
// same version. The zero value "" means that nothing has been written yet.
type Version string

// The longest version text that is accepted. Unix times need far less; the
// bound keeps a hostile znode from becoming a huge key.
const maxVersionLen = 40

// ParseVersion checks that text is a version. The error is Invalid and quotes
// the text.
func ParseVersion(text string) (Version, error) {
	if len(text) > maxVersionLen {
		return "", fmt.Errorf("%w version %q…: longer than %d bytes", Invalid, text[:maxVersionLen], maxVersionLen)
	}
	whole, fraction, hasDot := strings.Cut(text, ".")
	if !allDigits(whole) || hasDot && !allDigits(fraction) {
		return "", fmt.Errorf("%w version %q: want a decimal Unix time such as 1448012345.67", Invalid, text)
	}
	return Version(text), nil
}

func allDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// Compare returns -1, 0 or +1 as v is older than, as old as, or newer than w,
// by their exact decimal values. The zero Version is older than any other.
func (v Version) Compare(w Version) int {
	if v == "" || w == "" {
		return cmp.Compare(len(v), len(w))
	}
	vWhole, vFraction := v.significant()
	wWhole, wFraction := w.significant()
	return cmp.Or(
		cmp.Compare(len(vWhole), len(wWhole)),
		strings.Compare(vWhole, wWhole),
		strings.Compare(vFraction, wFraction),
	)
}

// significant returns the digits before and after the point without the zeros
// that carry no value.
func (v Version) significant() (whole, fraction string) {
	whole, fraction, _ = strings.Cut(string(v), ".")
	return strings.TrimLeft(whole, "0"), strings.TrimRight(fraction, "0")
}

// Time returns the moment that the version names, to the nanosecond (further
// digits are cut off), in UTC; the zero time for the zero Version and for one
// that lies beyond what time.Time can hold.
func (v Version) Time() time.Time {
	if v == "" {
		return time.Time{}
	}
	whole, fraction, _ := strings.Cut(string(v), ".")
	seconds, err := strconv.ParseInt(whole, 10, 64)
	if err != nil || seconds > maxSeconds {
		return time.Time{}
	}
	nanos := int64(0)
	for i := range 9 {
		nanos *= 10
		if i < len(fraction) {
			nanos += int64(fraction[i] - '0')
		}
	}
	return time.Unix(seconds, nanos).UTC()
}

// The year 9999, the last that formats as four digits.
const maxSeconds = 253402300799

// next returns the version of a write made at now after prev: six decimals,
// and newer than prev even if the clock went back.
func next(prev Version, now time.Time) Version {
	micros := now.UnixMicro()
	if t := prev.Time(); !t.IsZero() && t.UnixMicro() >= micros {
		micros = t.UnixMicro() + 1
	}
	return Version(fmt.Sprintf("%d.%06d", micros/1e6, micros%1e6))
}
