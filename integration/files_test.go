package integration

import (
	"errors"
	"math/big"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// modTime returns a file's time in nanoseconds.
func modTime(st unix.Stat_t) int64 { return st.Mtim.Nano() }

// versionTime returns the moment that a version tells, in nanoseconds.
func versionTime(t testing.TB, version string) int64 {
	t.Helper()
	seconds, ok := new(big.Rat).SetString(version)
	if !ok {
		t.Fatalf("%q is no version", version)
	}
	nanoseconds := seconds.Mul(seconds, big.NewRat(1e9, 1))
	return new(big.Int).Quo(nanoseconds.Num(), nanoseconds.Denom()).Int64()
}

// A file's time is its version's, so that readers that poll it see each change
// and nothing else; its inode is another one with each version.
func TestTimesAndInodesChangeWithTheContent(t *testing.T) {
	t.Parallel()
	eachFace(t, func(t *testing.T, mode string) {
		f := newFleet(t, gofakes3)
		f.run("dependency", "create", "web.dep")
		name := f.newConfig("spam", "grey_list", "web.dep")
		set := f.newServerset("search", "prod", "web.dep")
		v1 := f.put(name, "one")
		f.zk.join("/discovery/search/prod", "10.0.0.1:80")
		m := f.startMonitor(monitorConfig{Mode: mode, Dependencies: []string{"web.dep"}})
		m.awaitServerset(set, "10.0.0.1:80")

		first, firstSet := mustStat(t, m.config(name)), mustStat(t, m.serverset(set))
		if got, want := modTime(first), versionTime(t, v1); got != want {
			t.Errorf("the time is %d, the version's %d", got, want)
		}
		permissions := map[string]uint32{"fuse": 0o644, "plain": 0o444}
		if first.Size != 3 || first.Mode != unix.S_IFREG|permissions[mode] {
			t.Errorf("stat shows %d bytes and mode %o", first.Size, first.Mode)
		}

		// Reading everything again, for whatever reason, changes nothing.
		for _, again := range []func(){
			func() { m.signal(unix.SIGHUP) },
			func() { m.post("/admin/watch/config/manageddata/spam/grey_list") },
			func() { m.post("/admin/watch/discovery/search/prod") },
		} {
			reads := m.metrics()["kingpin_znode_reads_total"]
			again()
			await(t, "znodes to be read", func() error {
				if m.metrics()["kingpin_znode_reads_total"] == reads {
					return errNotYet
				}
				return nil
			})
		}
		f.put(name, "two")
		m.awaitConfig(name, "two") // so whatever was read before has been dealt with
		second := mustStat(t, m.config(name))
		if firstAgain := mustStat(t, m.serverset(set)); firstAgain != firstSet && modTime(firstAgain) == modTime(firstSet) {
			t.Errorf("the serverset's stat changed: %+v, then %+v", firstSet, firstAgain)
		} else if modTime(firstAgain) != modTime(firstSet) {
			t.Errorf("the serverset's time changed from %d to %d without a change", modTime(firstSet), modTime(firstAgain))
		}
		if second.Ino == first.Ino || modTime(second) <= modTime(first) {
			t.Errorf("after a change the inode is %d (before %d), the time %d (before %d)", second.Ino, first.Ino, modTime(second), modTime(first))
		}

		f.zk.join("/discovery/search/prod", "10.0.0.2:80")
		m.awaitServerset(set, "10.0.0.1:80", "10.0.0.2:80")
		if st := mustStat(t, m.serverset(set)); st.Ino == firstSet.Ino || modTime(st) <= modTime(firstSet) {
			t.Errorf("after a change the serverset's inode is %d (before %d), its time %d (before %d)", st.Ino, firstSet.Ino, modTime(st), modTime(firstSet))
		}
	})
}

// Who has a file open keeps reading what was opened: after an update, after
// several, and after the file is gone.
func TestOpenFilesKeepTheirVersion(t *testing.T) {
	t.Parallel()
	eachFace(t, func(t *testing.T, mode string) {
		f := newFleet(t, gofakes3)
		f.run("dependency", "create", "web.dep")
		name := f.newConfig("spam", "grey_list", "web.dep")
		first, second := strings.Repeat("first\n", 50_000), strings.Repeat("the second\n", 50_000)
		f.put(name, first)
		m := f.startMonitor(monitorConfig{Mode: mode, Dependencies: []string{"web.dep"}})

		var open [2]int
		for i := range open {
			var err error
			if open[i], err = openFile(m.config(name)); err != nil {
				t.Fatal(err)
			}
			defer unix.Close(open[i])
		}
		// One has read a part before the change, the other nothing.
		part := make([]byte, 6000)
		if n, err := unix.Read(open[0], part); err != nil || n != len(part) {
			t.Fatalf("reading: %d bytes, %v", n, err)
		}
		f.put(name, second)
		m.awaitConfig(name, second)
		f.run("dependency", "remove", "web.dep", name)
		await(t, "the file to go", func() error { return gone(m.config(name)) })

		rest, err := readFD(open[0], name)
		if err != nil || string(part)+rest != first {
			t.Errorf("reading on gives %d bytes (%v), not the rest of the %d that were opened", len(rest), err, len(first))
		}
		whole, err := readFD(open[1], name)
		if err != nil || whole != first {
			t.Errorf("reading gives %d bytes (%v), not the %d that were opened", len(whole), err, len(first))
		}
	})
}

func TestExtendedAttributes(t *testing.T) {
	t.Parallel()
	f := newFleet(t, gofakes3)
	f.run("dependency", "create", "web.dep")
	name := f.newConfig("spam", "grey_list", "web.dep")
	set := f.newServerset("search", "prod", "web.dep")
	version := f.put(name, "one")
	f.zk.join("/discovery/search/prod", "10.0.0.1:80")
	before := time.Now()
	m := f.startMonitor(monitorConfig{Mode: "fuse", Dependencies: []string{"web.dep"}})
	m.awaitServerset(set, "10.0.0.1:80")

	want := func(path, attribute, value string) {
		t.Helper()
		if got, err := xattr(path, "user.kingpin."+attribute); err != nil || got != value {
			t.Errorf("%s of %s is %q (%v), not %q", attribute, filepath.Base(path), got, err, value)
		}
	}
	want(m.config(name), "version", version)
	want(m.config(name), "zk_path", "/config/manageddata/spam/grey_list")
	want(m.config(name), "state", "fresh")
	want(m.serverset(set), "zk_path", "/discovery/search/prod")
	want(m.serverset(set), "state", "fresh")
	for _, path := range []string{m.config(name), m.serverset(set)} {
		text, err := xattr(path, "user.kingpin.synced_at")
		if err != nil {
			t.Error(err)
			continue
		}
		if at, err := time.Parse(time.RFC3339Nano, text); err != nil || at.Before(before) || at.After(time.Now()) {
			t.Errorf("synced_at of %s is %q (%v), not a moment since %v", filepath.Base(path), text, err, before)
		}
		if text, err := xattr(path, "user.kingpin.error"); !errors.Is(err, unix.ENODATA) {
			t.Errorf("%s has an error, %q (%v), though it is fresh", filepath.Base(path), text, err)
		}
		if _, err := xattr(path, "user.other"); !errors.Is(err, unix.ENODATA) {
			t.Errorf("an attribute that isn't there: %v, not ENODATA", err)
		}
	}
	list := make([]byte, 4096)
	n, err := unix.Listxattr(m.config(name), list)
	if err != nil {
		t.Fatal(err)
	}
	for _, attribute := range []string{"version", "zk_path", "state", "synced_at"} {
		if !slices.Contains(strings.Split(string(list[:n]), "\x00"), "user.kingpin."+attribute) {
			t.Errorf("listxattr doesn't tell of user.kingpin.%s: %q", attribute, list[:n])
		}
	}

	// A version that can't be had: the last good one stays, and says so.
	f.zk.set("/config/manageddata/spam/grey_list", []byte("3000000000.25"))
	await(t, "the config to be stale", func() error {
		state, err := xattr(m.config(name), "user.kingpin.state")
		if err == nil && state != "stale" {
			return errNotYet
		}
		return err
	})
	want(m.config(name), "version", version)
	if why, err := xattr(m.config(name), "user.kingpin.error"); err != nil || !strings.Contains(why, "data/config/manageddata/spam/grey_list_3000000000/25") {
		t.Errorf("the error is %q (%v), and doesn't name the object", why, err)
	}
	if err := has(m.config(name), "one"); err != nil {
		t.Error(err)
	}
	f.storeRaw("/config/manageddata/spam/grey_list", "3000000000.25", "late")
	m.awaitConfig(name, "late")
	want(m.config(name), "version", "3000000000.25")
	m.awaitState(name, "fresh", `^$`)
	want(m.config(name), "state", "fresh")
}

// A mount that nobody may write through, as that of serversets, says so, whoever
// tries.
func TestMountIsReadOnly(t *testing.T) {
	t.Parallel()
	f := newFleet(t, gofakes3)
	f.run("dependency", "create", "web.dep")
	set := f.newServerset("search", "prod", "web.dep")
	f.zk.join("/discovery/search/prod", "10.0.0.1:80")
	m := f.startMonitor(monitorConfig{Mode: "fuse", Dependencies: []string{"web.dep"}, Args: []string{"--writers", writers}})
	path := m.serverset(set)
	m.awaitServerset(set, "10.0.0.1:80")
	for what, err := range map[string]error{
		"open for writing": openErr(path, unix.O_WRONLY),
		"truncate":         unix.Truncate(path, 0),
		"unlink":           unix.Unlink(path),
		"create":           openErr(path+".new", unix.O_WRONLY|unix.O_CREAT),
		"mkdir":            unix.Mkdir(path+".d", 0o755),
		"rename":           unix.Rename(path, path+".moved"),
		"chmod":            unix.Chmod(path, 0o666),
		"setxattr":         unix.Setxattr(path, "user.kingpin.state", []byte("x"), 0),
	} {
		if !errors.Is(err, unix.EROFS) {
			t.Errorf("%s: %v, not EROFS", what, err)
		}
	}
	if err := has(path, "10.0.0.1:80\n"); err != nil {
		t.Error(err)
	}
}

func openErr(path string, flags int) error {
	fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0o644)
	if err == nil {
		unix.Close(fd)
	}
	return err
}

// Every decider is a file, which changes when its own value does.
func TestDecidersAreFiles(t *testing.T) {
	eachFace(t, func(t *testing.T, mode string) {
		f := newFleet(t, gofakes3)
		f.run("dependency", "create", "web.dep")
		name := f.newConfig("admin", "decider", "web.dep")
		f.put(name, `{"new_feed": 50, "old_search": 0}`)
		m := f.startMonitor(monitorConfig{Mode: mode, Dependencies: []string{"web.dep"}})
		seen := newLatencies(t, "changes of deciders")
		decider := func(name string) string { return m.config("decider/" + name) }
		seen.await(decider("new_feed"), "50\n")
		seen.await(decider("old_search"), "0\n")
		if names := listDir(t, m.config("decider")); !slices.Equal(names, []string{"new_feed", "old_search"}) {
			t.Errorf("the directory lists %q", names)
		}
		feed, search := mustStat(t, decider("new_feed")), mustStat(t, decider("old_search"))

		version := f.put(name, `{"brand_new": 100, "new_feed": 51, "old_search": 0}`)
		seen.await(decider("new_feed"), "51\n")
		seen.await(decider("brand_new"), "100\n")
		if st := mustStat(t, decider("new_feed")); modTime(st) != versionTime(t, version) || st.Ino == feed.Ino {
			t.Errorf("the changed decider has the time %d and inode %d, before %d and %d", modTime(st), st.Ino, modTime(feed), feed.Ino)
		}
		if st := mustStat(t, decider("old_search")); modTime(st) != modTime(search) || st.Ino != search.Ino {
			t.Errorf("the unchanged decider has the time %d and inode %d, before %d and %d", modTime(st), st.Ino, modTime(search), search.Ino)
		}

		f.put(name, `{"new_feed": 51}`)
		seen.awaitGone(decider("old_search"))
		seen.awaitGone(decider("brand_new"))

		// What isn't understood leaves them as they are.
		f.put(name, `{"new_feed": `, "--no-check")
		seen.await(m.config(name), `{"new_feed": `)
		if err := has(decider("new_feed"), "51\n"); err != nil {
			t.Error(err)
		}
		f.put(name, `{"new_feed": 52, "Capital": 1, "too_much": 101}`, "--no-check")
		seen.await(decider("new_feed"), "52\n")
		if names := listDir(t, m.config("decider")); !slices.Equal(names, []string{"new_feed"}) {
			t.Errorf("the directory lists %q", names)
		}

		f.run("dependency", "remove", "web.dep", name)
		seen.awaitGone(decider("new_feed"))
	})
}
