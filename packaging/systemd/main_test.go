package systemd

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/kingpinfs/kingpin/internal/devcluster/devtest"
)

func TestMain(m *testing.M) { devtest.Main(m) }

// built is the binary that the units start.
var built struct {
	once sync.Once
	path string
	err  error
}

// binary returns the path of the kingpin binary, which is built once for all
// tests.
func binary(t testing.TB) string {
	t.Helper()
	built.once.Do(func() {
		var dir string
		if dir, built.err = os.MkdirTemp("", "kingpin-units-bin-"); built.err != nil {
			return
		}
		devtest.AtExit(t, func() error { return os.RemoveAll(dir) })
		built.path = filepath.Join(dir, "kingpin")
		built.err = build(built.path, "v0.0.0-units")
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.path
}

// build builds the binary of a version.
func build(path, version string) error {
	cmd := exec.CommandContext(context.Background(),
		"go", "build", "-trimpath", "-ldflags", "-X main.version="+version, "-o", path, "../../cmd/kingpin")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building kingpin: %v: %w\n%s", cmd, err, output)
	}
	return nil
}
