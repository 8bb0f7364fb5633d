package fs

import (
	"fmt"
	"slices"
	"strings"
)

// Mode says by which face a Volume is to be served. Its methods make it a flag's
// value.
type Mode string

// The modes. As a face, a Volume has FUSE or Plain, never Auto.
const (
	Auto  Mode = "auto"  // FUSE, or plain files where it can't be had
	FUSE  Mode = "fuse"  // FUSE or nothing
	Plain Mode = "plain" // plain files
)

var modes = []string{string(Auto), string(FUSE), string(Plain)}

// Set accepts the name of a mode.
func (m *Mode) Set(s string) error {
	if !slices.Contains(modes, s) {
		return fmt.Errorf("no such mode %q: use %s", s, strings.Join(modes, ", "))
	}
	*m = Mode(s)
	return nil
}

// String returns the mode's name.
func (m *Mode) String() string { return string(*m) }

// Type returns the names to choose from, for a flag's help.
func (m *Mode) Type() string { return strings.Join(modes, "|") }
