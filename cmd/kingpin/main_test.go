package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/go-zookeeper/zk"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/kingpinfs/kingpin/internal/devcluster/devtest"
)

func TestMain(m *testing.M) {
	if plays := os.Getenv(playVariable); plays != "" {
		os.Exit(playWorker(plays))
	}
	testscript.Main(m, map[string]func(){"kingpin": main})
}

// TestScripts runs testdata/*.txtar against real servers. A script has a
// ZooKeeper chroot and a bucket of its own; its environment names them.
func TestScripts(t *testing.T) {
	zookeeper := devtest.ZooKeeper(t)
	conn, _ := devtest.RawZooKeeper(t, zookeeper.Addr())
	s3 := devtest.S3(t)
	program := buildProgram(t)
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			name := filepath.Base(env.WorkDir)
			if err := s3.CreateBucket(name); err != nil {
				return err
			}
			if _, err := conn.Create("/"+name, nil, 0, zk.WorldACL(zk.PermAll)); err != nil {
				return err
			}
			env.Setenv("PATH", program+string(os.PathListSeparator)+env.Getenv("PATH"))
			env.Setenv("ZOOKEEPER", zookeeper.Addr())
			env.Setenv("KINGPIN_ZK", zookeeper.Addr()+"/"+name)
			env.Setenv("KINGPIN_S3_ENDPOINT", s3.Endpoint())
			env.Setenv("KINGPIN_S3_BUCKET", name)
			env.Setenv("AWS_EC2_METADATA_DISABLED", "true")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":   exits,
			"capture": capture,
			"znode":   func(ts *testscript.TestScript, neg bool, args []string) { makeZnode(conn, ts, neg, args) },
		},
	})
}

// buildProgram builds kingpin as users have it, and returns the directory that it
// is in. Scripts run it hundreds of times, and with the race detector each start
// would take a third of a second.
func buildProgram(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(dir, "kingpin"), ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", build, err, output)
	}
	return dir
}

// exits runs a command and checks its exit code: exits CODE COMMAND ARG…
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND ARG…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("%q exited with %d, want %d", args[1:], got, want)
	}
}

// makeZnode makes a znode beneath the script's chroot, which belongs to the test's
// session or to nobody: znode ephemeral|persistent PATH
func makeZnode(conn *zk.Conn, ts *testscript.TestScript, neg bool, args []string) {
	flags := map[string]int32{"ephemeral": zk.FlagEphemeral, "persistent": 0}
	if neg || len(args) != 2 {
		ts.Fatalf("usage: znode ephemeral|persistent PATH")
	}
	_, chroot, _ := strings.Cut(ts.Getenv("KINGPIN_ZK"), "/")
	_, err := conn.Create("/"+chroot+args[1], nil, flags[args[0]], zk.WorldACL(zk.PermAll))
	ts.Check(err)
}

// capture sets a variable to a file's content, without the last line end:
// capture VARIABLE FILE
func capture(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: capture VARIABLE FILE")
	}
	ts.Setenv(args[0], strings.TrimSuffix(ts.ReadFile(args[1]), "\n"))
}
