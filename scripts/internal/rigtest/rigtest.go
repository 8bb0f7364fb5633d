// Package rigtest is what the tests of scripts/bench and scripts/soak share.
package rigtest

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// BuildKingpin builds the binary from the sources, for a test, and returns its
// path. It goes with the test.
func BuildKingpin(t testing.TB) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "kingpin")
	build := exec.CommandContext(context.Background(), "go", "build", "-o", binary, "github.com/kingpinfs/kingpin/cmd/kingpin")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building kingpin: %v\n%s", err, output)
	}
	return binary
}
