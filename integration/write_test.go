package integration

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kingpinfs/kingpin/internal/devcluster"
	"github.com/kingpinfs/kingpin/internal/devcluster/devtest"
)

// writersGroup is who may write in these tests: a group that need not exist.
const writersGroup = 54321

// decider returns the path of a decider's file.
func (m *monitor) decider(name string) string { return m.config("decider/" + name) }

// sh runs a script by bash (dash prints "I/O error" whatever the error), perhaps by a wrapper such as setpriv, and returns what
// it prints, and its exit code.
func (m *monitor) sh(script string, wrap ...string) (output string, code int) {
	m.t.Helper()
	words := append(wrap, "bash", "-c", script)
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Dir = m.dirs.config
	out, err := cmd.CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return string(out), exit.ExitCode()
	}
	if err != nil {
		m.t.Fatal(err)
	}
	return string(out), 0
}

// mustSh runs a script that must print that and succeed.
func (m *monitor) mustSh(script, want string, wrap ...string) {
	m.t.Helper()
	if got, code := m.sh(script, wrap...); code != 0 || got != want {
		m.t.Errorf("%s: printed %q, exit code %d, want %q", script, got, code, want)
	}
}

// refuseSh runs a script that must fail for that reason.
func (m *monitor) refuseSh(script, reason string, wrap ...string) {
	m.t.Helper()
	if got, code := m.sh(script, wrap...); code == 0 || !strings.Contains(got, reason) {
		m.t.Errorf("%s: printed %q, exit code %d, want the error %q", script, got, code, reason)
	}
}

func as(uid, gid int) []string {
	return []string{"setpriv", "--reuid=" + strconv.Itoa(uid), "--regid=" + strconv.Itoa(gid), "--clear-groups"}
}

// deciders returns the map of all deciders as the fleet has it.
func (f *fleet) deciders() map[string]int {
	f.t.Helper()
	values := map[string]int{}
	if err := json.Unmarshal([]byte(f.run("config", "get", deciderFile)), &values); err != nil {
		f.t.Fatal(err)
	}
	return values
}

const deciderFile = "config.manageddata.admin.decider"

// writeFleet is a fleet whose boxes get the deciders and two configs.
func writeFleet(f *fleet) (x, typed string) {
	f.run("dependency", "create", boxDep)
	f.newConfig("admin", "decider", boxDep)
	x, typed = f.newConfig("spam", "x", boxDep), f.newConfig("spam", "rules_json", boxDep)
	f.put(deciderFile, `{"first": 1}`)
	f.put(x, "x1\n")
	return x, typed
}

// A write is published to the fleet before the program that writes goes on, or
// fails for a reason that it is told.
func TestWriteThroughTheMount(t *testing.T) {
	t.Parallel()
	f := newFleet(t, gofakes3)
	x, typed := writeFleet(f)
	set := f.newServerset("search", "prod", boxDep)
	f.zk.join("/discovery/search/prod", "10.0.0.1:80")
	start := func() *monitor {
		m := f.startMonitor(monitorConfig{Mode: "fuse", Dependencies: []string{boxDep}, Args: []string{"--writers", strconv.Itoa(writersGroup)}})
		m.awaitConfig("decider/first", "1\n")
		m.awaitServerset(set, "10.0.0.1:80")
		return m
	}
	m, other := start(), start()

	for name, want := range map[string]uint32{x: unix.S_IFREG | 0o664, "decider/first": unix.S_IFREG | 0o664, "decider": unix.S_IFDIR | 0o775, "": unix.S_IFDIR | 0o775} {
		if st := mustStat(t, m.config(name)); st.Mode != want || st.Uid != 0 || st.Gid != writersGroup {
			t.Errorf("%q has mode %o, owner %d:%d", name, st.Mode, st.Uid, st.Gid)
		}
	}
	if st := mustStat(t, m.serverset(set)); st.Mode != unix.S_IFREG|0o444 {
		t.Errorf("the serverset has mode %o", st.Mode)
	}
	if got := m.get("/admin/status"); !strings.Contains(got, fmt.Sprintf(`"writers":"root and the group %d"`, writersGroup)) {
		t.Errorf("the status doesn't say who may write: %s", got)
	}

	// Who writes reads it, at once, each time.
	m.mustSh("for i in $(seq 20); do echo $i > decider/loop; cat decider/loop; done | tr '\\n' ' '", "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 ")
	m.mustSh("echo 50 > decider/new; cat decider/new", "50\n", as(12345, writersGroup)...)
	m.mustSh("for i in 1 2 3; do echo line $i > "+x+"; done; cat "+x, "line 3\n")
	m.mustSh("echo '{}' > "+typed+"; cat "+typed, "{}\n")
	m.mustSh("rm decider/new; ls decider", "first\nloop\n")
	if got := f.deciders(); len(got) != 2 || got["loop"] != 20 {
		t.Errorf("the fleet has %v", got)
	}
	other.awaitConfig("decider/loop", "20\n")
	other.awaitConfig(x, "line 3\n")
	var history []struct{ Author, Comment string }
	f.runJSON(&history, "config", "history", x)
	if host, _ := os.Hostname(); len(history) < 4 || history[0].Author != "root@"+host || history[0].Comment != "through "+m.dirs.config+" by bash" {
		t.Errorf("the history is %+v", history)
	}

	for _, bad := range []string{"101", "-1", "1e3", "fifty", "''"} {
		m.refuseSh("echo "+bad+" > decider/first", "Invalid argument")
	}
	m.refuseSh("echo '{' > "+typed+" || exit 1; cp /etc/hostname "+typed, "Invalid argument")
	m.refuseSh("echo 5 > decider/Upper", "Invalid argument")
	m.refuseSh("echo 5 > config.manageddata.never.heard", "Operation not permitted")
	m.refuseSh("rm "+x, "Operation not permitted")
	for _, script := range []string{"echo 7 > decider/first", "echo 7 > decider/another", "rm decider/first", "echo x > " + x} {
		m.refuseSh(script, "ermission denied", as(12345, 12345)...)
	}
	m.mustSh("cat decider/first "+typed, "1\n{}\n")
	m.awaitLine(0, `level=WARN msg="a change through the mount was refused or failed" name=decider/first operation=write user=root .* command=bash .* errno=EINVAL`)

	// What was opened before somebody else's change doesn't undo that.
	file, err := os.OpenFile(m.config(x), os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.put(x, "elsewhere\n")
	m.awaitConfig(x, "elsewhere\n")
	_, err = file.WriteString("undone\n")
	if err := errors.Join(err, file.Close()); !errors.Is(err, syscall.ESTALE) {
		t.Errorf("the error is %v", err)
	}
	m.mustSh("cat "+x, "elsewhere\n")
	if got := f.run("config", "get", x); got != "elsewhere" {
		t.Errorf("the fleet has %q", got)
	}
}

// Who can't be reached is told by the error, and nothing has changed.
func TestWriteWithBackendsAway(t *testing.T) {
	t.Parallel()
	zookeeper, s3 := devtest.ZooKeeper(t), devtest.S3(t)
	through := map[string]*devcluster.Proxy{zookeeper.Addr(): nil, strings.TrimPrefix(s3.Endpoint(), "http://"): nil}
	for target := range through {
		proxy, err := devcluster.StartProxy(target)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(proxy.Close)
		through[target] = proxy
	}
	zk, blobs := through[zookeeper.Addr()], through[strings.TrimPrefix(s3.Endpoint(), "http://")]
	f := newFleetOn(t, zookeeper.Addr(), s3Server{endpoint: s3.Endpoint(), bucket: devtest.Bucket, accessKey: "any", secretKey: "any"})
	x, _ := writeFleet(f)
	m := f.startMonitor(monitorConfig{
		Mode: "fuse", Dependencies: []string{boxDep}, Args: []string{"--write-timeout", "1s"},
		Env: []string{"KINGPIN_ZK=" + zk.Addr(), "KINGPIN_S3_ENDPOINT=http://" + blobs.Addr()},
	})
	m.awaitConfig("decider/first", "1\n")
	aside := filepath.Join(f.dir, "aside")
	mustWrite(t, aside, "moved\n")
	move := "cp " + aside + " .aside.tmp; mv .aside.tmp " + x
	for _, away := range []struct {
		proxy  *devcluster.Proxy
		reason string
	}{
		{blobs, "Remote I/O error"},
		{zk, "No route to host"},
	} {
		away.proxy.Cut()
		m.refuseSh("echo 2 > decider/first", away.reason)
		m.refuseSh("cp "+aside+" "+x, away.reason)
		m.refuseSh(move, away.reason)
		m.refuseSh("rm decider/first", away.reason)
		m.mustSh("cat decider/first "+x, "1\nx1\n")
		if err := away.proxy.Restore(); err != nil {
			t.Fatal(err)
		}
		await(t, "the fleet to be in reach again", func() error {
			if out, code := m.sh("echo 1 > decider/first"); code != 0 {
				return errors.New(out)
			}
			return nil
		})
	}
	m.mustSh(move+"; cat "+x, "moved\n")
}

// Without a mount nobody can write, and what root does to a file all the same is
// put right, and reported.
func TestPlainFilesArePutRight(t *testing.T) {
	t.Parallel()
	f := newFleet(t, gofakes3)
	x, _ := writeFleet(f)
	m := f.startMonitor(monitorConfig{Mode: "plain", Dependencies: []string{boxDep}, Args: []string{"--writers", strconv.Itoa(writersGroup)}})
	m.awaitConfig("decider/first", "1\n")
	for _, name := range []string{x, "decider/first"} {
		if st := mustStat(t, m.config(name)); st.Mode != unix.S_IFREG|0o444 {
			t.Errorf("%s has mode %o", name, st.Mode)
		}
	}
	m.refuseSh("echo 2 > decider/first", "ermission denied", as(12345, writersGroup)...)
	m.mustSh("echo 2 > decider/first", "")
	m.awaitLine(0, `level=WARN msg="a plain file was changed by hand, and is put right.* name=decider/first`)
	m.awaitConfig("decider/first", "1\n")
	m.mustSh("rm "+x, "")
	m.awaitConfig(x, "x1\n")
	if got := m.metrics()["kingpin_mended_files_total"]; got != 2 {
		t.Errorf("counted were %v", got)
	}
	if got := f.run("status", "--admin-addr", m.adminAddr); !strings.Contains(got, "2 plain files that somebody changed by hand, the last "+x) || !strings.Contains(got, "nobody through the files") {
		t.Errorf("the status is\n%s", got)
	}
	if got := f.deciders(); got["first"] != 1 {
		t.Errorf("the fleet has %v", got)
	}
}
