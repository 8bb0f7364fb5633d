package fs

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCheckName(t *testing.T) {
	for _, name := range []string{"a", "config.manageddata.test.x", ".hidden", "..a", strings.Repeat("x", 255), "with space", "ü", "\xff\n", ".stages"} {
		if err := CheckName(name); err != nil {
			t.Errorf("CheckName(%q): %v", name, err)
		}
	}
	for _, name := range []string{"", ".", "..", "a/b", "/", "a\x00b", strings.Repeat("x", 256), ".kingpin", ".kingpin-x", ".stage", ".rw", pollProbe} {
		if err := CheckName(name); !errors.Is(err, ErrName) {
			t.Errorf("CheckName(%q): %v, want an ErrName", name, err)
		}
	}
}

func TestSplitName(t *testing.T) {
	subdirs := []string{"decider"}
	for _, c := range []struct {
		name, sub, base string
		bad             bool
	}{
		{name: "x", base: "x"},
		{name: "decider/x", sub: "decider", base: "x"},
		{name: "deciders", base: "deciders"},
		{name: "decider", bad: true},
		{name: "decider/", bad: true},
		{name: "decider/..", bad: true},
		{name: "decider/a/b", bad: true},
		{name: "other/x", bad: true},
		{name: "/x", bad: true},
		{name: "../x", bad: true},
	} {
		sub, base, err := splitName(c.name, subdirs)
		if (err != nil) != c.bad || sub != c.sub || base != c.base {
			t.Errorf("splitName(%q) = %q, %q, %v", c.name, sub, base, err)
		}
	}
}

// FuzzSplitName checks that no accepted name leads out of the directory or to
// what is ours.
func FuzzSplitName(f *testing.F) {
	for _, s := range []string{"x", "decider/x", "decider", "../x", "decider/../x", ".kingpin/lock", "a\x00", "decider//x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		sub, base, err := splitName(name, []string{"decider"})
		if err != nil {
			return
		}
		path := filepath.Join("/dir", sub, base)
		if filepath.Base(path) != base || filepath.Dir(path) != filepath.Join("/dir", sub) || joinName(sub, base) != name {
			t.Errorf("%q leads to %q", name, path)
		}
		if path == "/dir/decider" || strings.HasPrefix(path, "/dir/"+ownDir) || len(base) > maxName {
			t.Errorf("%q is accepted", name)
		}
		if strings.ContainsRune(base, os.PathSeparator) || strings.ContainsRune(base, 0) {
			t.Errorf("%q is accepted", name)
		}
	})
}
