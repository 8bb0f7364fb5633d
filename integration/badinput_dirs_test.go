package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	gofs "github.com/hanwen/go-fuse/v2/fs"
	"golang.org/x/sys/unix"
)

// foreignFiles puts files of somebody else's into a directory, and returns a
// description of all that stat and reading tell of them.
func foreignFiles(t testing.TB, dir string) (describe func() string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(dir, "their dir"), 0o750); err != nil {
		t.Fatal(err)
	}
	mustWrite(t, filepath.Join(dir, "theirs"), "theirs\x00\xff")
	mustWrite(t, filepath.Join(dir, "their dir", "deep"), "deep")
	mustWrite(t, filepath.Join(dir, ".hidden"), "")
	if err := os.Symlink("theirs", filepath.Join(dir, "their link")); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(filepath.Join(dir, "their pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	names := []string{"theirs", "their dir", "their dir/deep", ".hidden", "their link", "their pipe"}
	return func() string {
		t.Helper()
		var all strings.Builder
		for _, name := range names {
			path := filepath.Join(dir, name)
			var st unix.Stat_t
			if err := unix.Lstat(path, &st); err != nil {
				fmt.Fprintf(&all, "%s: %v\n", name, err)
				continue
			}
			content := ""
			if st.Mode&unix.S_IFMT == unix.S_IFREG {
				content = mustRead(t, path)
			}
			fmt.Fprintf(&all, "%s: inode %d, mode %o, owner %d:%d, %d links, time %v, content %q\n",
				name, st.Ino, st.Mode, st.Uid, st.Gid, st.Nlink, st.Mtim, content)
		}
		return all.String()
	}
}

// TestOtherPeoplesFiles starts monitors on directories that hold files of
// somebody else's: they are named in a warning, and left alone byte for byte,
// while the monitor runs and after it has ended.
func TestOtherPeoplesFiles(t *testing.T) {
	t.Parallel()
	f := newFleet(t, gofakes3)
	name := f.subscribe("x")[0]
	f.publish("x", 1)
	for _, mode := range []string{"fuse", "plain"} {
		d := f.newDirs()
		configs, serversets := foreignFiles(t, d.config), foreignFiles(t, d.serverset)
		before := configs() + serversets()
		m := f.launchFace(mode, monitorConfig{Dirs: d})
		m.awaitReady()
		for _, dir := range []string{d.config, d.serverset} {
			m.awaitWarning(dir, "aren't the monitor's", "theirs", "their dir", "their link", "their pipe", ".hidden", "left alone")
			m.awaitLine(0, `level=WARN .*aren't the monitor's.*`+dir+`.*their pipe`)
		}
		m.awaitSoon(name, 1)
		if mode == "plain" {
			if now := configs() + serversets(); now != before {
				t.Errorf("other people's files were\n%sand are\n%s", before, now)
			}
		} else if err := gone(m.config("theirs")); err != nil {
			t.Errorf("behind a mount: %v", err)
		}
		f.publish("x", 2)
		m.awaitSoon(name, 2)
		m.terminate()
		if now := configs() + serversets(); now != before {
			t.Errorf("other people's files were\n%sand after the monitor's end they are\n%s", before, now)
		}
		m.mustServe(name, 2)
		f.publish("x", 1)
	}
}

// TestSomethingStandsInTheWay has a directory, a symbolic link and a pipe where
// a config's file is to be: it is left alone, the mount serves the config all
// the same, plain files say what is in the way, and go in when it is gone.
func TestSomethingStandsInTheWay(t *testing.T) {
	t.Parallel()
	f := newFleet(t, gofakes3)
	victim := filepath.Join(f.dir, "victim")
	mustWrite(t, victim, "mine")
	obstacles := map[string]func(path string) error{
		"directory":     func(path string) error { return os.MkdirAll(filepath.Join(path, "full"), 0o755) },
		"symbolic link": func(path string) error { return os.Symlink(victim, path) },
		"special file":  func(path string) error { return unix.Mkfifo(path, 0o600) },
	}
	var keys []string
	for what := range obstacles {
		keys = append(keys, strings.ReplaceAll(what, " ", "_"))
	}
	f.subscribe(keys...)
	for _, key := range keys {
		f.publish(key, 1)
	}
	var faces []*monitor
	for _, mode := range []string{"fuse", "plain"} {
		d := f.newDirs()
		if err := os.MkdirAll(d.config, 0o755); err != nil {
			t.Fatal(err)
		}
		for what, make := range obstacles {
			if err := make(filepath.Join(d.config, fileName(pointers+strings.ReplaceAll(what, " ", "_")))); err != nil {
				t.Fatal(err)
			}
		}
		m := f.launchFace(mode, monitorConfig{Dirs: d})
		m.awaitReady()
		faces = append(faces, m)
	}
	c := &company{f: f, faces: faces}
	for what := range obstacles {
		name := fileName(pointers + strings.ReplaceAll(what, " ", "_"))
		faces[0].awaitSoon(name, 1)
		faces[1].awaitTold(name, what+" stands in its place", "move it away")
	}
	faces[0].awaitWarning("stands in its place", "move it away")
	if mustRead(t, victim) != "mine" {
		t.Errorf("the link was followed: %s was written", victim)
	}
	faces[0].terminate()
	for what := range obstacles {
		name := fileName(pointers + strings.ReplaceAll(what, " ", "_"))
		for _, m := range faces {
			if err := os.RemoveAll(m.config(name)); err != nil {
				t.Fatal(err)
			}
		}
		faces[1].awaitSoon(name, 1)
	}
	c.faces = faces[1:]
	c.awaitNoComplaint()
}

// TestDirectoryIsAMount serves a directory that is a mount already: of a tmpfs,
// over which a mount works as over any other directory, and which is there again
// afterwards.
func TestDirectoryIsAMount(t *testing.T) {
	t.Parallel()
	f := newFleet(t, gofakes3)
	name := f.subscribe("x")[0]
	f.publish("x", 1)
	for _, mode := range []string{"fuse", "plain"} {
		d := dirs{tmpfs(t, 4), tmpfs(t, 4), filepath.Join(tempDir(t), "state")}
		m := f.launchFace(mode, monitorConfig{Dirs: d})
		m.awaitReady()
		m.awaitSoon(name, 1)
		if s := m.status(); s.Mode != mode || len(s.Warnings) > 0 {
			t.Errorf("it serves by %s and warns %q", s.Mode, s.Warnings)
		}
		m.signal(syscall.SIGTERM)
		if code := m.wait(); code != 0 {
			t.Errorf("the monitor exited with %d", code)
		}
		m.mustServe(name, 1)
		for _, dir := range []string{d.config, d.serverset} {
			var st unix.Statfs_t
			if err := unix.Statfs(dir, &st); err != nil || st.Type != unix.TMPFS_MAGIC {
				t.Errorf("after the monitor's end %s is a filesystem of type %x (%v), want the tmpfs", dir, st.Type, err)
			}
		}
	}
}

// TestDirectoryIsAForeignMount starts a monitor on another program's FUSE mount:
// it is refused, named with what it is, and left alone.
func TestDirectoryIsAForeignMount(t *testing.T) {
	t.Parallel()
	needFUSE(t)
	f := newFleet(t, gofakes3)
	d := f.newDirs()
	if err := os.MkdirAll(d.config, 0o755); err != nil {
		t.Fatal(err)
	}
	root := new(gofs.Inode)
	options := new(gofs.Options)
	options.FsName, options.Name, options.DirectMount = "somebody-elses", "theirfs", true
	server, err := gofs.Mount(d.config, root, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Unmount(); err != nil {
			t.Error(err)
		}
		server.Wait()
	})
	for _, mode := range []string{"fuse", "plain", "auto"} {
		r := f.tryMonitor(mode, d)
		wantExit(t, r, 1, d.config, "fuse.theirfs", "somebody-elses", "unmount it, or use another directory")
	}
	if points := mountsBelow(t, filepath.Dir(d.config)); len(points) != 1 {
		t.Errorf("mounted are %q, want the other program's mount alone", points)
	}
}

// tryMonitor runs a monitor that must end by itself.
func (f *fleet) tryMonitor(mode string, d dirs, args ...string) result {
	f.t.Helper()
	return f.try("", append([]string{"monitor", "-d", boxDep, "--mode", mode, "--admin-addr", "127.0.0.1:0",
		"--config-dir", d.config, "--serverset-dir", d.serverset, "--state-dir", d.state}, args...)...)
}

// TestDirectoryIsNotWritable serves directories that can't be written: a mount
// covers them and warns, plain files can't be and say why; both heal.
func TestDirectoryIsNotWritable(t *testing.T) {
	t.Parallel()
	f := newFleet(t, gofakes3)
	name := f.subscribe("x")[0]
	f.publish("x", 1)
	disks := map[*monitor]string{}
	var faces []*monitor
	for _, mode := range []string{"fuse", "plain"} {
		disk := tmpfs(t, 4)
		d := dirsIn(disk)
		d.state = filepath.Join(tempDir(t), "state")
		for _, dir := range []string{d.config, d.serverset} {
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		remount(t, disk, unix.MS_RDONLY)
		m := f.launchFace(mode, monitorConfig{Dirs: d})
		disks[m] = disk
		faces = append(faces, m)
		m.awaitReady()
		m.awaitTold(d.config, "read-only file system", "remount it writable")
	}
	faces[0].awaitSoon(name, 1)
	faces[0].awaitWarning("out of date", "read-only file system", "remount it writable")
	faces[1].awaitState(name, "absent", `read-only file system.*remount it writable`)
	for _, m := range faces {
		m.mustBeWell()
		remount(t, disks[m], 0)
		m.awaitSoon(name, 1)
		m.awaitState(name, "fresh", `^$`)
		m.awaitNoWarning()
		m.terminate()
		m.mustServe(name, 1)
	}
}

// TestDirectoryCannotBeMade names directories that can't be created or aren't
// any.
func TestDirectoryCannotBeMade(t *testing.T) {
	t.Parallel()
	f := newFleet(t, gofakes3)
	disk := tmpfs(t, 1)
	remount(t, disk, unix.MS_RDONLY)
	file := filepath.Join(f.dir, "file")
	mustWrite(t, file, "mine")
	for _, mode := range []string{"fuse", "plain", "auto"} {
		d := f.newDirs()
		wantExit(t, f.tryMonitor(mode, dirs{filepath.Join(disk, "config"), d.serverset, d.state}), 1, filepath.Join(disk, "config"), "read-only file system")
		wantExit(t, f.tryMonitor(mode, dirs{d.config, filepath.Join(file, "serverset"), d.state}), 1, filepath.Join(file, "serverset"), "not a directory")
		wantExit(t, f.tryMonitor(mode, dirs{file, d.serverset, d.state}), 1, file, "not a directory")
		wantExit(t, f.tryMonitor(mode, dirs{d.config, d.config, d.state}), 2, "--config-dir", "--serverset-dir", d.config)
	}
	if mustRead(t, file) != "mine" {
		t.Error("the file was written")
	}
}

// TestNotRoot runs a monitor as somebody who may neither mount nor write: each
// message says so and what to do.
func TestNotRoot(t *testing.T) {
	t.Parallel()
	f := newFleet(t, gofakes3)
	name := f.subscribe("x")[0]
	f.publish("x", 1)
	d := f.newDirs()
	for _, dir := range []string{d.config, d.serverset, d.state} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	nobody := []string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"}
	m := f.launchFace("plain", monitorConfig{Dirs: d, Wrap: nobody})
	m.awaitReady()
	m.awaitState(name, "absent", `permission denied.*run as root, or give the directory to this user`)
	m.awaitTold(d.state, "permission denied", "state")
	m.mustBeWell()
	for _, dir := range []string{d.config, d.serverset, d.state} {
		if err := os.Chown(dir, 65534, 65534); err != nil {
			t.Fatal(err)
		}
	}
	m.awaitSoon(name, 1)
	m.awaitNoWarning()
	m.terminate()

	again := f.launchFace("auto", monitorConfig{Dirs: d, Wrap: nobody})
	again.awaitReady()
	if !containsAll(again.ready, "mode=plain", "reason=", "run as root") {
		t.Errorf("the ready line is %q", again.ready)
	}
	again.mustServe(name, 1)
	again.terminate()

	must := f.launchFace("fuse", monitorConfig{Dirs: d, Wrap: nobody})
	if code := must.wait(); code != 3 && code != 1 || !containsAll(must.stderr.String(), d.config, "run as root") {
		t.Errorf("it exited with %d and said %s", code, must.stderr)
	}
}

// TestStateDirectoryIsNotUsable starts monitors whose state directory can't be
// written, can't be created or is a file: they serve, say what that means for a
// restart, and use it once it can be used.
func TestStateDirectoryIsNotUsable(t *testing.T) {
	t.Parallel()
	f := newFleet(t, gofakes3)
	name := f.subscribe("x")[0]
	f.publish("x", 1)
	readOnly := tmpfs(t, 1)
	remount(t, readOnly, unix.MS_RDONLY)
	file := filepath.Join(f.dir, "file")
	mustWrite(t, file, "mine")
	for _, bad := range []struct {
		dir, says string
		mend      func()
	}{
		{readOnly, "read-only file system", func() { remount(t, readOnly, 0) }},
		{filepath.Join(readOnly, "below"), "read-only file system", func() { remount(t, readOnly, 0) }},
		{file, "not a directory", func() {
			if err := os.Rename(file, file+".away"); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		d := f.newDirs()
		d.state = bad.dir
		m := f.launchFace("plain", monitorConfig{Dirs: d})
		m.awaitReady()
		m.awaitSoon(name, 1)
		m.awaitWarning("state can't be saved", bad.says, bad.dir, "free or mend")
		m.mustBeWell()
		bad.mend()
		m.awaitNoWarning()
		m.terminate()

		// What was saved lets the next one serve without a backend.
		again := f.launchFace("plain", monitorConfig{Dirs: d, Args: []string{"--zk", "127.0.0.1:1"}})
		again.awaitListening()
		again.awaitState(name, "stale", `ZooKeeper|not been read`)
		again.mustServe(name, 1)
		again.terminate()
		if bad.dir == readOnly {
			if err := os.RemoveAll(filepath.Join(readOnly, "manifest.journal")); err != nil {
				t.Fatal(err)
			}
			remount(t, readOnly, unix.MS_RDONLY)
		}
	}
}
