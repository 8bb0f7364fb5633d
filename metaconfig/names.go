package metaconfig

import (
	"errors"
	"fmt"
	"strings"

	"github.com/kingpinfs/kingpin/store"
)

// BaseDependency is the dependency that every monitor loads beside its own,
// where it exists.
const BaseDependency = "base.dep"

// The znodes that hold metaconfigs and dependencies, and the endings that tell
// what a znode is.
const (
	metaconfigRoot = "/metaconfig/metaconfig"
	dependencyRoot = "/metaconfig/dependency"

	dependencySuffix = ".dep"
	lockSuffix       = ".lock"
)

// maxNameLen is what file systems allow for one name, in bytes.
const maxNameLen = 255

// Path is the pointer znode of a metaconfig.
func Path(name string) string { return metaconfigRoot + "/" + name }

// LockPath is the znode under which the writers of a metaconfig line up.
func LockPath(name string) string { return Path(name) + lockSuffix }

// DependencyPath is the znode of a dependency. Its children are its members.
func DependencyPath(name string) string { return dependencyRoot + "/" + name }

// IsDependency tells the name of a dependency from that of a metaconfig.
func IsDependency(name string) bool { return strings.HasSuffix(name, dependencySuffix) }

// CheckName refuses, with an Invalid error, what can't name a member of a
// dependency: neither a metaconfig nor a dependency.
func CheckName(name string) error {
	if err := checkElement(name); err != nil {
		return fmt.Errorf("%w name %q: %w", store.Invalid, name, err)
	}
	switch {
	case strings.HasSuffix(name, lockSuffix):
		return fmt.Errorf("%w name %q: what ends in %s is a lock", store.Invalid, name, lockSuffix)
	case name == dependencySuffix:
		return fmt.Errorf("%w name %q: nothing stands before %s", store.Invalid, name, dependencySuffix)
	}
	return nil
}

// CheckMetaconfig refuses, with an Invalid error, what can't name a metaconfig.
func CheckMetaconfig(name string) error {
	if err := CheckName(name); err != nil {
		return err
	}
	if IsDependency(name) {
		return fmt.Errorf("%w metaconfig name %q: what ends in %s is a dependency", store.Invalid, name, dependencySuffix)
	}
	return nil
}

// CheckDependency refuses, with an Invalid error, what can't name a dependency.
func CheckDependency(name string) error {
	if err := CheckName(name); err != nil {
		return err
	}
	if !IsDependency(name) {
		return fmt.Errorf("%w dependency name %q: it must end in %s", store.Invalid, name, dependencySuffix)
	}
	return nil
}

// CheckFile refuses, with an Invalid error, what can't be the name of a file
// in the directories that a monitor serves.
func CheckFile(name string) error {
	if err := checkFile(name); err != nil {
		return fmt.Errorf("%w file name %q: %w", store.Invalid, name, err)
	}
	return nil
}

func checkFile(name string) error {
	switch {
	case name == "":
		return errors.New("it is empty")
	case name == "." || name == "..":
		return errors.New("it is a directory")
	case strings.ContainsAny(name, "/\x00"):
		return errors.New("it holds a slash or a NUL")
	case len(name) > maxNameLen:
		return fmt.Errorf("it has %d bytes, more than %d", len(name), maxNameLen)
	}
	return nil
}

// checkElement refuses what can't be one element of a znode's path.
func checkElement(name string) error {
	if err := checkFile(name); err != nil {
		return err
	}
	if strings.ContainsFunc(name, forbiddenInPath) {
		return errors.New("it holds a character that ZooKeeper does not allow")
	}
	return nil
}

// forbiddenInPath are the characters that ZooKeeper's PathUtils.validatePath
// refuses. It looks at UTF-16, where all beyond U+FFFF are surrogates.
func forbiddenInPath(c rune) bool {
	return c <= 0x1f || 0x7f <= c && c <= 0x9f || 0xd800 <= c && c <= 0xf8ff || c >= 0xfff0
}

// checkZKPath refuses what can't be the znode of a config or a serverset.
func checkZKPath(path string) error {
	if err := store.CheckPath(path); err != nil {
		return err
	}
	if strings.ContainsFunc(path, forbiddenInPath) {
		return fmt.Errorf("%w path %q: it holds a character that ZooKeeper does not allow", store.Invalid, path)
	}
	if strings.HasSuffix(path, lockSuffix) {
		return fmt.Errorf("%w path %q: what ends in %s is a lock", store.Invalid, path, lockSuffix)
	}
	return nil
}

// ZKPathOf returns the znode whose file has the given name, by the rule that
// the fleet's names follow: "config.manageddata.test.x" is served from
// /config/manageddata/test/x. A metaconfig may say otherwise. The error is
// Invalid.
func ZKPathOf(file string) (string, error) {
	if err := CheckFile(file); err != nil {
		return "", err
	}
	path := "/" + strings.ReplaceAll(file, ".", "/")
	if err := checkZKPath(path); err != nil {
		return "", fmt.Errorf("finding the znode of file %q: %w", file, err)
	}
	return path, nil
}

// managedRoot holds the managed data, whose domains and keys are written in
// lower case in the names of files.
const managedRoot = "/config/manageddata/"

// FileOf returns the name of the file that is made of a znode, by the same rule
// as ZKPathOf. The error is Invalid.
func FileOf(zkPath string) (string, error) {
	if err := checkZKPath(zkPath); err != nil {
		return "", err
	}
	if strings.HasPrefix(zkPath, managedRoot) {
		zkPath = strings.ToLower(zkPath)
	}
	file := strings.ReplaceAll(zkPath[1:], "/", ".")
	if err := CheckFile(file); err != nil {
		return "", fmt.Errorf("finding the file of znode %q: %w", zkPath, err)
	}
	return file, nil
}

// checkPart refuses what can't stand between the dots of a managed value's or
// a serverset's name. what says which part it is.
func checkPart(what, part string) error {
	if part == "" {
		return fmt.Errorf("%w %s: it is empty", store.Invalid, what)
	}
	if i := strings.IndexFunc(part, func(c rune) bool { return !isWordChar(c) && c != '-' }); i >= 0 {
		return fmt.Errorf("%w %s %q: only letters, digits, - and _ may be used", store.Invalid, what, part)
	}
	return nil
}

// isWordChar tells the characters of shell variables, too.
func isWordChar(c rune) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_'
}
