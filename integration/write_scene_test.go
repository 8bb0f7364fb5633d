package integration

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// person is somebody who writes through a mount.
type person struct {
	name string   // of the user
	wrap []string // what a command of theirs begins with
}

// writers is the group whose members may write, and the people of these tests.
// Debian has all of them. The group is no primary group of anybody's: a member is
// one by a supplementary group, of which the kernel tells a FUSE server nothing.
const writers = "users"

var (
	superuser = person{name: "root"}
	member    = person{"daemon", []string{"setpriv", "--reuid=daemon", "--regid=daemon", "--groups=" + writers, "--inh-caps=-all"}}
	stranger  = person{"nobody", []string{"setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "--inh-caps=-all"}}
)

// The configs of a writeScene, and its decider.
const (
	// limitsSchema is that of the config "limits", which holds a number that must
	// not be more than a hundred.
	limitsSchema = `{"type": "object", "properties": {"limit": {"type": "integer", "maximum": 100}}, "required": ["limit"]}`
	limitsPath   = "/config/manageddata/write/limits"
	textPath     = "/config/manageddata/write/text"
	deciderPath  = "/config/manageddata/admin/decider"
	feed         = "decider/new_feed"
)

var limitsName, textName = fileName(limitsPath), fileName(textPath)

// writeScene is a machine that can be written through, another one that can't,
// and a fleet with something to write.
type writeScene struct {
	*fleet
	m     *monitor // FUSE, with --writers
	other *monitor // of another machine
	work  string   // a directory on another filesystem that everybody may write
}

// writeConfig is a monitor that can be written through.
var writeConfig = monitorConfig{Mode: "fuse", Dependencies: []string{"web.dep"}, Args: []string{"--writers", writers}}

// newWriteScene starts the monitors on a fleet. Their configs hold something.
func newWriteScene(t testing.TB, f *fleet, cfg monitorConfig) *writeScene {
	t.Helper()
	needProgram(t, "setpriv")
	s := &writeScene{fleet: f, work: filepath.Join(tempDir(t), "work")}
	if err := errors.Join(unix.Mkdir(s.work, 0o777), unix.Chmod(s.work, 0o777)); err != nil {
		t.Fatal(err)
	}
	f.run("dependency", "create", "web.dep")
	f.newConfig("write", "limits", "web.dep")
	f.newConfig("write", "text", "web.dep")
	f.newConfig("admin", "decider", "web.dep")
	schema := filepath.Join(f.dir, "limits.schema.json")
	mustWrite(t, schema, limitsSchema)
	f.run("config", "schema", limitsName, schema)
	f.put(limitsName, "{\"limit\": 10}\n")
	f.put(textName, "first\n")
	f.put(deciderMap, `{"new_feed": 50}`)
	s.m = f.launchMonitor(cfg)
	s.other = f.launchMonitor(monitorConfig{Mode: "plain", Dependencies: cfg.Dependencies})
	s.m.awaitReady()
	s.other.awaitReady()
	return s
}

// now is a version that is newer than those before.
func now() string {
	at := time.Now()
	return fmt.Sprintf("%d.%06d", at.Unix(), at.Nanosecond()/1000)
}

// publish makes a content the current one of a config, as another machine's
// program would, and returns when both machines have it.
func (s *writeScene) publish(zkPath, content string) {
	s.t.Helper()
	version, name := now(), fileName(zkPath)
	s.publishRaw(zkPath, version, content)
	s.awaitEverywhere(name, content)
	// The content may be the one before, and who writes from that version is late.
	await(s.t, name+" to be served as version "+version, func() error {
		served, err := xattr(s.m.config(name), "user.kingpin.version")
		if err == nil && served != version {
			err = fmt.Errorf("it is %q", served)
		}
		return err
	})
}

// publishDecider does the same for new_feed, which is then the only decider.
func (s *writeScene) publishDecider(value int) {
	s.t.Helper()
	s.publishRaw(deciderPath, now(), fmt.Sprintf(`{"new_feed": %d}`, value))
	s.awaitEverywhere(feed, fmt.Sprintf("%d\n", value))
}

// awaitEverywhere waits until both machines serve a content.
func (s *writeScene) awaitEverywhere(name, content string) {
	s.t.Helper()
	for _, m := range []*monitor{s.m, s.other} {
		m.awaitConfig(name, content)
	}
}

// as runs a shell script as a person, in the scene's work directory, with further
// variables, and returns what became of it.
func (s *writeScene) as(p person, script string, env ...string) result {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	args := append(append([]string{}, p.wrap...), "bash", "-c", script)
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir = s.work
	cmd.Env = append([]string{
		"PATH=" + systemPath, "HOME=" + s.work, "TMPDIR=" + s.work, "LC_ALL=C", "PYTHONDONTWRITEBYTECODE=1",
	}, env...)
	cmd.WaitDelay = patience // for a child that holds the output open
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() < 0 {
		s.t.Fatalf("%s running %q: %v\n%s", p.name, script, err, &stderr)
	}
	return result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// systemPath finds Debian's tools, and not what a developer has put before them.
const systemPath = "/usr/sbin:/usr/bin:/sbin:/bin"

// published is how far the fleet is with a config.
type published struct {
	version string
	times   int32 // how often the pointer has been set
}

func (f *fleet) published(zkPath string) published {
	f.t.Helper()
	data, stat := f.zk.get(zkPath)
	return published{string(data), stat.Version}
}

// author returns who published the version of a config that counts.
func (f *fleet) author(zkPath string) string {
	f.t.Helper()
	return f.s3.get(contentKey(zkPath, f.published(zkPath).version)).metadata["kingpin-author"]
}

// names lists what is in a directory of the monitor's, "" for that of configs.
func (s *writeScene) names(dir string) []string {
	s.t.Helper()
	return listDir(s.t, s.m.config(dir))
}

// write writes a file as a program does that heeds every error: open, write in
// pieces, close.
func write(path string, flags int, content string) error {
	fd, err := openTo(path, flags)
	if err != nil {
		return err
	}
	return errors.Join(writeFD(fd, content), closeFD(fd))
}

// rewrite is write from the beginning, of a file that may be there.
func rewrite(path, content string) error {
	return write(path, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC, content)
}

// openTo opens a file for writing. The descriptor is the caller's.
func openTo(path string, flags int) (int, error) {
	for {
		fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0o666)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return -1, &os.PathError{Op: "open", Path: path, Err: err}
		}
		return fd, nil
	}
}

// writePiece is how much is written at once, as cp and cat do.
const writePiece = 128 << 10

func writeFD(fd int, content string) error {
	for content != "" {
		n, err := unix.Write(fd, []byte(content[:min(len(content), writePiece)]))
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return fmt.Errorf("write: %w", err)
		}
		content = content[n:]
	}
	return nil
}

// closeFD closes a descriptor, which is when a program hears whether the whole
// was accepted.
func closeFD(fd int) error {
	if err := unix.Close(fd); err != nil {
		return fmt.Errorf("close: %w", err)
	}
	return nil
}

// isOneOf tells whether an error is one of some kinds.
func isOneOf(err error, kinds ...error) bool {
	for _, kind := range kinds {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}
