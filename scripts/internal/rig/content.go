package rig

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/kingpinfs/kingpin/store"
)

// wordSize is the size of the words that contents consist of.
const wordSize = 8

// Content returns version n of a content: its number, in eight digits, over and
// over, so that a torn content shows. The size must be a multiple of 8.
func Content(n, size int) string {
	return strings.Repeat(fmt.Sprintf("%0*d", wordSize, n%100_000_000), size/wordSize)
}

// numberOf returns which version a content is, and false if it isn't whole: cut
// short, or mixed of several.
func numberOf(content []byte, size int) (int, bool) {
	if len(content) != size || size < wordSize {
		return 0, false
	}
	// Each word equals the one before it.
	if string(content[wordSize:]) != string(content[:size-wordSize]) {
		return 0, false
	}
	n, err := strconv.Atoi(string(content[:wordSize]))
	return n, err == nil
}

// versionOf returns the version under which content n is published.
func versionOf(n int) store.Version {
	const base = 1_700_000_000
	return store.Version(fmt.Sprintf("%d.%06d", base+n/1_000_000, n%1_000_000))
}
