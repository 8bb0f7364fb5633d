package integration

import (
	"crypto/sha1"
	"encoding/base64"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/go-zookeeper/zk"
)

// deadAddr is an address where nobody listens.
const deadAddr = "127.0.0.1:1"

// TestExitCodes holds every command that talks to a backend to the exit codes
// that scripts rely on: 4 where one can't be reached, 3 where one refuses, 1
// where something isn't there.
func TestExitCodes(t *testing.T) {
	t.Parallel()
	f := newFleet(t, gofakes3)
	name := f.newConfig("spam", "x")
	v := f.put(name, "one")
	f.newConfig("admin", "decider")
	f.run("dependency", "create", "web.dep")
	text := filepath.Join(f.dir, "metaconfig")
	mustWrite(t, text, configText("/var/config/"+name, "/config/manageddata/spam/x", ""))
	commands := [][]string{
		{"config", "list"}, {"config", "get", name}, {"config", "put", name, text}, {"config", "history", name},
		{"metaconfig", "create-config", "spam", "y"}, {"metaconfig", "create-serverset", "search", "prod"},
		{"metaconfig", "list"}, {"metaconfig", "show", name}, {"metaconfig", "set", name, text}, {"metaconfig", "remove", name},
		{"dependency", "create", "other.dep"}, {"dependency", "add", "web.dep", name}, {"dependency", "remove", "web.dep", name},
		{"dependency", "show", "web.dep"}, {"dependency", "list"},
		{"list", "show", "spam.x"}, {"list", "add", "spam.x", "a"}, {"map", "set", "spam.x", "a", "1"}, {"mapped-list", "add", "spam.x", "a", "b"},
		{"decider", "list"}, {"decider", "set", "a", "1"}, {"config", "diff", name}, {"config", "edit", name, "--yes"},
		{"config", "rollback", name, v}, {"config", "schema", name, "--shape", "json"},
	}
	needS3 := map[string]bool{"get": true, "put": true, "history": true, "create-config": true, "create-serverset": true, "show": true, "set": true}
	// They try for a while: all at the same time.
	noZK, noS3 := make([]result, len(commands)), make([]result, len(commands))
	var running sync.WaitGroup
	for i, args := range commands {
		running.Go(func() { noZK[i] = f.try("", append(slices.Clone(args), "--zk", deadAddr)...) })
		if args[0] != "dependency" && needS3[args[1]] {
			running.Go(func() { noS3[i] = f.try("", append(slices.Clone(args), "--s3-endpoint", "http://"+deadAddr)...) })
		}
	}
	running.Wait()
	for i, args := range commands {
		t.Log(args)
		wantExit(t, noZK[i], 4, deadAddr, "connection refused")
		if args[0] != "dependency" && needS3[args[1]] {
			wantExit(t, noS3[i], 4, deadAddr, "connection refused")
		}
		if printed := noZK[i].stdout + noS3[i].stdout; printed != "" {
			t.Errorf("without a backend it prints %q", printed)
		}
	}
	t.Run("refused", func(t *testing.T) {
		huge := filepath.Join(f.dir, "huge")
		mustWrite(t, huge, strings.Repeat("x", 17<<20))
		bad := filepath.Join(f.dir, "bad")
		mustWrite(t, bad, "not JSON")
		shell := filepath.Join(f.dir, "shell")
		mustWrite(t, shell, configText("/var/config/x", "/config/x", "; rm -rf /"))
		for _, refused := range []struct {
			told []string
			args []string
		}{
			{[]string{v, `"1.0"`, "read it again"}, []string{"config", "put", name, text, "--expect-version", "1.0"}},
			{[]string{"bytes", "limit"}, []string{"config", "put", name, huge}},
			{[]string{"empty", "no monitor would serve that"}, []string{"config", "put", name, "-"}},
			{[]string{"/dev/null", "empty"}, []string{"config", "put", name, "/dev/null"}},
			{[]string{"not JSON", `"new"`}, []string{"metaconfig", "set", "new", bad}},
			{[]string{"shell", "root"}, []string{"metaconfig", "set", "new", shell}},
			{[]string{`"a/b"`}, []string{"metaconfig", "set", "a/b", text}},
			{[]string{`"x.dep"`, "dependency"}, []string{"metaconfig", "set", "x.dep", text}},
			{[]string{`"a b"`}, []string{"metaconfig", "create-config", "a b", "x"}},
			{[]string{"key", "empty"}, []string{"metaconfig", "create-config", "spam", ""}},
			{[]string{`"../../etc"`}, []string{"metaconfig", "create-config", "spam", "../../etc"}},
			{[]string{"255"}, []string{"metaconfig", "create-config", "spam", strings.Repeat("x", 250)}},
			{[]string{`"web"`, ".dep"}, []string{"dependency", "create", "web"}},
		} {
			wantExit(t, f.try("", refused.args...), 3, refused.told...)
		}
	})
	t.Run("not there", func(t *testing.T) {
		for _, missing := range []struct {
			told []string
			args []string
		}{
			{[]string{"config.manageddata.no.such", "kingpin metaconfig create-config no such"}, []string{"config", "get", "config.manageddata.no.such"}},
			{[]string{"config.manageddata.no.such", "kingpin metaconfig create-config no such"}, []string{"config", "put", "config.manageddata.no.such", text}},
			{[]string{name, "1.5"}, []string{"config", "get", name, "--version", "1.5"}},
			{[]string{`"none"`}, []string{"metaconfig", "show", "none"}},
			{[]string{`"none.dep"`}, []string{"dependency", "show", "none.dep"}},
			{[]string{`"none"`, "kingpin dependency show web.dep"}, []string{"dependency", "remove", "web.dep", "none"}},
		} {
			wantExit(t, f.try("", missing.args...), 1, missing.told...)
		}
	})
	wantExit(t, f.try("", "status", "--admin-addr", deadAddr), 4, deadAddr, "kingpin monitor", "--admin-addr")
	wantExit(t, f.try("", "serverset", "accept", "discovery.x.y", "--admin-addr", deadAddr), 4, deadAddr)
	wantExit(t, f.try("", "config", "put", name, text, "--wait", "--admin-addr", deadAddr), 4, "is published", deadAddr)
	// What was refused has changed nothing; what failed half way can be repeated.
	if list := f.run("metaconfig", "list"); strings.Contains(list, "new") {
		t.Errorf("the metaconfigs are %q", list)
	}
	f.run("metaconfig", "create-config", "spam", "y")
	f.run("metaconfig", "create-serverset", "search", "prod")
	f.run("metaconfig", "show", "config.manageddata.spam.y")
	f.run("metaconfig", "show", "discovery.search.prod")
}

// TestNoPermission gives commands and monitors a znode that they may not read
// without credentials: they say what they lack, and with an auth file they may.
// Neither the password nor the key to S3 appears anywhere, whatever is logged.
func TestNoPermission(t *testing.T) {
	t.Parallel()
	f := newFleet(t, versitygw)
	const user, password = "fleet", "correct-horse-battery-staple"
	auth := filepath.Join(f.dir, "auth")
	mustWrite(t, auth, user+":"+password+"\n")
	c := newCompany(f, monitorConfig{Args: []string{"--log-level", "debug"}})
	name := f.subscribe("closed")[0]
	f.publish("closed", 1)
	for _, m := range c.faces {
		m.awaitSoon(name, 1)
	}
	znode := f.zk.chroot + pointers + "closed"
	if _, err := f.zk.conn.SetACL(znode, zk.DigestACL(zk.PermAll, user, password), -1); err != nil {
		t.Fatal(err)
	}
	for _, m := range c.faces {
		m.post("/admin/watch" + pointers + "closed")
	}
	c.awaitNow(name+": ", pointers+"closed", "permission denied", "--zk-auth")
	for _, m := range c.faces {
		m.mustServe(name, 1)
	}
	c.mustGoOn()
	refused := wantExit(t, f.try("", "config", "get", name, "--log-level", "debug"), 3, "permission denied", pointers+"closed", "--zk-auth")

	c.restart("--log-level", "debug", "--zk-auth", auth)
	put := f.try(numbered(2, contentSize), "config", "put", name, "-", "--zk-auth", auth, "--log-level", "debug")
	wantExit(t, put, 0)
	for _, m := range c.faces {
		m.awaitSoon(name, 2)
	}
	c.awaitNoComplaint()
	c.mustGoOn()
	get := f.try("", "config", "get", name, "--zk-auth", auth, "--log-level", "debug", "--log-format", "json")
	wantExit(t, get, 0)
	wrong := filepath.Join(f.dir, "wrong")
	mustWrite(t, wrong, "other:"+password)
	other := wantExit(t, f.try("", "config", "get", name, "--zk-auth", wrong, "--log-level", "debug"), 3, "permission denied", pointers+"closed")

	texts := map[string]string{
		"config get without credentials": refused.stdout + refused.stderr, "config put": put.stdout + put.stderr,
		"config get": get.stdout + get.stderr, "config get with others' credentials": other.stdout + other.stderr,
	}
	for _, m := range c.faces {
		texts["the log of the "+m.mode+" face"] = m.stdout.String() + m.stderr.String()
		for _, path := range []string{"/admin/status", "/admin/details", "/config", "/metrics"} {
			texts[path+" of the "+m.mode+" face"] = m.get(path)
		}
	}
	digest := sha1.Sum([]byte(user + ":" + password))
	for where, text := range texts {
		for _, secret := range []string{password, f.server.secretKey, base64.StdEncoding.EncodeToString(digest[:])} {
			if strings.Contains(text, secret) {
				t.Errorf("%s holds the secret %q", where, secret)
			}
		}
	}
}
