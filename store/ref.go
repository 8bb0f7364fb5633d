package store

import (
	"fmt"
	"strings"
)

// Ref names a versioned value: the znode that points to its current version,
// and where its versions are stored.
type Ref struct {
	// Path is the pointer's znode, such as "/config/manageddata/test/x".
	Path string
	// Prefix is the key prefix of the objects where it isn't "data" + Path.
	// It is taken as metaconfigs write it: with or without a leading slash.
	Prefix string
}

// LockPath is the znode under which writers of the value line up.
func (r Ref) LockPath() string { return r.Path + ".lock" }

// IndexKey is the key of the object that holds the newest version's text.
func (r Ref) IndexKey() string { return dotsToSlashes(r.prefix()) }

// Key is the key of the content at a version.
func (r Ref) Key(v Version) string { return dotsToSlashes(r.prefix() + "_" + string(v)) }

// historyPrefix begins the key of every version, and may begin other values'
// keys too: what follows must parse as a version.
func (r Ref) historyPrefix() string { return dotsToSlashes(r.prefix()) + "_" }

// versionOf is the inverse of Key. All writers' versions have a fraction; a key
// without one is the index of a value whose name is ours, "_" and a number.
func (r Ref) versionOf(key string) (Version, bool) {
	text, ok := strings.CutPrefix(key, r.historyPrefix())
	if !ok || !strings.Contains(text, "/") {
		return "", false
	}
	v, err := ParseVersion(strings.ReplaceAll(text, "/", "."))
	return v, err == nil
}

func (r Ref) prefix() string {
	prefix := r.Prefix
	if prefix == "" {
		prefix = "data/" + r.Path
	}
	parts := strings.FieldsFunc(prefix, func(c rune) bool { return c == '/' })
	return strings.Join(parts, "/")
}

// The original client replaced every dot of a key, also the one within the
// version.
func dotsToSlashes(key string) string { return strings.ReplaceAll(key, ".", "/") }

// check refuses what could not name a pointer znode.
func (r Ref) check() error {
	if err := CheckPath(r.Path); err != nil {
		return err
	}
	if strings.HasSuffix(r.Path, ".lock") {
		return fmt.Errorf("%w path %q: it names a lock, not a value", Invalid, r.Path)
	}
	return nil
}

// CheckPath refuses, with an Invalid error, what is no path of a znode:
// relative ones, empty, "." and ".." elements, a trailing slash, and control
// characters.
func CheckPath(path string) error {
	if !strings.HasPrefix(path, "/") {
		return fmt.Errorf("%w path %q: it must begin with a slash", Invalid, path)
	}
	for part := range strings.SplitSeq(path[1:], "/") {
		if part == "" || part == "." || part == ".." {
			return fmt.Errorf("%w path %q: the element %q is not allowed", Invalid, path, part)
		}
	}
	if strings.ContainsFunc(path, func(c rune) bool { return c < 0x20 || c == 0x7f || c == '\uFFFD' }) {
		return fmt.Errorf("%w path %q: it holds a control character or isn't UTF-8", Invalid, path)
	}
	return nil
}
