package integration

import (
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// configText is a metaconfig of one config, with the given value after -f, and
// anything after the command.
func configText(target, zkPath, more string) string {
	return fmt.Sprintf(`[{"zk_path": %q, "type": "config", "max_wait_in_secs": 0, "command": %q}]`,
		zkPath, "zk_download_data.py -f "+target+" --from-s3 /data"+zkPath+" -m config -p "+zkPath+more)
}

// TestBadMetaconfigs lists metaconfigs that can't be used, all at once and
// beside a good config. Each is told of with its name and how to mend it, and
// heals when it is mended.
func TestBadMetaconfigs(t *testing.T) {
	t.Parallel()
	f := newFleet(t, gofakes3)
	c := newCompany(f, monitorConfig{})
	long := strings.Repeat("a", 256)
	bad := []struct {
		name, text string
		told       []string
	}{
		{"not-json", `{"zk_path" "/x"}`, []string{"not JSON", "line 1, column 12"}},
		{"truncated", `[{"zk_path": "/x", "comm`, []string{"not JSON"}},
		{"empty", ` `, []string{"it is empty"}},
		{"not-an-object", `["zk_download_data.py"]`, []string{"[0]", "want an object"}},
		{"no-command", `[{"zk_path": "/config/x"}]`, []string{"[0].command", "missing"}},
		{"no-file", `[{"zk_path": "/config/x", "command": "zk_download_data.py -m config"}]`, []string{"-f is missing"}},
		{"the-directory", configText("/var/config/..", pointers+"dots", ""), []string{`"/var/config/.."`, "it is a directory"}},
		{"a-slash", configText("/var/config/x/", pointers+"slash", ""), []string{`"/var/config/x/"`, "it is empty"}},
		{"too-long", configText("/var/config/"+long, pointers+"long", ""), []string{"256 bytes, more than 255"}},
		{"bad-path", configText("/var/config/x", "config//manageddata", ""), []string{"[0].zk_path", `"config//manageddata"`}},
		{"bad-type", `[{"zk_path": "/x", "type": "cron", "command": "zk_download_data.py -f /var/config/x"}]`, []string{`"cron"`, "config", "serverset"}},
		{"open-quote", configText("'/var/config/x", pointers+"quote", ""), []string{"quote"}},
	}
	for _, b := range bad {
		f.subscribeWith(b.name, b.text)
	}
	for _, b := range bad {
		c.awaitNow(append(b.told, b.name+": ", `"`+b.name+`"`, "kingpin metaconfig set "+b.name)...)
	}
	c.mustGoOn()
	for _, m := range c.faces {
		if names := servedConfigs(t, m); len(names) != 1 {
			t.Errorf("the %s face serves %q, want the good config alone", m.mode, names)
		}
	}
	for i, b := range bad {
		key := fmt.Sprintf("mended%d", i)
		f.publishRaw(pointers+key, version(1), b.name)
		f.publishRaw(metaconfigRoot+"/"+b.name, version(2), configText("/var/config/"+key, pointers+key, ""))
	}
	for i, b := range bad {
		c.awaitContent(fmt.Sprintf("mended%d", i), b.name)
	}
	c.awaitNoComplaint()
	c.mustGoOn()
}

// servedConfigs lists the files among the configs, as readers see them.
func servedConfigs(t testing.TB, m *monitor) []string {
	t.Helper()
	var names []string
	for _, name := range listDir(t, m.dirs.config) {
		if name != "decider" && name != ".kingpin" {
			names = append(names, name)
		}
	}
	return names
}

// TestFileNamesThatClimb lists metaconfigs whose -f leads out of the directory:
// the files are served in it, under the last element of the path, and what is
// at the path is not touched.
func TestFileNamesThatClimb(t *testing.T) {
	t.Parallel()
	f := newFleet(t, gofakes3)
	c := newCompany(f, monitorConfig{})
	passwd, before := mustRead(t, "/etc/passwd"), mustStat(t, "/etc/passwd")
	victim := filepath.Join(f.dir, "victim")
	mustWrite(t, victim, "mine")
	for name, target := range map[string]string{
		"climbs":   "../../etc/passwd",
		"climbs2":  "/var/config/../../../../../../etc/group",
		"absolute": victim,
		"links":    "/proc/self/root/etc/hostname",
	} {
		path := pointers + name
		f.publishRaw(path, version(1), "content of "+name)
		f.subscribeWith(name, configText(target, path, ""))
		file := filepath.Base(target)
		c.awaitContent(file, "content of "+name)
		c.awaitTold(name, target, fmt.Sprintf("served as %q", file))
	}
	c.mustGoOn()
	after := mustStat(t, "/etc/passwd")
	if mustRead(t, "/etc/passwd") != passwd || after.Ino != before.Ino || after.Mtim != before.Mtim {
		t.Error("/etc/passwd was touched")
	}
	if mustRead(t, victim) != "mine" {
		t.Errorf("%s was written", victim)
	}
}

// TestCommandsAreNotRun lists metaconfigs whose commands would do more than
// download if a shell ran them. Nothing runs; what is ignored is told of, and
// what they serve is served.
func TestCommandsAreNotRun(t *testing.T) {
	t.Parallel()
	f := newFleet(t, gofakes3)
	c := newCompany(f, monitorConfig{})
	canaries := filepath.Join(f.dir, "canaries")
	kept := filepath.Join(canaries, "kept")
	if err := os.Mkdir(canaries, 0o777); err != nil {
		t.Fatal(err)
	}
	mustWrite(t, kept, "kept")
	for i, more := range []string{
		"; touch %s/ran; rm -rf %s",
		" && touch %s/ran",
		" || rm -rf %s/kept",
		" | tee %s/ran",
		" & touch %s/ran",
		" > %s/ran",
		"\ntouch %s/ran\n",
		" --from-value-file $(touch %s/ran)",
		" -v `touch %s/ran`",
		" -v $(rm -rf %s/kept)",
		" <(touch %s/ran)",
	} {
		key := fmt.Sprintf("shell%d", i)
		f.publishRaw(pointers+key, version(1), key)
		name := fileName(pointers + key)
		f.subscribeWith(name, configText("/var/config/"+name, pointers+key, strings.ReplaceAll(more, "%s", canaries)))
		c.awaitContent(name, key)
		c.awaitTold("name="+name, "ignored", "kingpin metaconfig set "+name)
		f.publishRaw(pointers+key, version(2), key+" again")
		c.awaitContent(name, key+" again")
	}
	// In the place of the name it can't be served; in that of the program it isn't.
	f.subscribeWith("in-file", configText("/var/config/$(touch "+canaries+"/ran)", pointers+"in-file", ""))
	c.awaitNow("in-file: ", "only a shell could tell", "kingpin metaconfig set in-file")
	f.subscribeWith("other-program", fmt.Sprintf(`[{"zk_path": "/x", "command": "touch %s/ran -f /var/config/x"}]`, canaries))
	c.awaitNow("other-program: ", "zk_download_data.py", "kingpin metaconfig set other-program")
	for _, m := range c.faces {
		m.signal(syscall.SIGHUP)
		m.awaitLine(0, "reading everything again")
	}
	c.mustGoOn()
	if names := listDir(t, canaries); len(names) != 1 || mustRead(t, kept) != "kept" {
		t.Errorf("a command ran: %s holds %q", canaries, names)
	}
	if _, err := os.Stat(filepath.Join(f.dir, "ran")); !errors.Is(err, iofs.ErrNotExist) {
		t.Errorf("a command ran: %v", err)
	}
}

// TestReservedNames lists metaconfigs that ask for names which are the
// monitor's own.
func TestReservedNames(t *testing.T) {
	t.Parallel()
	f := newFleet(t, gofakes3)
	c := newCompany(f, monitorConfig{})
	f.publishRaw("/config/manageddata/admin/decider", version(1), `{"some_experiment": 50}`)
	f.publishMetaconfigRaw("config.manageddata.admin.decider", version(1), configObject("/config/manageddata/admin/decider"))
	f.zk.addMember(boxDep, "config.manageddata.admin.decider")
	c.awaitContent("decider/some_experiment", "50\n")
	for i, file := range []string{"decider", ".kingpin", ".stage", ".rw", ".kingpin-new"} {
		name := fmt.Sprintf("reserved%d", i)
		f.publishRaw(pointers+name, version(1), "must not be served")
		f.subscribeWith(name, configText("/var/config/"+file, pointers+name, ""))
		c.awaitNow(file+": ", `"`+file+`"`, "another name", "kingpin metaconfig set "+name)
	}
	c.mustGoOn()
	c.awaitContent("decider/some_experiment", "50\n")
	for _, m := range c.faces {
		names := servedConfigs(t, m)
		if want := 2; len(names) != want {
			t.Errorf("the %s face serves %q, want %d", m.mode, names, want)
		}
	}
	for i := range 5 {
		name := fmt.Sprintf("reserved%d", i)
		f.publishRaw(metaconfigRoot+"/"+name, version(2), configText("/var/config/"+name, pointers+name, ""))
		c.awaitContent(name, "must not be served")
	}
	c.awaitNoComplaint()
}

// TestTwoMetaconfigsForOneFile has two metaconfigs ask for one file, made of
// different values: one of them is served, always the same one, and both are
// named. When the first goes the other one takes its place.
func TestTwoMetaconfigsForOneFile(t *testing.T) {
	t.Parallel()
	f := newFleet(t, gofakes3)
	c := newCompany(f, monitorConfig{})
	for _, name := range []string{"b-second", "a-first"} {
		f.publishRaw(pointers+name, version(1), "content of "+name)
		f.subscribeWith(name, configText("/var/config/shared", pointers+name, ""))
		c.awaitContent("shared", "content of "+name)
	}
	c.awaitTold("shared", "a-first", "b-second", "first by name")
	f.publishRaw(pointers+"b-second", version(2), "not to be served")
	c.mustGoOn()
	c.awaitContent("shared", "content of a-first")
	f.zk.remove(dependencyRoot + "/" + boxDep + "/a-first")
	c.awaitContent("shared", "not to be served")
	c.awaitNoComplaint()
	c.mustGoOn()
}
