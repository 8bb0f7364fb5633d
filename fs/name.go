package fs

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// maxName is how long a file's name may be, in bytes.
const maxName = 255

// ownDir is the directory beneath the mount that holds the lock and files being
// written. Names that begin with it are never served.
const ownDir = ".kingpin"

// pollProbe is a name in the root that go-fuse answers for by itself: of a file
// whose POLL fails with ENOSYS.
const pollProbe = ".go-fuse-epoll-hack"

// reservedNames are kept for directories of ours in the mount: one through
// which a version is renamed into place, one for writers. The last is go-fuse's.
var reservedNames = []string{stageDir, ".rw", pollProbe}

// ErrName is what every error about a name that can't be served is.
var ErrName = errors.New("not a usable file name")

// CheckName returns an error, an ErrName, if no Volume can serve a file of that
// name: if it is empty, ".", "..", holds a "/" or a NUL, is longer than 255
// bytes, or is reserved. docs/wire-format.md has the rule.
func CheckName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("%w: it is empty", ErrName)
	case name == "." || name == "..":
		return fmt.Errorf("%w: %q", ErrName, name)
	case strings.ContainsAny(name, "/\x00"):
		return fmt.Errorf("%w: %q holds a slash or a NUL", ErrName, name)
	case len(name) > maxName:
		return fmt.Errorf("%w: %.40q… has %d bytes, more than %d", ErrName, name, len(name), maxName)
	case strings.HasPrefix(name, ownDir), slices.Contains(reservedNames, name):
		return fmt.Errorf("%w: %q is reserved", ErrName, name)
	}
	return nil
}

// splitName returns the subdirectory that a name lies in, "" for none, and the
// name in it.
func splitName(name string, subdirs []string) (sub, base string, err error) {
	base = name
	if dir, rest, ok := strings.Cut(name, "/"); ok && slices.Contains(subdirs, dir) {
		sub, base = dir, rest
	}
	if err := CheckName(base); err != nil {
		return "", "", err
	}
	if sub == "" && slices.Contains(subdirs, base) {
		return "", "", fmt.Errorf("%w: %q is a directory", ErrName, name)
	}
	return sub, base, nil
}

// joinName is the reverse of splitName.
func joinName(sub, base string) string {
	if sub == "" {
		return base
	}
	return sub + "/" + base
}
