package integration

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/go-zookeeper/zk"

	"github.com/kingpinfs/kingpin/internal/devcluster/devtest"
)

// octets is a content that no encoding survives unless it is left alone.
const octets = "\x00\xff\xfe\r\nno line's end, and \u00fc"

// What Python's tools have left in a fleet is served as it is.
func TestPythonFleetIsServed(t *testing.T) {
	t.Parallel()
	eachS3(t, func(t *testing.T, kind s3Kind) {
		eachFace(t, func(t *testing.T, mode string) {
			f := newFleet(t, kind)
			f.writePythonFleet()
			m := f.startMonitor(monitorConfig{Mode: mode, Dependencies: []string{"web.dep"}})

			for name, want := range map[string]string{
				"config.manageddata.test.binary":  octets,
				"config.manageddata.test.decimal": "a version that ends in .0",
				"config.manageddata.test.slashes": "leading and double slashes",
				"config.manageddata.test.waiting": "a wait that is text",
				"config.v1.inline":                "the data of the znode itself",
				"a.file.of.another.name":          "named by its command",
			} {
				if err := has(m.config(name), want); err != nil {
					t.Error(err)
				}
			}
			wantNames := []string{
				"a.file.of.another.name", "config.manageddata.test.binary", "config.manageddata.test.decimal",
				"config.manageddata.test.slashes", "config.manageddata.test.waiting", "config.v1.inline", "decider",
			}
			names := slices.DeleteFunc(listDir(t, m.dirs.config), func(name string) bool { return strings.HasPrefix(name, ".") })
			if !slices.Equal(names, wantNames) {
				t.Errorf("the configs are %q, not %q", names, wantNames)
			}
			if err := has(m.serverset("discovery.search.prod"), lines(
				"10.0.0.1:9090", "10.0.0.2:9090", "10.37.170.125:9006", "10.99.184.69:9000", "search-3.pin-220.example.com:80",
			)); err != nil {
				t.Error(err)
			}
			if got, want := modTime(mustStat(t, m.config("config.manageddata.test.binary"))), int64(1448012345_670_000_000); got != want {
				t.Errorf("the time of version 1448012345.67 is %d, not %d", got, want)
			}
			if got, want := modTime(mustStat(t, m.config("config.manageddata.test.decimal"))), int64(1448012345_000_000_000); got != want {
				t.Errorf("the time of version 1448012345.0 is %d, not %d", got, want)
			}
			f.changePythonFleet(m)
		})
	})
}

// writePythonFleet writes all that the test above expects.
func (f *fleet) writePythonFleet() {
	f.t.Helper()
	for zkPath, value := range map[string]struct{ version, content string }{
		"/config/manageddata/test/binary":  {"1448012345.67", octets},
		"/config/manageddata/test/decimal": {"1448012345.0", "a version that ends in .0"},
		"/config/manageddata/test/slashes": {"1448012346.1", "leading and double slashes"},
		"/config/manageddata/test/waiting": {"1448012347.25", "a wait that is text"},
		"/config/manageddata/test/renamed": {"1448012348.5", "named by its command"},
	} {
		f.publishRaw(zkPath, value.version, value.content)
	}
	f.s3.put(contentKey("/config/manageddata/test/decimal", "1448012345.0"), "a version that ends in .0", "text/plain; charset=latin-1")
	f.zk.create("/config/v1/inline", []byte("the data of the znode itself"))
	f.zk.create("/config/manageddata/test/unwritten", nil)

	objects := map[string]metaconfigObject{}
	for _, key := range []string{"binary", "decimal", "slashes", "waiting", "renamed", "unwritten"} {
		objects["config.manageddata.test."+key] = configObject("/config/manageddata/test/" + key)
	}
	objects["config.v1.inline"] = configObject("/config/v1/inline")
	objects["discovery.search.prod"] = serversetObject("/discovery/search/prod")
	edit := func(name string, change func(*metaconfigObject)) {
		object := objects[name]
		change(&object)
		objects[name] = object
	}
	edit("config.manageddata.test.binary", func(o *metaconfigObject) { o.AlertDisabled = "true" })
	edit("config.manageddata.test.decimal", func(o *metaconfigObject) { o.Type, o.MaxWait = "", nil })
	edit("config.manageddata.test.slashes", func(o *metaconfigObject) {
		o.Command = strings.Replace(o.Command, "--from-s3 /data/config/", "--from-s3=//data//config/", 1)
	})
	edit("config.manageddata.test.waiting", func(o *metaconfigObject) { o.MaxWait, o.AlertDisabled = "0", "false" })
	edit("config.manageddata.test.renamed", func(o *metaconfigObject) {
		o.Command = "/usr/local/bin/zk_download_data.py --file '/var/config/a.file.of.another.name' " +
			"--from-s3 /data/config/manageddata/test/renamed --mode=config --path /config/manageddata/test/renamed " +
			"--allow-same-content -b some-bucket -e s3.example.com"
	})
	edit("config.v1.inline", func(o *metaconfigObject) {
		o.Command = "zk_download_data.py -f /var/config/config.v1.inline -m config -p /config/v1/inline"
	})
	version := "1448012300.01"
	for name, object := range objects {
		f.publishMetaconfigRaw(name, version, object)
		f.zk.create(metaconfigRoot+"/"+name+".lock", nil) // what kazoo's lock leaves
		f.zk.addMember("web.dep", name)
	}
	f.zk.create("/config/manageddata/test/binary.lock", nil)

	f.zk.create("/discovery/search/prod", nil)
	for _, endpoint := range []string{
		"10.0.0.2:9090", "10.0.0.1:9090", "10.0.0.2:9090", // one is there twice
		"search-3.pin-220.example.com:80",
		"10.99.184.69:900010.37.170.125:9006", // two, run together
	} {
		f.zk.join("/discovery/search/prod", endpoint)
	}
	f.zk.join("/discovery/search/prod", "no-port-at-all") // left out
}

// changePythonFleet goes on writing as Python does, and reads what our commands
// make of it.
func (f *fleet) changePythonFleet(m *monitor) {
	t := f.t
	t.Helper()
	seen := newLatencies(t, "changes by raw writes")
	f.publishRaw("/config/manageddata/test/decimal", "1448012345.1", "a tenth later")
	seen.await(m.config("config.manageddata.test.decimal"), "a tenth later")
	f.publishRaw("/config/manageddata/test/unwritten", "1448012350.75", "written at last")
	seen.await(m.config("config.manageddata.test.unwritten"), "written at last")
	f.zk.set("/config/v1/inline", []byte("other data"))
	seen.await(m.config("config.v1.inline"), "other data")

	if got := f.run("config", "get", "config.manageddata.test.decimal", "--version", "1448012345.0"); got != "a version that ends in .0" {
		t.Errorf("version 1448012345.0 is %q", got)
	}
	var history []historyEntry
	f.runJSON(&history, "config", "history", "config.manageddata.test.decimal")
	if want := []historyEntry{
		{Version: "1448012345.1", Size: 13, Current: true}, {Version: "1448012345.0", Size: 25},
	}; !slices.Equal(history, want) {
		t.Errorf("the history is %+v, not %+v", history, want)
	}
	listed := strings.Fields(f.run("metaconfig", "list"))
	if len(listed) != 8 || slices.ContainsFunc(listed, func(name string) bool { return filepath.Ext(name) == ".lock" }) {
		t.Errorf("the metaconfigs are %q", listed)
	}
	if names := f.run("config", "list"); strings.Contains(names, ".lock") {
		t.Errorf("locks are listed as configs:\n%s", names)
	}
	for _, unknown := range []string{"-b", "-e"} {
		m.awaitLine(0, `level=WARN.*ignored the option \W*`+unknown+`\W`)
	}
}

// A Go box after a Python box: what is written to a value of Python's is greater
// than any version of its, and Python's next one isn't lost.
func TestWritersTakeTurns(t *testing.T) {
	t.Parallel()
	f := newFleet(t, gofakes3)
	const zkPath, name = "/config/manageddata/test/shared", "config.manageddata.test.shared"
	const future = "4102444800.25" // a clock that is ahead
	f.publishRaw(zkPath, future, "by Python")
	ours := f.put(name, "by us", "--expect-version", future)
	if versionTime(t, ours) <= versionTime(t, future) {
		t.Errorf("version %s doesn't come after %s", ours, future)
	}
	if got := f.s3.get(contentKey(zkPath, ours)).body; got != "by us" {
		t.Errorf("the object holds %q", got)
	}
	f.publishRaw(zkPath, "4102444801.5", "by Python again")
	if got := f.run("config", "get", name); got != "by Python again" {
		t.Errorf("the content is %q", got)
	}
}

// The lock is kazoo's: who has the lowest number holds it, whoever made it.
func TestWritersExcludeEachOther(t *testing.T) {
	t.Parallel()
	t.Run("Python holds the lock", func(t *testing.T) {
		f := newFleet(t, gofakes3)
		const zkPath, name = "/config/manageddata/test/x", "config.manageddata.test.x"
		f.newConfig("test", "x")
		before := f.put(name, "before")
		lock := zkPath + ".lock"
		held := f.zk.createEphemeral(lock+"/"+hexUUID()+"__lock__", []byte("a Python writer"), zk.FlagSequence)

		put := f.start("after", "config", "put", name, "-")
		await(t, "the command to queue for the lock", func() error {
			if contenders := f.zk.children(lock); len(contenders) < 2 {
				return errNotYet
			}
			return nil
		})
		if got := f.run("config", "get", name); got != "before" || !put.running() {
			t.Errorf("while another writer holds the lock the content is %q, and the command runs: %v", got, put.running())
		}
		if data, _ := f.zk.get(zkPath); string(data) != before {
			t.Errorf("while another writer holds the lock the pointer is %q, not %q", data, before)
		}
		f.zk.remove(held)
		if code := put.wait(); code != 0 {
			t.Errorf("the command exited with %d", code)
		}
		if got := f.run("config", "get", name); got != "after" {
			t.Errorf("after all the content is %q", got)
		}
		if left := f.zk.children(lock); len(left) != 0 {
			t.Errorf("the lock still has contenders: %q", left)
		}
	})

	t.Run("ours holds the lock", func(t *testing.T) {
		server, described := ownS3(t)
		f := newFleetOn(t, devtest.SharedZooKeeper(t), described)
		const zkPath, name = "/config/manageddata/test/x", "config.manageddata.test.x"
		f.newConfig("test", "x")
		f.put(name, "before")
		lock := zkPath + ".lock"

		// Our writer is stopped in the middle of its write.
		release := holdWrites(server)
		defer release()
		put := f.start("after", "config", "put", name, "-")
		await(t, "the command to take the lock", func() error {
			if len(f.zk.children(lock)) == 0 {
				return errNotYet
			}
			return nil
		})
		theirs := f.zk.createEphemeral(lock+"/"+hexUUID()+"__lock__", nil, zk.FlagSequence)
		if holder := lockHolder(t, f.zk.children(lock)); lock+"/"+holder == theirs {
			t.Error("a second writer gets the lock while ours writes")
		}
		release()
		if code := put.wait(); code != 0 {
			t.Errorf("the command exited with %d", code)
		}
		if holder := lockHolder(t, f.zk.children(lock)); lock+"/"+holder != theirs {
			t.Errorf("after our write %q holds the lock, not %q", holder, theirs)
		}
	})
}

// lockHolder returns the contender with the lowest number, as kazoo looks for
// it, and checks the names of all.
func lockHolder(t testing.TB, contenders []string) string {
	t.Helper()
	sequence := func(name string) string {
		id, number, ok := strings.Cut(name, "__lock__")
		if !ok || len(id) != 32 || strings.Trim(id, "0123456789abcdef") != "" || len(number) != 10 {
			t.Errorf("%q is no contender of kazoo's lock", name)
		}
		return number
	}
	if len(contenders) == 0 {
		return ""
	}
	return slices.MinFunc(contenders, func(a, b string) int { return strings.Compare(sequence(a), sequence(b)) })
}
