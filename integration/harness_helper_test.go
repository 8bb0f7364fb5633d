package integration

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
)

// helperEnv names, in a process that runs this test binary, the helper that it
// is to be instead of tests.
const helperEnv = "KINGPIN_INTEGRATION_HELPER"

// helpers are what this binary can be beside tests: processes of their own that
// read what a monitor serves. A helper returns the exit code.
var helpers = map[string]func(args []string) int{}

func runHelper(name string) int {
	helper := helpers[name]
	if helper == nil {
		fmt.Fprintf(os.Stderr, "no helper %q\n", name)
		return 2
	}
	return helper(os.Args[1:])
}

// helperCommand returns the command of a helper in a process of its own.
func helperCommand(t testing.TB, name string, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), helperEnv+"="+name)
	return cmd
}
