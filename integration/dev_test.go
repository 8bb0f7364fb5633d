package integration

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// devRun is a `kingpin dev` that can leave things in one directory only.
type devRun struct {
	*process

	temp string
}

// startDev starts `kingpin dev` without standard input, as wrap does: a command
// and arguments that run another one.
func startDev(t testing.TB, wrap, env []string, args ...string) *devRun {
	t.Helper()
	d := &devRun{temp: tempDir(t)}
	if err := os.Chmod(d.temp, 0o777); err != nil { // for users other than this one
		t.Fatal(err)
	}
	command := append(append([]string{}, wrap...), binary(t), "dev")
	command = append(command, args...)
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Dir = d.temp
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + d.temp, "TMPDIR=" + d.temp}
	if jar := os.Getenv("KINGPIN_ZOOKEEPER_JAR"); jar != "" {
		cmd.Env = append(cmd.Env, "KINGPIN_ZOOKEEPER_JAR="+jar)
	}
	cmd.Env = append(cmd.Env, env...)
	d.process = startProcess(t, cmd)
	return d
}

// mustLeaveNothing checks, after its end, that no process, mount or file is left.
func (d *devRun) mustLeaveNothing() {
	d.t.Helper()
	if left := d.processes(); len(left) > 0 {
		d.t.Errorf("processes are left: %q", left)
	}
	if left := mountsBelow(d.t, d.temp); len(left) > 0 {
		d.t.Errorf("mounts are left: %q", left)
	}
	if left := listDir(d.t, d.temp); len(left) > 0 {
		d.t.Errorf("files are left: %q", left)
	}
}

// processes returns those that run with the environment of this one: it and its
// children.
func (d *devRun) processes() []string {
	d.t.Helper()
	environments, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		d.t.Fatal(err)
	}
	var found []string
	for _, path := range environments {
		environment, err := os.ReadFile(path)
		if err != nil || !bytes.Contains(environment, []byte("TMPDIR="+d.temp+"\x00")) {
			continue // it has ended
		}
		command, err := os.ReadFile(filepath.Join(filepath.Dir(path), "cmdline"))
		if err == nil {
			found = append(found, fmt.Sprintf("%s: %s", filepath.Base(filepath.Dir(path)), bytes.ReplaceAll(command, []byte{0}, []byte{' '})))
		}
	}
	return found
}

// asNobody runs a command as a user who owns nothing and may do nothing.
var asNobody = []string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"}

// The walk shows the main job to whoever tries the project first, as root and
// as anybody else.
func TestDevWalk(t *testing.T) {
	t.Parallel()
	t.Run("root", func(t *testing.T) {
		needFUSE(t)
		d := startDev(t, nil, nil, "--walk")
		d.mustWalk("fuse")
	})
	t.Run("nobody", func(t *testing.T) {
		d := startDev(t, asNobody, nil, "--walk")
		d.mustWalk("plain")
	})
}

func (d *devRun) mustWalk(mode string) {
	d.t.Helper()
	d.awaitLine(0, `ready mode=`+mode)
	if running := d.processes(); len(running) < 2 {
		d.t.Errorf("only %q runs: its servers can't be told by their environment", running)
	}
	if code := d.wait(); code != 0 {
		d.t.Errorf("the walk exited with %d", code)
	}
	if !strings.HasSuffix(d.stdout.String(), "All steps held.\n") {
		d.t.Errorf("the walk doesn't end in its success:\n%s", d.stdout.tail(5))
	}
	d.mustLeaveNothing()
}

// A fleet of one stays up until it is interrupted; what it says to try works.
func TestDevStaysUpUntilInterrupted(t *testing.T) {
	t.Parallel()
	for name, wrap := range map[string][]string{"root": nil, "nobody": asNobody} {
		t.Run(name, func(t *testing.T) {
			d := startDev(t, wrap, nil)
			d.awaitOutput(d.stdout, 0, `^Ctrl-C ends it`)
			env := d.awaitOutput(d.stdout, 0, `/env `)
			env = strings.Fields(env)[1] // after the dot
			for command, want := range map[string]string{
				"kingpin status": "zookeeper   connected",
				"ls $SERVERSETS": "discovery.demo.prod",
				"ls -l $CONFIGS": "config.manageddata.spam.grey_list",
				"cat $CONFIGS/config.manageddata.spam.grey_list":                `["10.0.0.7", "10.0.0.8"]`,
				"cat $CONFIGS/decider/new_feed $SERVERSETS/discovery.demo.prod": "50\n127.0.0.1:8001\n127.0.0.1:8002\n",
				"kingpin dependency show dev.dep --recursive":                   "discovery.demo.prod",
				"kingpin metaconfig create-config demo colors":                  "config.manageddata.demo.colors",
				"echo '{\"boost\": 3}' | kingpin config put config.manageddata.feed.ranking --wait && cat $CONFIGS/config.manageddata.feed.ranking": `{"boost": 3}`,
			} {
				// An alias counts from the next line on.
				output, err := exec.CommandContext(t.Context(), "sh", "-c", ". "+env+"\n"+command).CombinedOutput()
				if err != nil || !strings.Contains(string(output), want) {
					t.Errorf("%s: %v, and no %q in:\n%s", command, err, want, output)
				}
			}
			d.signal(syscall.SIGINT)
			if code := d.wait(); code != 0 {
				t.Errorf("it exited with %d", code)
			}
			d.mustLeaveNothing()
		})
	}
}

// It may be interrupted at any moment.
func TestDevInterruptedWhileItStarts(t *testing.T) {
	t.Parallel()
	for _, moment := range []string{`starting ZooKeeper`, `ready mode=`} {
		for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
			t.Run(fmt.Sprintf("%v at %s", signal, moment), func(t *testing.T) {
				d := startDev(t, nil, nil, "--walk")
				d.awaitLine(0, moment)
				d.signal(signal)
				if code := d.wait(); code != 1 {
					t.Errorf("it exited with %d", code)
				}
				if last := d.stderr.tail(2); last != "kingpin: interrupted\n" {
					t.Errorf("its last word is %q", last)
				}
				d.mustLeaveNothing()
			})
		}
	}
}

// Its servers don't outlive it, whatever ends it.
func TestDevKilled(t *testing.T) {
	t.Parallel()
	d := startDev(t, nil, nil, "--mode", "plain")
	d.awaitOutput(d.stdout, 0, `^Ctrl-C ends it`)
	if running := d.processes(); len(running) < 2 {
		t.Fatalf("only %q runs", running)
	}
	d.signal(syscall.SIGKILL)
	d.wait()
	await(t, "its servers to end", func() error {
		if left := d.processes(); len(left) > 0 {
			return fmt.Errorf("there are %q", left)
		}
		return nil
	})
}

// A walk that can't hold fails, and says what is missing.
func TestDevWithoutZooKeeper(t *testing.T) {
	t.Parallel()
	for name, env := range map[string][]string{
		"no jar":  {"KINGPIN_ZOOKEEPER_JAR=/nonexistent"},
		"no java": {"PATH=/nonexistent"},
	} {
		t.Run(name, func(t *testing.T) {
			d := startDev(t, nil, env, "--walk")
			if code := d.wait(); code != 1 {
				t.Errorf("it exited with %d", code)
			}
			message := d.stderr.String()
			if !strings.Contains(message, "apt-get install zookeeper") && !strings.Contains(message, "make deps") {
				t.Errorf("it doesn't say what to install:\n%s", message)
			}
			d.mustLeaveNothing()
		})
	}
}

// In a directory of the user's own, what was there before stays.
func TestDevInADirectory(t *testing.T) {
	t.Parallel()
	dir := tempDir(t)
	mine := filepath.Join(dir, "mine")
	mustWrite(t, mine, "mine")
	d := startDev(t, nil, nil, "--walk", "--dir", dir)
	if code := d.wait(); code != 0 {
		t.Errorf("it exited with %d", code)
	}
	d.mustLeaveNothing()
	if names := listDir(t, dir); len(names) != 1 || mustRead(t, mine) != "mine" {
		t.Errorf("the directory holds %q", names)
	}

	// What looks like ours isn't touched.
	if err := os.Mkdir(filepath.Join(dir, "config"), 0o755); err != nil {
		t.Fatal(err)
	}
	d = startDev(t, nil, nil, "--dir", dir)
	if code := d.wait(); code != 2 || !strings.Contains(d.stderr.String(), strconv.Quote("config")) {
		t.Errorf("it exited with %d", code)
	}
	d.mustLeaveNothing()
	if names := listDir(t, dir); len(names) != 2 {
		t.Errorf("the directory holds %q", names)
	}
}
