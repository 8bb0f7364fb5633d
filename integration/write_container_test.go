package integration

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// writingContainers are ways to give a container a directory that it may write.
var writingContainers = map[string]containerKind{
	"recursive": {[]string{"--mount", "--propagation", "private"}, `mount --rbind "$SOURCE" "$AT"`},
	"rslave":    {[]string{"--mount", "--propagation", "slave"}, `mount --rbind "$SOURCE" "$AT"; mount --make-rslave "$AT"`},
	"pid":       {[]string{"--pid", "--fork", "--kill-child", "--mount-proc", "--mount", "--propagation", "private"}, `mount --rbind "$SOURCE" "$AT"`},
	"single":    {[]string{"--mount", "--propagation", "private"}, `mount --bind "$SOURCE" "$AT"`},
	"read-only": {[]string{"--mount", "--propagation", "private"}, `mount --rbind "$SOURCE" "$AT"; mount -o remount,bind,ro "$AT"`},
}

// writingContainer is a shell with mounts of its own.
type writingContainer struct {
	*process

	s  *writeScene
	at string
}

// contain starts a container of a kind, which has the directory of configs until
// the test's end.
func (s *writeScene) contain(kind string) *writingContainer {
	s.t.Helper()
	needProgram(s.t, "unshare")
	needProgram(s.t, "nsenter")
	k := writingContainers[kind]
	c := &writingContainer{s: s, at: filepath.Join(tempDir(s.t), "at")}
	args := append(append([]string{}, k.flags...), "sh", "-ec", `mkdir "$AT"; `+k.mount+`; echo mounted >&2; exec sleep infinity`)
	cmd := exec.Command("unshare", args...)
	cmd.Env = []string{"PATH=" + systemPath, "SOURCE=" + s.m.dirs.config, "AT=" + c.at}
	c.process = startProcess(s.t, cmd)
	c.awaitLine(0, "^mounted")
	return c
}

// try runs a script in the container, as root; F is a config's file.
func (c *writingContainer) try(script, name string) result {
	c.s.t.Helper()
	pid := c.pid()
	if all := children(c.s.t, pid); len(all) > 0 {
		pid = all[0]
	}
	return c.s.as(person{"root", []string{"nsenter", "--target", fmt.Sprint(pid), "--mount", "--pid", "--wd=" + c.at}}, script, "F="+filepath.Join(c.at, name))
}

// Who is given the directory of configs with what is mounted in it can write
// there, whatever process ids it has, and after the worker has been replaced too.
// A bind of that mount alone says that it can't be written, and one that is
// read-only says so; reading works with all.
func TestContainersWrite(t *testing.T) {
	t.Parallel()
	s := newWriteScene(t, newFleet(t, gofakes3), writeConfig)
	containers := map[string]*writingContainer{}
	for kind := range writingContainers {
		containers[kind] = s.contain(kind)
	}
	for round := range 2 {
		for kind, c := range containers {
			text, percent := fmt.Sprintf("%s %d\n", kind, round), fmt.Sprint(len(kind)+round)
			can := kind != "single" && kind != "read-only"
			for name, want := range map[string]string{textName: text, feed: percent + "\n"} {
				before, content := s.published(textPath), mustRead(t, s.m.config(name))
				ran := c.try(fmt.Sprintf(`printf %q > "$F"`, want), name)
				switch {
				case can && (ran.code != 0 || ran.stderr != ""):
					t.Errorf("%s in the container %s: it exited with %d and said %q", name, kind, ran.code, ran.stderr)
				case can:
					if read := c.try(`cat "$F"`, name); read.stdout != want {
						t.Errorf("%s in the container %s: it reads %q", name, kind, read.stdout)
					}
					if err := has(s.m.config(name), want); err != nil {
						t.Errorf("%s in the container %s: outside %v", name, kind, err)
					}
					s.other.awaitConfig(name, want)
				case ran.code == 0 || !strings.Contains(ran.stderr, "Read-only file system") && !strings.Contains(ran.stderr, "not permitted"):
					t.Errorf("%s in the container %s: it exited with %d and said %q", name, kind, ran.code, ran.stderr)
				default:
					if read := c.try(`cat "$F"`, name); read.stdout != content || s.published(textPath) != before {
						t.Errorf("%s in the container %s: after a refused write it reads %q, before %q", name, kind, read.stdout, content)
					}
				}
			}
		}
		worker := s.m.killWorker()
		s.m.awaitOtherWorker(worker)
	}
}

// A monitor that was started again has another mount: a container that has the
// directory in which it is mounted, with what is mounted there later, can write
// through that one too.
func TestContainersWriteThroughTheNextMount(t *testing.T) {
	t.Parallel()
	f := newFleet(t, gofakes3)
	cfg := writeConfig
	cfg.Dirs = hostDirs(t)
	s := newWriteScene(t, f, cfg)
	c := &writingContainer{s: s, at: filepath.Join(tempDir(t), "at")}
	cmd := exec.Command("unshare", "--mount", "--propagation", "slave", "sh", "-ec",
		`mkdir "$AT"; mount --rbind "$SOURCE" "$AT"; mount --make-rslave "$AT"; echo mounted >&2; exec sleep infinity`)
	cmd.Env = []string{"PATH=" + systemPath, "SOURCE=" + filepath.Dir(cfg.Dirs.config), "AT=" + c.at}
	c.process = startProcess(t, cmd)
	c.awaitLine(0, "^mounted")
	for n := range 3 {
		want := fmt.Sprintf("mount %d, %v\n", n, time.Now())
		name := filepath.Join(filepath.Base(cfg.Dirs.config), textName)
		if ran := c.try(fmt.Sprintf(`printf %q > "$F"`, want), name); ran.code != 0 || ran.stderr != "" {
			t.Errorf("through mount %d: it exited with %d and said %q", n, ran.code, ran.stderr)
		}
		if read := c.try(`cat "$F"`, name); read.stdout != want {
			t.Errorf("through mount %d it reads %q", n, read.stdout)
		}
		s.other.awaitConfig(textName, want)
		s.m.terminate()
		s.m = f.startMonitor(monitorConfig{Mode: cfg.Mode, Dependencies: cfg.Dependencies, Dirs: s.m.dirs, Args: cfg.Args})
		s.m.awaitConfig(textName, want)
	}
}
