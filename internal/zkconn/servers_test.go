package zkconn_test

import (
	"errors"
	iofs "io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kingpinfs/kingpin/internal/zkconn"
	"github.com/kingpinfs/kingpin/store"
)

func TestParseServers(t *testing.T) {
	tests := []struct {
		in      string
		servers []string // nil: an error
		chroot  string
	}{
		{"zk1:2181", []string{"zk1:2181"}, ""},
		{"zk1", []string{"zk1:2181"}, ""},
		{"zk1:1, zk2 ,10.0.0.3:3", []string{"zk1:1", "zk2:2181", "10.0.0.3:3"}, ""},
		{"zk1:1,zk1:1,zk1:2", []string{"zk1:1", "zk1:2"}, ""},
		{"zk1:1,", []string{"zk1:1"}, ""},
		{"zk1:1/fleet", []string{"zk1:1"}, "/fleet"},
		{"zk1:1,zk2:2/fleet/a.b/", []string{"zk1:1", "zk2:2"}, "/fleet/a.b"},
		{"zk1:1/", []string{"zk1:1"}, ""},
		{"[::1]:5,[fe80::1%eth0]:5,::1", []string{"[::1]:5", "[fe80::1%eth0]:5", "[::1]:2181"}, ""},
		{"a_b-c.example.com:0065535", []string{"a_b-c.example.com:65535"}, ""},
		{"", nil, ""},
		{" , ", nil, ""},
		{"/fleet", nil, ""},
		{"zk1:0", nil, ""},
		{"zk1:65536", nil, ""},
		{"zk1:+1", nil, ""},
		{"zk1:port", nil, ""},
		{"zk1:", nil, ""},
		{":2181", nil, ""},
		{"zk 1:2181", nil, ""},
		{"-zk1:2181", nil, ""},
		{"zk1:2181;zk2:2181", nil, ""},
		{"[::1:5", nil, ""},
		{"[zk1]:x", nil, ""},
		{"1:2:3", nil, ""},
		{"zk1:1/fleet//a", nil, ""},
		{"zk1:1/../x", nil, ""},
		{"zk1:1/x /", nil, ""},
		{" zk1:1/x ", []string{"zk1:1"}, "/x"},
	}
	for _, test := range tests {
		servers, chroot, err := zkconn.ParseServers(test.in)
		if test.servers == nil {
			if store.KindOf(err) != store.Invalid || !strings.Contains(err.Error(), test.in) {
				t.Errorf("%q: got %q, %q, %v", test.in, servers, chroot, err)
			}
			continue
		}
		if err != nil || !slices.Equal(servers, test.servers) || chroot != test.chroot {
			t.Errorf("%q: got %q, %q, %v", test.in, servers, chroot, err)
		}
	}
}

func writeHosts(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "zk_hosts")
	must(t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

func TestReadHostsFile(t *testing.T) {
	path := writeHosts(t, "\ufeff# the ensemble\r\n"+
		"zk1:2181\r\n"+
		"\r\n"+
		"  zk2.example.com:2182  # the old one\n"+
		"zk 3:2181\n"+
		"zk1:2181\n"+
		"10.0.0.4\n"+
		"zk5:99999\n"+
		"\t\n"+
		"zk6:2181") // without a newline
	servers, warnings, err := zkconn.ReadHostsFile(path)
	must(t, err)
	if want := []string{"zk1:2181", "zk2.example.com:2182", "10.0.0.4:2181", "zk6:2181"}; !slices.Equal(servers, want) {
		t.Errorf("got %q, want %q", servers, want)
	}
	if len(warnings) != 2 || !strings.HasPrefix(warnings[0], path+`:5: "zk 3:2181"`) || !strings.HasPrefix(warnings[1], path+`:8: "zk5:99999"`) {
		t.Errorf("warnings: %q", warnings)
	}
}

func TestReadHostsFileWithoutServers(t *testing.T) {
	for content, want := range map[string]string{
		"":                       "names no server",
		"\n# nothing\n":          "names no server",
		"nonsense here\n:1\n":    `:1: "nonsense here"`,
		"\x00\x01\x02\xff\xfe\n": ":1:",
	} {
		path := writeHosts(t, content)
		servers, _, err := zkconn.ReadHostsFile(path)
		if store.KindOf(err) != store.Invalid || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) || servers != nil {
			t.Errorf("%q: got %q, %v", content, servers, err)
		}
	}
	missing := filepath.Join(t.TempDir(), "missing")
	if _, _, err := zkconn.ReadHostsFile(missing); !errors.Is(err, iofs.ErrNotExist) || !strings.Contains(err.Error(), missing) {
		t.Errorf("a missing file: %v", err)
	}
}

// usable fails the test unless a client takes what a parser returned, and the
// parser takes it again.
func usable(t *testing.T, servers []string, chroot string) {
	t.Helper()
	again, chrootAgain, err := zkconn.ParseServers(strings.Join(servers, ",") + chroot)
	if err != nil || !slices.Equal(again, servers) || chrootAgain != chroot {
		t.Fatalf("%q%q parsed again: %q, %q, %v", servers, chroot, again, chrootAgain, err)
	}
}

func FuzzParseServers(f *testing.F) {
	for _, seed := range []string{"zk1:2181,zk2/fleet", "[::1]:1", "::1", ",", "a:1/b/../c", "zk1:2181//", "[fe80::1%eth0]:5", "a:1/\xff", "a%b:1", "0/0 /"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		servers, chroot, err := zkconn.ParseServers(s)
		if err == nil {
			usable(t, servers, chroot)
		}
	})
}

func FuzzReadHostsFile(f *testing.F) {
	for _, seed := range []string{"zk1:2181\nzk2\n", "\r\n\r\n", "#\n#:\nzk#x", "\ufeffzk1", "a b\n\x00\n", strings.Repeat("x", 300) + ":1\n"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		servers, warnings := zkconn.ParseHosts(content, "hosts")
		for _, warning := range warnings {
			if !strings.HasPrefix(warning, "hosts:") {
				t.Fatalf("a warning doesn't say where: %q", warning)
			}
		}
		if len(servers) > 0 {
			usable(t, servers, "")
		}
	})
}
