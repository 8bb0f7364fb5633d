package integration

import (
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/kingpinfs/kingpin/internal/devcluster"
)

// TestThriftExample does what docs/thrift-pool.md shows under "Try it": it
// registers the example's server in a fleet for development and calls it by the
// file. Only the port and the fleet's directory are others.
func TestThriftExample(t *testing.T) {
	t.Parallel()
	needFUSE(t)
	d := startDev(t, nil, nil)
	d.awaitOutput(d.stdout, 0, `^Ctrl-C ends it`)
	env := strings.Fields(d.awaitOutput(d.stdout, 0, `/env `))[1] // after the dot
	port, err := devcluster.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	here := tempDir(t)
	build := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(here, "bin", "users"), "../examples/thrift")
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", build, err, output)
	}
	fitted := strings.NewReplacer("/tmp/kingpin/env", env, "9090", strconv.Itoa(port))
	var script, want strings.Builder
	for line := range strings.Lines(consoleBlock(t, "../docs/thrift-pool.md", "## Try it")) {
		if command, ok := strings.CutPrefix(line, "$ "); ok {
			script.WriteString(fitted.Replace(command))
		} else {
			want.WriteString(fitted.Replace(line))
		}
	}
	shell := exec.CommandContext(t.Context(), "bash", "-e", "-O", "expand_aliases", "-c", script.String())
	shell.Dir = here
	var stdout, stderr strings.Builder
	shell.Stdout, shell.Stderr = &stdout, &stderr
	if err := shell.Run(); err != nil || stdout.String() != want.String() {
		t.Errorf("%v, and it printed\n%s\nnot\n%s\nstderr:\n%s\nregister.log:\n%s", err, &stdout, &want, &stderr, mustRead(t, filepath.Join(here, "register.log")))
	}
}

// consoleBlock returns the console of a page's section.
func consoleBlock(t *testing.T, page, heading string) string {
	t.Helper()
	_, section, found := strings.Cut(mustRead(t, page), heading+"\n")
	_, block, opened := strings.Cut(section, "```console\n")
	block, _, closed := strings.Cut(block, "```\n")
	if !found || !opened || !closed {
		t.Fatalf("%s has no console under %q", page, heading)
	}
	return block
}
