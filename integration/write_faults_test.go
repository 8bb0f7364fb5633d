package integration

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"
	"golang.org/x/sys/unix"

	"github.com/kingpinfs/kingpin/internal/devcluster"
	"github.com/kingpinfs/kingpin/internal/devcluster/devtest"
)

// writeTimeout is the --write-timeout of these tests' monitors.
const writeTimeout = 2 * time.Second

// While a backend is away, in whatever way, nothing can be written: who writes is
// told within the timeout, the log says who that was, and nothing has changed.
// Reading goes on. When it is back, so is writing.
func TestWritingWithoutBackends(t *testing.T) {
	t.Parallel()
	server, described := ownS3(t)
	f := newFleetOn(t, devtest.SharedZooKeeper(t), described)
	zookeeper, s3 := proxyTo(t, strings.SplitN(f.zkAddr, "/", 2)[0]), proxyTo(t, server.Endpoint())
	cfg := writeConfig
	cfg.Args = append(cfg.Args[:len(cfg.Args):len(cfg.Args)], "--write-timeout", writeTimeout.String())
	cfg.Env = []string{f.zkVia(zookeeper), s3Via(s3)}
	s := newWriteScene(t, f, cfg)
	for _, outage := range []struct {
		name  string
		proxy *devcluster.Proxy
		begin func()
		says  string // a pattern
	}{
		{"S3 refuses connections", s3, s3.Cut, "Remote I/O error"},
		{"S3 is lost on the way", s3, s3.Stall, "Remote I/O error"},
		{"ZooKeeper refuses connections", zookeeper, zookeeper.Cut, "No route to host"},
		// Until the session is known to be lost, it is only slow.
		{"ZooKeeper is lost on the way", zookeeper, zookeeper.Stall, "timed out|No route to host"},
	} {
		t.Log(outage.name)
		outage.begin()
		for name, bad := range map[string]string{textName: "lost\n", feed: "20\n"} {
			skip := len(s.m.stderr.String())
			s.unchanged(outage.name, func() {
				start := time.Now()
				ran := s.as(member, fmt.Sprintf(`printf %q > "$W/lost" && cp "$W/lost" "$F"`, bad), "F="+s.m.config(name), "W="+s.work)
				if ran.code == 0 {
					t.Errorf("%s: cp to %s reports no error", outage.name, name)
				}
				if took := time.Since(start); took > writeTimeout+soon {
					t.Errorf("%s: cp to %s took %v, with a timeout of %v", outage.name, name, took, writeTimeout)
				}
				if !regexp.MustCompile(outage.says).MatchString(ran.stderr) {
					t.Errorf("%s: cp to %s says %q, not %q", outage.name, name, ran.stderr, outage.says)
				}
			})
			s.m.mustLogWriter(skip, name, 1, 1, "cp")
		}
		if err := outage.proxy.Restore(); err != nil {
			t.Fatal(err)
		}
		content := outage.name + ", and is back\n"
		await(t, "writing to work again", func() error { return rewrite(s.m.config(textName), content) })
		if err := has(s.m.config(textName), content); err != nil {
			t.Error(err)
		}
		s.other.awaitConfig(textName, content)
		s.m.mustBeWell()
	}
}

// mustLogWriter waits until the log, after the first skip bytes, tells in one line
// of a refused write to a file, and of who that was.
func (m *monitor) mustLogWriter(skip int, name string, uid, gid int, command string) {
	m.t.Helper()
	texts := []string{name, fmt.Sprintf(" uid=%d ", uid), fmt.Sprintf(" gid=%d ", gid), " pid=", " command=" + command}
	await(m.t, fmt.Sprintf("the log to tell %q", texts), func() error {
		return lacks(strings.Split(m.stderr.String()[skip:], "\n"), texts)
	})
}

// Errors of S3 that isn't away: the write fails, and says nothing of the content.
func TestWritingWhileS3Fails(t *testing.T) {
	t.Parallel()
	server, described := ownS3(t)
	f := newFleetOn(t, devtest.SharedZooKeeper(t), described)
	cfg := writeConfig
	cfg.Args = append(cfg.Args[:len(cfg.Args):len(cfg.Args)], "--write-timeout", writeTimeout.String())
	s := newWriteScene(t, f, cfg)
	release := holdWrites(server)
	defer release()
	s.unchanged("S3 holds every write", func() {
		for path, content := range map[string]string{s.m.config(textName): "x", s.m.config(feed): "20\n"} {
			err := rewrite(path, content)
			if !errors.Is(err, unix.EREMOTEIO) {
				t.Errorf("writing %s: %v", path, err)
			}
		}
	})
	release()
	for path, content := range map[string]string{s.m.config(textName): "y", s.m.config(feed): "30\n"} {
		await(t, "writing to work again", func() error { return rewrite(path, content) })
		if err := has(path, content); err != nil {
			t.Error(err)
		}
	}
}

// What ZooKeeper doesn't let the monitor write is denied to whoever writes, root
// as well.
func TestWritingWithoutTheRightInZooKeeper(t *testing.T) {
	t.Parallel()
	s := newWriteScene(t, newFleet(t, gofakes3), writeConfig)
	for _, zkPath := range []string{textPath, deciderPath} {
		if _, err := s.zk.conn.SetACL(s.zk.chroot+zkPath, zk.WorldACL(zk.PermRead), -1); err != nil {
			t.Fatal(err)
		}
	}
	s.unchanged("a znode that can only be read", func() {
		for path, content := range map[string]string{s.m.config(textName): "x", s.m.config(feed): "20\n"} {
			if err := rewrite(path, content); !errors.Is(err, unix.EACCES) {
				t.Errorf("writing %s: %v", path, err)
			}
		}
		if err := unix.Unlink(s.m.config(feed)); !errors.Is(err, unix.EACCES) {
			t.Errorf("removing a decider: %v", err)
		}
		temporary := s.m.config(".temporary")
		if err := write(temporary, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, "x"); err != nil {
			t.Fatal(err)
		}
		if err := unix.Rename(temporary, s.m.config(textName)); !errors.Is(err, unix.EACCES) {
			t.Errorf("renaming: %v", err)
		}
		if err := unix.Unlink(temporary); err != nil {
			t.Error(err)
		}
	})
	// What it may write, it does.
	if err := errors.Join(rewrite(s.m.config(limitsName), `{"limit": 11}`), has(s.m.config(limitsName), `{"limit": 11}`)); err != nil {
		t.Error(err)
	}
}
