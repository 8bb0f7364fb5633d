package fs

import (
	"os"
	"strings"
	"testing"
)

func TestParseMountinfo(t *testing.T) {
	const text = `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
41 36 0:39 / /var/with\040space\134\043 ro shared:7 master:2 propagate_from:1 - fuse.kingpin kingpin-config ro,user_id=0
42 36 0:40 / /x rw - tmpfs  rw
43 36 0:41 / /y rw - fuseblk /dev/sdb1 rw
`
	got, err := parseMountinfo(strings.NewReader(text))
	check(t, err)
	want := []mountEntry{
		{ID: 36, Device: "98:0", Point: "/mnt2", Type: "ext3", Source: "/dev/root"},
		{ID: 41, Device: "0:39", Point: `/var/with space\#`, Type: "fuse.kingpin", Source: "kingpin-config"},
		{ID: 42, Device: "0:40", Point: "/x", Type: "tmpfs"},
		{ID: 43, Device: "0:41", Point: "/y", Type: "fuseblk", Source: "/dev/sdb1"},
	}
	if len(got) != len(want) {
		t.Fatalf("%d mounts, want %d", len(got), len(want))
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("mount %d: %+v, want %+v", i, got[i], want[i])
		}
	}
	if !got[1].isFUSE() || got[0].isFUSE() || got[3].isFUSE() {
		t.Error("isFUSE mistakes one type for another")
	}
	for _, bad := range []string{"x 35 98:0 / /m rw - ext3 /dev/root rw", "36 35 98:0 / /m rw ext3 /dev/root rw", "36 35 98:0 / - ext3 s rw", "36 35 98:0 / /m rw - ext3"} {
		if _, err := parseMountinfo(strings.NewReader(bad + "\n")); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

func TestUnescapeOctal(t *testing.T) {
	for in, want := range map[string]string{
		`plain`: "plain", `a\040b`: "a b", `\134`: `\`, `a\04`: `a\04`, `\`: `\`, `\999`: `\999`, `\777`: `\777`, `\011\012`: "\t\n",
	} {
		if got := unescapeOctal(in); got != want {
			t.Errorf("unescapeOctal(%q) = %q, want %q", in, got, want)
		}
	}
}

// FuzzParseMountinfo checks that what the kernel could write is read back, and
// that nothing else does harm.
func FuzzParseMountinfo(f *testing.F) {
	own, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(own), "/var/config")
	f.Add("36 35 98:0 / /m rw - ext3 /dev/root rw", "/a b\\c\n#\t")
	f.Fuzz(func(t *testing.T, text, path string) {
		if entries, err := parseMountinfo(strings.NewReader(text)); err == nil && len(entries) > strings.Count(text, "\n")+1 {
			t.Errorf("%d mounts in %q", len(entries), text)
		}
		if !strings.HasPrefix(path, "/") || strings.ContainsAny(path, "\x00") {
			return // no path
		}
		escaped := strings.NewReplacer(" ", `\040`, "\t", `\011`, "\n", `\012`, `\`, `\134`, "#", `\043`).Replace(path)
		entries, err := parseMountinfo(strings.NewReader("36 35 98:0 / " + escaped + " rw - ext3 /dev/root rw\n"))
		if err != nil || len(entries) != 1 || entries[0].Point != path {
			t.Errorf("%q is read as %v, %v", path, entries, err)
		}
	})
}
