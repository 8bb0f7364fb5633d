package fs

import (
	"os/exec"
	"strings"
	"testing"
)

// sh runs a shell in a directory, and returns what it and its commands print, and
// whether they succeeded.
func sh(t testing.TB, dir, script string) (out string, ok bool) {
	t.Helper()
	cmd := exec.Command("bash", "-c", script)
	cmd.Dir = dir
	b, err := cmd.CombinedOutput()
	return strings.TrimRight(string(b), "\n"), err == nil
}

func TestWriteEcho(t *testing.T) {
	v, w := mountWritable(t, Config{})
	publish(t, v, "decider/x", entry("1\n"))
	out, ok := sh(t, v.cfg.Dir, "cat decider/x; echo 50 > decider/x; cat decider/x; echo 500 > decider/x; cat decider/x; echo 7 > decider/new; cat decider/new; ls -A . decider")
	t.Log(out, ok, w.taken())
}
