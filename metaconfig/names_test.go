package metaconfig

import (
	"errors"
	"strings"
	"testing"

	"github.com/kingpinfs/kingpin/store"
)

func TestPaths(t *testing.T) {
	tests := []struct{ got, want string }{
		{Path("config.manageddata.test.x"), "/metaconfig/metaconfig/config.manageddata.test.x"},
		{LockPath("config.manageddata.test.x"), "/metaconfig/metaconfig/config.manageddata.test.x.lock"},
		{DependencyPath("base.dep"), "/metaconfig/dependency/base.dep"},
	}
	for _, test := range tests {
		if test.got != test.want {
			t.Errorf("got %q, want %q", test.got, test.want)
		}
	}
}

func TestChecks(t *testing.T) {
	long := strings.Repeat("x", 255)
	tests := []struct {
		what  string
		check func(string) error
		good  []string
		bad   []string
	}{
		{"CheckName", CheckName,
			[]string{"config.manageddata.a.b", "base.dep", "with space", "ünïcode", "..x", long},
			[]string{"", ".", "..", "a/b", "a\x00", "a\nb", "a\x7f", "\ue000", "😀", "a\xff", "x.lock", ".dep", long + "x"}},
		{"CheckMetaconfig", CheckMetaconfig, []string{"config.manageddata.a.b", "dep"}, []string{"", "base.dep", "x.lock"}},
		{"CheckDependency", CheckDependency, []string{"base.dep", "a.b.dep"}, []string{"", "base", ".dep", "a.dep.lock", "a/b.dep"}},
		{"CheckFile", CheckFile,
			[]string{"x", ".hidden", "...", "-f", "a\nb", "x.lock", long},
			[]string{"", ".", "..", "/", "a/b", "a\x00b", long + "x"}},
		{"checkZKPath", checkZKPath,
			[]string{"/x", "/config/manageddata/a/b", "/a b"},
			[]string{"", "/", "x", "/x/", "//x", "/x/../y", "/x/./y", "/x.lock", "/a\nb", "/\ue000", "/a\xff"}},
	}
	for _, test := range tests {
		for _, name := range test.good {
			if err := test.check(name); err != nil {
				t.Errorf("%s(%q): %v", test.what, name, err)
			}
		}
		for _, name := range test.bad {
			if err := test.check(name); !errors.Is(err, store.Invalid) {
				t.Errorf("%s(%q) = %v, want Invalid", test.what, name, err)
			}
		}
	}
}

func TestFilesAndZnodes(t *testing.T) {
	both := []struct{ file, zkPath string }{
		{"config.manageddata.spam.test_grey_list", "/config/manageddata/spam/test_grey_list"},
		{"discovery.test_service.prod", "/discovery/test_service/prod"},
		{"discovery.Svc.Prod", "/discovery/Svc/Prod"},
		{"config.services.Pinlater", "/config/services/Pinlater"},
	}
	for _, test := range both {
		if got, err := ZKPathOf(test.file); err != nil || got != test.zkPath {
			t.Errorf("ZKPathOf(%q) = %q, %v; want %q", test.file, got, err, test.zkPath)
		}
		if got, err := FileOf(test.zkPath); err != nil || got != test.file {
			t.Errorf("FileOf(%q) = %q, %v; want %q", test.zkPath, got, err, test.file)
		}
	}
	if got, err := FileOf("/config/manageddata/Spam/List"); err != nil || got != "config.manageddata.spam.list" {
		t.Errorf("FileOf = %q, %v; want domain and key in lower case", got, err)
	}
	for _, file := range []string{"", "..", "a..b", ".a", "a.", "x.lock\x00", "a/b"} {
		if got, err := ZKPathOf(file); !errors.Is(err, store.Invalid) {
			t.Errorf("ZKPathOf(%q) = %q, %v; want Invalid", file, got, err)
		}
	}
	for _, zkPath := range []string{"", "x", "/", "/a//b", "/" + strings.Repeat("x", 256)} {
		if got, err := FileOf(zkPath); !errors.Is(err, store.Invalid) {
			t.Errorf("FileOf(%q) = %q, %v; want Invalid", zkPath, got, err)
		}
	}
}
