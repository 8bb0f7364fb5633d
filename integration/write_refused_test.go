package integration

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// unchanged checks that something leaves both machines and the fleet as they are.
func (s *writeScene) unchanged(what string, do func()) {
	s.t.Helper()
	paths := map[string]string{limitsPath: limitsName, textPath: textName, deciderPath: feed}
	before := map[string]published{}
	contents := map[string]string{}
	for zkPath, name := range paths {
		before[zkPath], contents[name] = s.published(zkPath), mustRead(s.t, s.m.config(name))
	}
	names := append(s.names(""), s.names("decider")...)
	do()
	for zkPath, name := range paths {
		if after := s.published(zkPath); after != before[zkPath] {
			s.t.Errorf("%s: of %s the fleet has %+v, before %+v", what, name, after, before[zkPath])
		}
		for _, m := range []*monitor{s.m, s.other} {
			if err := has(m.config(name), contents[name]); err != nil {
				s.t.Errorf("%s: %v", what, err)
			}
		}
	}
	if left := append(s.names(""), s.names("decider")...); !slices.Equal(left, names) {
		s.t.Errorf("%s: the directories list %q, before %q", what, left, names)
	}
}

// Values that are none are refused, by the write if it is a decider's, else by
// the close, and change nothing.
func TestBadValuesAreRefused(t *testing.T) {
	t.Parallel()
	s := newWriteScene(t, newFleet(t, gofakes3), writeConfig)
	huge := strings.Repeat("x", 20<<20)
	decider, limits, text := s.m.config(feed), s.m.config(limitsName), s.m.config(textName)
	for what, c := range map[string]struct {
		path, content string
		errs          []error
	}{
		"decider 101":      {decider, "101\n", []error{unix.EINVAL}},
		"decider -1":       {decider, "-1\n", []error{unix.EINVAL}},
		"decider 1e3":      {decider, "1e3\n", []error{unix.EINVAL}},
		"decider 5.5":      {decider, "5.5\n", []error{unix.EINVAL}},
		"decider fifty":    {decider, "fifty\n", []error{unix.EINVAL}},
		"decider 50 60":    {decider, "50 60\n", []error{unix.EINVAL}},
		"decider blank":    {decider, " \n", []error{unix.EINVAL}},
		"decider NUL":      {decider, "5\x00", []error{unix.EINVAL}},
		"decider 20 MiB":   {decider, huge, []error{unix.EINVAL, unix.EFBIG}}, // by its first piece
		"no JSON":          {limits, `{"limit": `, []error{unix.EINVAL}},
		"JSON and NUL":     {limits, "{\"limit\": 1}\x00", []error{unix.EINVAL}},
		"against a schema": {limits, `{"limit": 101}`, []error{unix.EINVAL}},
		"20 MiB":           {text, huge, []error{unix.EFBIG}},
	} {
		s.unchanged(what, func() {
			if err := rewrite(c.path, c.content); !isOneOf(err, c.errs...) {
				t.Errorf("%s: %v, want one of %v", what, err, c.errs)
			}
		})
	}
	s.unchanged("an empty write", func() {
		// Nothing tells these apart from a shell's truncation, which hears nothing.
		_, _ = rewrite(decider, ""), rewrite(text, "")
	})
	s.unchanged("a file that is made and not written", func() {
		for _, name := range []string{"decider/touched", "touched"} {
			_ = write(s.m.config(name), unix.O_WRONLY|unix.O_CREAT, "") // may be refused
		}
	})
	s.unchanged("truncation to 1 GiB", func() {
		for _, path := range []string{decider, limits, text} {
			if err := unix.Truncate(path, 1<<30); !isOneOf(err, unix.EFBIG, unix.EINVAL) {
				t.Errorf("truncating %s to 1 GiB: %v", path, err)
			}
		}
	})

	// And what is right goes on, to the byte.
	for path, content := range map[string]string{text: octets, limits: `{"limit": 99}`, decider: "7\n"} {
		if err := errors.Join(rewrite(path, content), has(path, content)); err != nil {
			t.Error(err)
		}
	}
	s.awaitEverywhere(textName, octets)
	s.m.mustBeWell()
}

// What can't be in a directory of configs isn't made, and what a config or a
// decider is isn't changed.
func TestOtherChangesAreRefused(t *testing.T) {
	t.Parallel()
	s := newWriteScene(t, newFleet(t, gofakes3), writeConfig)
	root, decider, text := s.m.config(""), s.m.config(feed), s.m.config(textName)
	f := s.fleet
	other := f.newConfig("write", "other_box") // no dependency lists it
	f.put(other, "theirs")
	theirs := f.published("/config/manageddata/write/other_box")
	create := unix.O_WRONLY | unix.O_CREAT
	denied := []error{unix.EPERM, unix.EACCES}
	for what, c := range map[string]struct {
		do   func() error
		errs []error
	}{
		"mkdir":                   {func() error { return unix.Mkdir(root+"/d", 0o775) }, denied},
		"mkdir of deciders":       {func() error { return unix.Mkdir(root+"/decider/d", 0o775) }, denied},
		"rmdir":                   {func() error { return unix.Rmdir(root + "/decider") }, append(denied, unix.EBUSY, unix.ENOTEMPTY)},
		"symlink":                 {func() error { return unix.Symlink(text, root+"/link") }, denied},
		"hard link":               {func() error { return unix.Link(text, root+"/hard") }, denied},
		"mkfifo":                  {func() error { return unix.Mkfifo(root+"/pipe", 0o664) }, denied},
		"device":                  {func() error { return unix.Mknod(root+"/null", unix.S_IFCHR|0o666, 0x103) }, denied},
		"chmod":                   {func() error { return unix.Chmod(text, 0o600) }, denied},
		"chmod of a directory":    {func() error { return unix.Chmod(root, 0o700) }, denied},
		"chown":                   {func() error { return unix.Chown(text, 1, 1) }, denied},
		"chown of a decider":      {func() error { return unix.Chown(decider, 1, 1) }, denied},
		"setxattr":                {func() error { return unix.Setxattr(text, "user.kingpin.state", []byte("x"), 0) }, append(denied, unix.ENOTSUP)},
		"removexattr":             {func() error { return unix.Removexattr(text, "user.kingpin.state") }, append(denied, unix.ENOTSUP)},
		"a name in upper case":    {func() error { return rewrite(root+"/decider/New", "5\n") }, []error{unix.EINVAL}},
		"a name with a slash":     {func() error { return rewrite(root+"/decider/a/b", "5\n") }, []error{unix.ENOENT}},
		"a long name":             {func() error { return rewrite(root+"/decider/"+strings.Repeat("x", 256), "5\n") }, append(denied, unix.ENAMETOOLONG)},
		"no config's name":        {func() error { return rewrite(root+"/readme", "x") }, []error{unix.EPERM}},
		"a config of another box": {func() error { return rewrite(root+"/"+other, "ours") }, []error{unix.EPERM}},
		"no config of the fleet":  {func() error { return rewrite(root+"/config.manageddata.write.none", "x") }, []error{unix.EPERM}},
		"a serverset":             {func() error { return write(s.m.serverset("x"), create, "10.0.0.1:80\n") }, []error{unix.EROFS, unix.EPERM, unix.EACCES}},
		"config over another":     {func() error { return unix.Rename(s.m.config(limitsName), text) }, append(denied, unix.EINVAL)},
		"decider over a config":   {func() error { return unix.Rename(decider, text) }, append(denied, unix.EXDEV)},
		"the directory away":      {func() error { return unix.Rename(root+"/decider", root+"/deciders") }, denied},
	} {
		s.unchanged(what, func() {
			if err := c.do(); !isOneOf(err, c.errs...) {
				t.Errorf("%s: %v, want one of %v", what, err, c.errs)
			}
		})
	}
	if after := f.published("/config/manageddata/write/other_box"); after != theirs {
		t.Errorf("the config that isn't served here is %+v, before %+v", after, theirs)
	}
	for _, path := range []string{root, root + "/decider", decider, text} {
		st := mustStat(t, path)
		if st.Mode&0o777&^0o775 != 0 || st.Uid != 0 {
			t.Errorf("%s has mode %o and owner %d", path, st.Mode, st.Uid)
		}
	}
	s.m.mustBeWell()
}

// What is one's own until it is renamed is seen by nobody else's tools for long,
// and is nothing to the fleet: it can be written, read and removed.
func TestTemporaryFilesAreLocal(t *testing.T) {
	t.Parallel()
	s := newWriteScene(t, newFleet(t, gofakes3), writeConfig)
	for _, dir := range []string{"", "decider/"} {
		path := s.m.config(dir + ".temporary~")
		s.unchanged(path, func() {
			if err := write(path, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, "mine"); err != nil {
				t.Fatal(err)
			}
			if err := write(path, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, "again"); !errors.Is(err, unix.EEXIST) {
				t.Errorf("created a second time: %v", err)
			}
			if err := errors.Join(write(path, unix.O_WRONLY|unix.O_APPEND, " too"), has(path, "mine too"), unix.Unlink(path), gone(path)); err != nil {
				t.Error(err)
			}
		})
	}
}

// Deciders can be created and removed by what creates and removes files, while
// somebody watches, which takes more to be told.
func TestDecidersComeAndGo(t *testing.T) {
	t.Parallel()
	s := newWriteScene(t, newFleet(t, gofakes3), writeConfig)
	w := startWatcher(t, "inotifywait", s.m.config("decider"))
	for _, p := range []person{superuser, member} {
		path := s.m.config("decider/brand_new")
		told := len(w.events()["brand_new"])
		if ran := s.as(p, `echo 80 > "$F"`, "F="+path); ran.code != 0 || ran.stderr != "" {
			t.Fatalf("%s creating a decider: it exited with %d and said %q", p.name, ran.code, ran.stderr)
		}
		if err := has(path, "80\n"); err != nil {
			t.Error(err)
		}
		if got := s.run("decider", "get", "brand_new"); got != "80" {
			t.Errorf("the fleet has %q", got)
		}
		s.other.awaitConfig("decider/brand_new", "80\n")
		if author := s.author(deciderPath); !strings.Contains(author, p.name) {
			t.Errorf("the author is %q", author)
		}

		before := s.published(deciderPath)
		if ran := s.as(stranger, `rm -f "$F"`, "F="+path); ran.code == 0 || !strings.Contains(ran.stderr, "denied") {
			t.Errorf("a stranger removing a decider: it exited with %d and said %q", ran.code, ran.stderr)
		}
		if after := s.published(deciderPath); after != before {
			t.Errorf("a stranger's rm changed the fleet from %+v to %+v", before, after)
		}

		if ran := s.as(p, `rm "$F"`, "F="+path); ran.code != 0 || ran.stderr != "" {
			t.Errorf("%s removing a decider: it exited with %d and said %q", p.name, ran.code, ran.stderr)
		}
		if err := gone(path); err != nil {
			t.Error(err)
		}
		await(t, "the watcher to be told", func() error {
			if removed := slices.Index(w.events()["brand_new"][told:], "DELETE"); removed < 0 {
				return fmt.Errorf("it saw %v", w.events())
			}
			return nil
		})
		if r := s.try("", "decider", "get", "brand_new"); r.code == 0 && strings.TrimSpace(r.stdout) == "80" {
			t.Errorf("after rm the fleet still has %q", r.stdout)
		}
		await(t, "the other machine to lose the decider", func() error { return gone(s.other.config("decider/brand_new")) })
		if names := s.names("decider"); !slices.Equal(names, []string{"new_feed"}) {
			t.Errorf("the directory lists %q", names)
		}
	}
}

// Deciders that are set at the same time are entries of one map, and all get in.
func TestDecidersAreSetAtTheSameTime(t *testing.T) {
	t.Parallel()
	s := newWriteScene(t, newFleet(t, gofakes3), writeConfig)
	const many = 12
	script := fmt.Sprintf(`for i in $(seq %d); do echo $i > "$D/at_once_$i" & pids="$pids $!"; done; for p in $pids; do wait $p || exit 1; done`, many)
	if ran := s.as(member, script, "D="+s.m.config("decider")); ran.code != 0 || ran.stderr != "" {
		t.Errorf("it exited with %d and said %q", ran.code, ran.stderr)
	}
	for i := 1; i <= many; i++ {
		name, want := fmt.Sprintf("decider/at_once_%d", i), fmt.Sprintf("%d\n", i)
		if err := has(s.m.config(name), want); err != nil {
			t.Error(err)
		}
		s.other.awaitConfig(name, want)
	}
}

// Of two who opened the same version, the second to close is told, and takes
// nothing of the first's away. So is who opened what somebody in the fleet has
// changed since.
func TestWritersFromTheSameVersion(t *testing.T) {
	t.Parallel()
	s := newWriteScene(t, newFleet(t, gofakes3), writeConfig)
	path := s.m.config(textName)
	const flags = unix.O_WRONLY | unix.O_TRUNC
	first, second := startWriter(t, flags, path), startWriter(t, flags, path)
	first.must("write 8 first...")
	second.must("write 8 second..")
	first.must("close")
	before := s.published(textPath)
	if got := second.do("close"); got != "ESTALE" {
		t.Errorf("the second close: %s", got)
	}
	if err := has(path, "first..."); err != nil || s.published(textPath) != before {
		t.Errorf("after it %v; the fleet has %+v, before %+v", err, s.published(textPath), before)
	}

	late := startWriter(t, flags, path)
	late.must("write 8 late....")
	// Without O_TRUNC each write is published by itself, and so refused by itself.
	inPlace := startWriter(t, unix.O_RDWR, path)
	version := s.put(textName, "by command")
	if got := late.do("close"); got != "ESTALE" {
		t.Errorf("a close after somebody's command: %s", got)
	}
	if got := inPlace.do("write 8 in place"); got != "ESTALE" {
		t.Errorf("a write to what was opened before somebody's command: %s", got)
	}
	inPlace.do("close")
	if data, _ := s.zk.get(textPath); string(data) != version {
		t.Errorf("after it the fleet has version %s, not %s", data, version)
	}
	s.awaitEverywhere(textName, "by command")
}

// A file that goes away while somebody writes it, because its subscription does or
// because the fleet deletes it, isn't brought back by that.
func TestWritingWhatGoesAway(t *testing.T) {
	t.Parallel()
	s := newWriteScene(t, newFleet(t, gofakes3), writeConfig)
	path := s.m.config(textName)
	w := startWriter(t, unix.O_WRONLY|unix.O_TRUNC, path)
	w.must("write 100 too late ")
	before := s.published(textPath)
	s.run("dependency", "remove", "web.dep", textName)
	await(t, "the file to go", func() error { return gone(path) })
	if got := w.do("close"); got == "ok" {
		t.Error("the close of a file that has gone says nothing of it")
	}
	if after := s.published(textPath); after != before {
		t.Errorf("the fleet has %+v, before %+v", after, before)
	}
	if err := gone(path); err != nil {
		t.Error(err)
	}
	s.m.mustBeWell()
}

// A program that starts another one while it writes has its file closed once in
// between, by the kernel, in the middle of an execve: while that waits, nobody can
// look into the process, not even who is to answer.
func TestWriterStartsAProgram(t *testing.T) {
	t.Parallel()
	s := newWriteScene(t, newFleet(t, gofakes3), writeConfig)
	for _, c := range []struct{ name, half, want string }{{textName, "half", "halfhalf"}, {feed, "2", "22\n"}} {
		w := startWriter(t, unix.O_WRONLY|unix.O_TRUNC, s.m.config(c.name))
		write := fmt.Sprintf("write %d %s", len(c.half), c.half)
		w.must(write, "spawn", write, "spawn", "close")
		if err := has(s.m.config(c.name), c.want); err != nil {
			t.Error(err)
		}
	}
	s.m.mustBeWell()
}

// Who is killed in the middle of writing publishes nothing: what is half done
// isn't valid only because nobody can go on with it.
func TestWriterKilled(t *testing.T) {
	t.Parallel()
	s := newWriteScene(t, newFleet(t, gofakes3), writeConfig)
	path := s.m.config(textName)
	for _, steps := range [][]string{nil, {"write 1000 half"}, {"write 3000000 half"}} {
		s.unchanged(fmt.Sprintf("a writer killed after %q", steps), func() {
			w := startWriter(t, unix.O_WRONLY|unix.O_TRUNC, path)
			w.must(steps...)
			w.kill()
		})
		// Who comes after waits for no one.
		next := fmt.Sprintf("after %q\n", steps)
		if err := errors.Join(rewrite(path, next), has(path, next)); err != nil {
			t.Errorf("after a writer was killed: %v", err)
		}
		s.other.awaitConfig(textName, next)
	}
}

// A worker that is killed in the middle of a write takes that write with it: the
// writer is told, nothing of it is published, and it can be done again.
func TestWorkerKilledDuringAWrite(t *testing.T) {
	t.Parallel()
	s := newWriteScene(t, newFleet(t, gofakes3), writeConfig)
	path := s.m.config(textName)
	for n := range 2 {
		before, content := s.published(textPath), mustRead(t, path)
		w := startWriter(t, unix.O_WRONLY|unix.O_TRUNC, path)
		w.must("write 300000 before")
		worker := s.m.workerPID()
		kill(t, worker, syscall.SIGKILL)
		wrote, closed := w.do("write 300000 after."), w.do("close")
		if wrote == "ok" && closed == "ok" {
			t.Error("the writer was told nothing")
		}
		t.Logf("after the kill the write says %s, the close %s", wrote, closed)
		s.m.awaitOtherWorker(worker)
		if after := s.published(textPath); after != before {
			t.Errorf("the fleet has %+v, before %+v", after, before)
		}
		if err := has(path, content); err != nil {
			t.Error(err)
		}
		again := fmt.Sprintf("again, %d\n", n)
		if err := errors.Join(rewrite(path, again), has(path, again)); err != nil {
			t.Error(err)
		}
		s.other.awaitConfig(textName, again)
	}
}
