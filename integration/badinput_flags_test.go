package integration

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kingpinfs/kingpin/internal/devcluster/devtest"
)

// withoutZK is the environment of a command whose ZooKeeper servers are given by
// a flag.
func withoutZK() []string { return []string{"KINGPIN_ZK="} }

// TestHostsFiles gives monitors and commands hosts files as people write them:
// what is good in them is used, what isn't is named with its line.
func TestHostsFiles(t *testing.T) {
	t.Parallel()
	server := devtest.ZooKeeper(t) // a hosts file has no chroot
	f := newFleetOn(t, server.Addr(), gofakes3(t))
	name := f.subscribe("x")[0]
	f.publish("x", 1)
	hosts := filepath.Join(f.dir, "hosts")
	write := func(lines ...string) { mustWrite(t, hosts, strings.Join(lines, "")) }

	write("\xef\xbb\xbf# the ensemble\r\n", "\r\n", "   \n", "  "+server.Addr()+"  # the only one\r\n",
		"not a host:2181\n", "bad..name:port\n", server.Addr()+"\r\n", "10.0.0.1:99999")
	c := &company{f: f, faces: f.startFaces(monitorConfig{Env: withoutZK(), Args: []string{"-z", hosts}})}
	c.awaitTold(hosts+":5", "not a host:2181", "left out")
	c.awaitTold(hosts+":6", "bad..name:port", "left out")
	c.awaitTold(hosts+":8", "10.0.0.1:99999", "left out", "1 to 65535")
	for _, m := range c.faces {
		m.awaitSoon(name, 1)
		if text := m.stderr.String(); strings.Contains(text, hosts+":1") || strings.Contains(text, hosts+":4") {
			t.Error("good lines are warned of")
		}
		m.mustBeWell()
	}
	if r := f.tryWith(withoutZK(), "", "config", "list", "-z", hosts); r.code != 0 || !strings.Contains(r.stdout, name) {
		t.Errorf("config list: exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}

	for _, bad := range []struct {
		content string
		told    []string
	}{
		{"", []string{"names no server", "one host:port a line"}},
		{"# nothing\n\n", []string{"names no server", "one host:port a line"}},
		{"not a host\n:2181\nhost:\n", []string{hosts + ":1", hosts + ":2", hosts + ":3", "host:port"}},
	} {
		write(bad.content)
		told := append(bad.told, hosts)
		wantExit(t, f.tryWith(withoutZK(), "", "config", "list", "-z", hosts), 2, told...)
		wantExit(t, f.tryWith(withoutZK(), "", monitorArgs(f.newDirs(), "-z", hosts)...), 2, told...)
	}
	missing := filepath.Join(f.dir, "missing")
	wantExit(t, f.tryWith(withoutZK(), "", "config", "list", "-z", missing), 2, missing, "no such file")
	wantExit(t, f.tryWith(withoutZK(), "", monitorArgs(f.newDirs(), "-z", missing)...), 2, missing, "no such file")
	wantExit(t, f.tryWith(withoutZK(), "", "config", "list", "-z", f.dir), 2, f.dir, "is a directory")
	wantExit(t, f.tryWith(withoutZK(), "", "config", "list"), 2, "--zk", "--zk-hosts-file", "KINGPIN_ZK")
	wantExit(t, f.tryWith(withoutZK(), "", "config", "list", "--zk", "host:port"), 2, `"host:port"`, "1 to 65535")
	wantExit(t, f.tryWith(withoutZK(), "", "config", "list", "--zk", "a:1", "-z", hosts), 2, "--zk", "--zk-hosts-file")
}

// monitorArgs are the arguments of a monitor that must not start.
func monitorArgs(d dirs, more ...string) []string {
	return append([]string{"monitor", "-d", boxDep, "--mode", "plain", "--admin-addr", "127.0.0.1:0",
		"--config-dir", d.config, "--serverset-dir", d.serverset, "--state-dir", d.state}, more...)
}

// TestAuthFiles gives auth files that are missing or hold something else: they
// are named, and what they hold is not.
func TestAuthFiles(t *testing.T) {
	t.Parallel()
	f := newFleet(t, gofakes3)
	auth := filepath.Join(f.dir, "auth")
	const secret = "correct-horse-battery-staple"
	for _, content := range []string{"", secret, ":" + secret, "user:", "user:" + secret + "\nsecond:" + secret, "\n"} {
		mustWrite(t, auth, content)
		for _, r := range []result{
			f.try("", "config", "list", "--zk-auth", auth, "--log-level", "debug"),
			f.try("", monitorArgs(f.newDirs(), "--zk-auth", auth, "--log-level", "debug")...),
		} {
			wantExit(t, r, 2, "--zk-auth", auth, "user:password")
			if strings.Contains(r.stdout+r.stderr, secret) {
				t.Errorf("the secret is told: %s", r.stderr)
			}
		}
	}
	missing := filepath.Join(f.dir, "missing")
	wantExit(t, f.try("", "config", "list", "--zk-auth", missing), 2, "--zk-auth", missing, "no such file")
	wantExit(t, f.try("", monitorArgs(f.newDirs(), "--zk-auth", missing)...), 2, "--zk-auth", missing, "no such file")
	wantExit(t, f.try("", "config", "list", "--zk-tls-ca", missing), 2, "--zk-tls-ca", missing)
	mustWrite(t, auth, "no certificate")
	wantExit(t, f.try("", "config", "list", "--zk-tls-ca", auth), 2, "--zk-tls-ca", auth, "no certificate")
	wantExit(t, f.try("", "config", "list", "--zk-tls-cert", auth), 2, "--zk-tls-cert", "--zk-tls-key")
}

// TestWrongUsage gives command lines that can't be meant.
func TestWrongUsage(t *testing.T) {
	t.Parallel()
	f := newFleet(t, gofakes3)
	name := f.newConfig("spam", "x")
	d := f.newDirs()
	for _, wrong := range []struct {
		told []string
		args []string
	}{
		{[]string{"--mode", `"fast"`, "auto, fuse, plain"}, monitorArgs(d, "--mode", "fast")},
		{[]string{"dependency", "-d NAME.dep"}, []string{"monitor"}},
		{[]string{`"web"`, ".dep"}, monitorArgs(d, "-d", "web")},
		{[]string{`"a/b.dep"`}, monitorArgs(d, "-d", "a/b.dep")},
		{[]string{"--admin-addr", `"nowhere"`, "HOST:PORT"}, monitorArgs(d, "--admin-addr", "nowhere")},
		{[]string{"--resync"}, monitorArgs(d, "--resync", "often")},
		{[]string{"--resync"}, monitorArgs(d, "--resync=-1s")},
		{[]string{"--serverset-hold"}, monitorArgs(d, "--serverset-hold=-1s")},
		{[]string{"--resync", "above 0"}, monitorArgs(d, "--resync=0s")},
		{[]string{"--config-dir", "--serverset-dir", "must differ"}, monitorArgs(d, "--serverset-dir", d.config+"/")},
		{[]string{"--config-dir", "--state-dir", "must differ"}, monitorArgs(d, "--state-dir", d.config)},
		{[]string{"--config-dir", "--state-dir", "must lie apart"}, monitorArgs(d, "--state-dir", d.config+"/x/../state")},
		{[]string{"--serverset-dir", "--config-dir", "must lie apart"}, monitorArgs(d, "--config-dir", d.serverset+"/config")},
		{[]string{"--writers", `"no_such_group"`, "/etc/group"}, monitorArgs(d, "--writers", "no_such_group")},
		{[]string{"--writers", `"-1"`}, monitorArgs(d, "--writers=-1")},
		{[]string{"--write-timeout", "above 0"}, monitorArgs(d, "--write-timeout=0s")},
		{[]string{"--max-content", "16MiB"}, monitorArgs(d, "--max-content", "a lot")},
		{[]string{"--log-level", `"loud"`}, monitorArgs(d, "--log-level", "loud")},
		{[]string{"--log-format", `"xml"`}, monitorArgs(d, "--log-format", "xml")},
		{[]string{"--no-such-flag"}, monitorArgs(d, "--no-such-flag")},
		{[]string{`"extra"`}, monitorArgs(d, "extra")},
		{[]string{`"confg"`, "config"}, []string{"confg"}},
		{[]string{`"putt"`, "put"}, []string{"config", "putt"}},
		{[]string{"config."}, []string{"config", "put", "x", "-"}},
		{[]string{"config."}, []string{"config", "get", "../../etc/passwd"}},
		{[]string{"config.manageddata"}, []string{"config", "get", "config.manageddata..x"}},
		{[]string{"--expect-version", `"soon"`}, []string{"config", "put", name, "-", "--expect-version", "soon"}},
		{[]string{"--output", `"yaml"`}, []string{"config", "list", "--output", "yaml"}},
		{[]string{"arg"}, []string{"config", "put"}},
		{[]string{"arg"}, []string{"dependency", "add", "x.dep"}},
		// Without a file and without an input, as a command gets that forgot both.
		{[]string{"standard input is empty", "-"}, []string{"config", "put", name}},
	} {
		wantExit(t, f.try("", wrong.args...), 2, append(wrong.told, "--help")...)
	}
	wantExit(t, f.tryWith([]string{"KINGPIN_S3_BUCKET="}, "", "config", "get", name), 2, "--s3-bucket", "KINGPIN_S3_BUCKET")
	wantExit(t, f.tryWith([]string{"KINGPIN_MODE=fast"}, "", "monitor", "-d", boxDep), 2, "KINGPIN_MODE", `"fast"`)
	wantExit(t, f.tryWith([]string{"KINGPIN_WRITERS=no_such_group"}, "", "monitor", "-d", boxDep), 2, "KINGPIN_WRITERS", `"no_such_group"`)
	for _, dir := range []string{d.config, d.serverset, d.state} {
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("a monitor that must not start made %s", dir)
		}
	}
	wantExit(t, f.try("", "config", "put", name, filepath.Join(f.dir, "no file")), 1, "no file")
}

// TestAddressAlreadyTaken starts a monitor on an admin address that somebody
// listens on.
func TestAddressAlreadyTaken(t *testing.T) {
	t.Parallel()
	f := newFleet(t, gofakes3)
	f.subscribe("x")
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, mode := range []string{"fuse", "plain"} {
		d := f.newDirs()
		r := f.tryMonitor(mode, d, "--admin-addr", taken.Addr().String())
		wantExit(t, r, 1, taken.Addr().String(), "already in use", "--admin-addr", "-p")
		if left := mountsBelow(t, filepath.Dir(d.config)); len(left) > 0 {
			t.Errorf("it left mounts: %q", left)
		}
	}
}

// TestDirectoriesInUse starts a second monitor that shares one directory with the
// first, each in turn: it is refused, and the first one is not disturbed.
func TestDirectoriesInUse(t *testing.T) {
	t.Parallel()
	f := newFleet(t, gofakes3)
	c := newCompany(f, monitorConfig{})
	for _, first := range c.faces {
		for _, mode := range []string{"fuse", "plain", "auto"} {
			for _, shared := range []func(*dirs) (dir *string, flag string){
				func(d *dirs) (*string, string) { return &d.state, "--state-dir" },
				func(d *dirs) (*string, string) { return &d.config, "use another directory" },
				func(d *dirs) (*string, string) { return &d.serverset, "use another directory" },
			} {
				d := f.newDirs()
				mine, advice := shared(&d)
				theirs, _ := shared(&first.dirs)
				*mine = *theirs
				r := f.tryMonitor(mode, d)
				if r.code != 1 && r.code != 3 {
					t.Errorf("the exit code is %d", r.code)
				}
				wantExit(t, r, r.code, *theirs, advice, "stop")
			}
		}
	}
	c.mustGoOn()
}
