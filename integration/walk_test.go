package integration

import (
	"path/filepath"
	"slices"
	"testing"
)

// The main job, with nothing but the commands, a member that another program
// made, and files.
func TestTheWholeWay(t *testing.T) {
	eachFace(t, func(t *testing.T, mode string) {
		f := newFleet(t, versitygw)
		f.run("dependency", "create", "web.dep")
		config := f.newConfig("spam", "grey_list", "web.dep")
		set := f.newServerset("search", "prod", "web.dep")
		m := f.startMonitor(monitorConfig{Mode: mode, Dependencies: []string{"web.dep"}})
		seen := newLatencies(t, "changes after they were acknowledged")

		f.put(config, `["10.0.0.7"]`)
		seen.await(m.config(config), `["10.0.0.7"]`)
		f.put(config, `["10.0.0.7", "10.0.0.8"]`)
		seen.await(m.config(config), `["10.0.0.7", "10.0.0.8"]`)
		f.put(config, `[]`)
		seen.await(m.config(config), `[]`)

		f.zk.join("/discovery/search/prod", "10.0.0.2:9090")
		seen.await(m.serverset(set), lines("10.0.0.2:9090"))
		f.zk.join("/discovery/search/prod", "10.0.0.1:9090")
		seen.await(m.serverset(set), lines("10.0.0.1:9090", "10.0.0.2:9090"))
		leaving := connectZK(t, f.zkAddr)
		leaving.join("/discovery/search/prod", "search-3.example.com:80")
		seen.await(m.serverset(set), lines("10.0.0.1:9090", "10.0.0.2:9090", "search-3.example.com:80"))
		leaving.conn.Close() // and with the session its members
		seen.await(m.serverset(set), lines("10.0.0.1:9090", "10.0.0.2:9090"))

		f.run("dependency", "remove", "web.dep", config)
		seen.awaitGone(m.config(config))
		if names := listDir(t, m.dirs.config); slices.Contains(names, config) {
			t.Errorf("the directory still lists %s: %q", config, names)
		}
		if err := has(m.serverset(set), lines("10.0.0.1:9090", "10.0.0.2:9090")); err != nil {
			t.Errorf("taking away the config changed the serverset: %v", err)
		}
		f.run("dependency", "remove", "web.dep", set)
		seen.awaitGone(m.serverset(set))

		f.run("dependency", "add", "web.dep", config, set)
		seen.await(m.config(config), `[]`)
		seen.await(m.serverset(set), lines("10.0.0.1:9090", "10.0.0.2:9090"))
	})
}

// What is created and written while the monitor runs is served as soon as
// --wait says so.
func TestPutWaitsUntilTheFileIsThere(t *testing.T) {
	t.Parallel()
	eachFace(t, func(t *testing.T, mode string) {
		f := newFleet(t, gofakes3)
		f.run("dependency", "create", "web.dep")
		m := f.startMonitor(monitorConfig{Mode: mode, Dependencies: []string{"web.dep"}})
		config := f.newConfig("live", "colors", "web.dep")
		for _, content := range []string{"red", "green", "blue"} {
			f.put(config, content, "--wait", "--admin-addr", m.adminAddr)
			if err := has(m.config(config), content); err != nil {
				t.Error(err)
			}
		}

		other := f.newConfig("live", "unsubscribed")
		r := f.try("x", "config", "put", other, "-", "--wait", "--wait-timeout", "100ms", "--admin-addr", m.adminAddr)
		wantRefusal(t, r, 0, "doesn't subscribe to it")
	})
}

// What a monitor serves is what its dependencies reach, however they lie to
// each other.
func TestDependenciesNest(t *testing.T) {
	eachFace(t, func(t *testing.T, mode string) {
		f := newFleet(t, gofakes3)
		for _, d := range []string{"box.dep", "web.dep", "common.dep", "deep.dep"} {
			f.run("dependency", "create", d)
		}
		f.run("dependency", "add", "box.dep", "web.dep")
		f.run("dependency", "add", "web.dep", "common.dep", "deep.dep")
		f.run("dependency", "add", "common.dep", "deep.dep", "box.dep") // a cycle
		f.zk.addMember("deep.dep", "deep.dep")                          // a short one
		deep := f.newConfig("nest", "deep", "deep.dep")
		web := f.newConfig("nest", "web", "web.dep")
		other := f.newConfig("nest", "other")
		for _, name := range []string{deep, web, other} {
			f.put(name, "content of "+name)
		}
		m := f.startMonitor(monitorConfig{Mode: mode, Dependencies: []string{"box.dep"}})
		if want := "ready mode=" + mode + " configs=2 serversets=0"; m.ready[:min(len(m.ready), len(want))] != want {
			t.Errorf("the ready line is %q, not %q", m.ready, want)
		}
		for _, name := range []string{deep, web} {
			if err := has(m.config(name), "content of "+name); err != nil {
				t.Error(err)
			}
		}
		if err := gone(m.config(other)); err != nil {
			t.Error(err)
		}
		seen := newLatencies(t, "changes of dependencies")

		// At the far end of the graph.
		f.run("dependency", "add", "deep.dep", other)
		seen.await(m.config(other), "content of "+other)
		f.run("dependency", "remove", "deep.dep", other)
		seen.awaitGone(m.config(other))

		// base.dep comes into being.
		f.run("dependency", "create", "base.dep")
		f.run("dependency", "add", "base.dep", other)
		seen.await(m.config(other), "content of "+other)

		// Two ways lead to deep.dep; cutting one changes nothing.
		f.run("dependency", "remove", "web.dep", "deep.dep")
		marker := f.newConfig("nest", "marker")
		f.put(marker, "marker")
		f.run("dependency", "add", "web.dep", marker)
		seen.await(m.config(marker), "marker") // so web.dep has been read
		if want := []string{"base.dep", "box.dep", "common.dep", "deep.dep", "web.dep"}; !slices.Equal(watchedDependencies(m), want) {
			t.Errorf("it watches %q, not %q", watchedDependencies(m), want)
		}
		f.put(deep, "still there")
		seen.await(m.config(deep), "still there")

		// The cycle cut off as a whole goes as a whole, though its parts still
		// name each other.
		f.run("dependency", "add", "common.dep", "common.dep")
		f.run("dependency", "remove", "web.dep", "common.dep")
		seen.awaitGone(m.config(deep))
		if err := has(m.config(web), "content of "+web); err != nil {
			t.Error(err)
		}

		// A member that doesn't exist yet, as only other tools make it.
		f.zk.addMember("box.dep", "late.dep")
		f.zk.addMember("late.dep", deep)
		seen.await(m.config(deep), "still there")
	})
}

func watchedDependencies(m *monitor) []string {
	m.t.Helper()
	var names []string
	m.getJSON("/admin/watched_dependencies", &names)
	slices.Sort(names)
	return names
}

// A metaconfig that says something else takes effect at once.
func TestMetaconfigChangesLive(t *testing.T) {
	eachFace(t, func(t *testing.T, mode string) {
		f := newFleet(t, gofakes3)
		f.run("dependency", "create", "web.dep")
		name := f.newConfig("old", "place", "web.dep")
		other := f.newConfig("new", "place")
		f.put(name, "old")
		f.put(other, "new")
		m := f.startMonitor(monitorConfig{Mode: mode, Dependencies: []string{"web.dep"}})
		if err := has(m.config(name), "old"); err != nil {
			t.Fatal(err)
		}
		seen := newLatencies(t, "changes of a metaconfig")

		// The same file from another znode.
		moved := configObject("/config/manageddata/new/place")
		moved.Command = "zk_download_data.py -f /var/config/" + name +
			" --from-s3 /data/config/manageddata/new/place -m config -p /config/manageddata/new/place"
		set := func(object metaconfigObject) {
			t.Helper()
			file := filepath.Join(f.dir, "metaconfig.json")
			mustWrite(t, file, metaconfigText(t, object))
			f.run("metaconfig", "set", name, file)
		}
		set(moved)
		seen.await(m.config(name), "new")
		f.put(other, "newer")
		seen.await(m.config(name), "newer")
		f.put(name, "newest of the other") // the metaconfig decides which value this is
		seen.await(m.config(name), "newest of the other")
		if got := f.run("config", "get", other); got != "newest of the other" {
			t.Errorf("%s holds %q", other, got)
		}

		// Another file.
		renamed := moved
		renamed.Command = "zk_download_data.py -f /var/config/some.other.file" +
			" --from-s3 /data/config/manageddata/new/place -m config -p /config/manageddata/new/place"
		set(renamed)
		seen.await(m.config("some.other.file"), "newest of the other")
		seen.awaitGone(m.config(name))

		// And back.
		set(configObject("/config/manageddata/old/place"))
		seen.await(m.config(name), "old")
		seen.awaitGone(m.config("some.other.file"))

		// None at all.
		f.run("metaconfig", "remove", name, "--force")
		seen.awaitGone(m.config(name))
	})
}

// What the fleet deletes goes, and comes back when it is made again.
func TestDeletedConfig(t *testing.T) {
	eachFace(t, func(t *testing.T, mode string) {
		f := newFleet(t, gofakes3)
		name := f.oneConfig("one")
		m := f.startMonitor(monitorConfig{Mode: mode, Dependencies: []string{"web.dep"}})
		seen := newLatencies(t, "changes of a znode's existence")
		f.zk.remove("/config/manageddata/spam/grey_list")
		seen.awaitGone(m.config(name))
		m.awaitState(name, "absent", "kingpin metaconfig create-config")
		f.run("metaconfig", "create-config", "spam", "grey_list") // makes the znode again
		f.put(name, "two")
		seen.await(m.config(name), "two")
	})
}
