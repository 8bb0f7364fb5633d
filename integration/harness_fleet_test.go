package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kingpinfs/kingpin/internal/devcluster/devtest"
)

// fleet is ZooKeeper and S3, empty at first, and the commands that work on them.
type fleet struct {
	t       testing.TB
	dir     string // for files of this test; removed with it
	zkAddr  string // "127.0.0.1:port/chroot"
	server  s3Server
	keyFile string // a boto file with the server's credentials
	zk      rawZK
	s3      rawS3
}

// newFleet returns a fleet on servers that all tests share, so they must not be
// hurt, with a chroot and a bucket of its own.
func newFleet(t testing.TB, kind s3Kind) *fleet {
	t.Helper()
	return newFleetOn(t, devtest.SharedZooKeeper(t), kind(t))
}

// newFleetOn returns a fleet on given servers, which a test may start and hurt:
// see devtest.ZooKeeper, devtest.S3 and devtest.VersityGW. Both must be up.
func newFleetOn(t testing.TB, zkAddr string, server s3Server) *fleet {
	t.Helper()
	f := &fleet{t: t, dir: tempDir(t), zkAddr: zkAddr, server: server}
	f.keyFile = filepath.Join(f.dir, "boto")
	mustWrite(t, f.keyFile, fmt.Sprintf("[Credentials]\naws_access_key_id = %s\naws_secret_access_key = %s\n",
		server.accessKey, server.secretKey))
	f.zk = connectZK(t, zkAddr)
	f.s3 = connectS3(t, server)
	return f
}

// env is the environment in which commands find the fleet. Later variables win.
func (f *fleet) env(more ...string) []string {
	env := []string{
		"HOME=" + f.dir, "KINGPIN_ZK=" + f.zkAddr, "KINGPIN_S3_BUCKET=" + f.server.bucket,
		"KINGPIN_S3_ENDPOINT=" + f.server.endpoint, "KINGPIN_AWS_KEY_FILE=" + f.keyFile,
	}
	for _, variable := range os.Environ() {
		name, _, _ := strings.Cut(variable, "=")
		if name != "HOME" && !strings.HasPrefix(name, "KINGPIN_") && !strings.HasPrefix(name, "AWS_") {
			env = append(env, variable)
		}
	}
	return append(env, more...)
}

// result is what became of a command.
type result struct {
	stdout, stderr string
	code           int
}

// try runs a command, with an input if it isn't "", and whatever comes of it.
func (f *fleet) try(input string, args ...string) result {
	f.t.Helper()
	return f.tryWith(nil, input, args...)
}

// tryWith is try with further environment variables.
func (f *fleet) tryWith(env []string, input string, args ...string) result {
	f.t.Helper()
	r, err := f.attempt(env, input, args...)
	if err != nil {
		f.t.Fatal(err)
	}
	return r
}

// attempt is tryWith for any goroutine. The error is that the command didn't end
// by itself.
func (f *fleet) attempt(env []string, input string, args ...string) (result, error) {
	program := binary(f.t) // built first: that may take longer than the command may
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = f.env(env...)
	cmd.Dir = f.dir
	cmd.Stdin = strings.NewReader(input)
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() < 0 {
		return result{}, fmt.Errorf("kingpin %q: %w\n%s", args, err, &stderr)
	}
	return result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}, nil
}

// run runs a command that must succeed, and returns what it printed, without
// the last line's end.
func (f *fleet) run(args ...string) string {
	f.t.Helper()
	return f.runInput("", args...)
}

// runInput is run with an input.
func (f *fleet) runInput(input string, args ...string) string {
	f.t.Helper()
	r := f.try(input, args...)
	if r.code != 0 {
		f.t.Fatalf("kingpin %q: exit code %d\n%s", args, r.code, r.stderr)
	}
	return strings.TrimSuffix(r.stdout, "\n")
}

// runJSON is run with --output json; what is printed is decoded into value.
func (f *fleet) runJSON(value any, args ...string) {
	f.t.Helper()
	text := f.run(append(args, "--output", "json")...)
	if err := json.Unmarshal([]byte(text), value); err != nil {
		f.t.Fatalf("kingpin %q printed no JSON: %v\n%s", args, err, text)
	}
}

// put publishes a content by `kingpin config put` and returns its version.
func (f *fleet) put(name, content string, args ...string) string {
	f.t.Helper()
	return f.runInput(content, append([]string{"config", "put", name, "-"}, args...)...)
}

// newConfig creates a config by command, makes it a member of the dependencies
// and returns its name.
func (f *fleet) newConfig(domain, key string, dependencies ...string) string {
	f.t.Helper()
	name := f.run("metaconfig", "create-config", domain, key)
	for _, d := range dependencies {
		f.run("dependency", "add", d, name)
	}
	return name
}

// newServerset is newConfig for a serverset.
func (f *fleet) newServerset(service, environment string, dependencies ...string) string {
	f.t.Helper()
	name := f.run("metaconfig", "create-serverset", service, environment)
	for _, d := range dependencies {
		f.run("dependency", "add", d, name)
	}
	return name
}

// start starts a command that may take a while, and returns at once.
func (f *fleet) start(input string, args ...string) *process {
	f.t.Helper()
	cmd := exec.Command(binary(f.t), args...)
	cmd.Env = f.env()
	cmd.Dir = f.dir
	cmd.Stdin = strings.NewReader(input)
	return startProcess(f.t, cmd)
}
