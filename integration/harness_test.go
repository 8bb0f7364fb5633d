package integration

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/kingpinfs/kingpin/internal/devcluster/devtest"
)

// patience is how long the harness waits for what should come soon, before it
// calls the test failed: long enough for a machine that does much else.
const patience = 30 * time.Second

func TestMain(m *testing.M) {
	if name := os.Getenv(helperEnv); name != "" {
		os.Exit(runHelper(name))
	}
	// When toxiproxy breaks a connection on which something is under way, it
	// forgets who hands that over.
	const toxiproxy = "github.com/Shopify/toxiproxy/v2"
	devtest.Main(m, goleak.IgnoreAnyFunction(toxiproxy+".(*ToxicLink).read"), goleak.IgnoreAnyFunction(toxiproxy+"/toxics.(*ToxicStub).Run"))
}

// built is the binary under test.
var built struct {
	once sync.Once
	path string
	err  error
}

// binary returns the path of the kingpin binary, which is built once for all
// tests. Anybody may execute it.
func binary(t testing.TB) string {
	t.Helper()
	built.once.Do(func() {
		var dir string
		if dir, built.err = os.MkdirTemp("", "kingpin-integration-bin-"); built.err != nil {
			return
		}
		devtest.AtExit(t, func() error { return os.RemoveAll(dir) })
		if built.err = os.Chmod(dir, 0o755); built.err != nil {
			return
		}
		built.path = filepath.Join(dir, "kingpin")
		build := exec.CommandContext(context.Background(),
			"go", "build", "-trimpath", "-ldflags", "-X main.version="+binaryVersion, "-o", built.path, "../cmd/kingpin")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if output, err := build.CombinedOutput(); err != nil {
			built.err = fmt.Errorf("%v: %w\n%s", build, err, output)
		}
	})
	if built.err != nil {
		t.Fatalf("building kingpin: %v", built.err)
	}
	return built.path
}

// binaryVersion is what the binary says its version is.
const binaryVersion = "v0.0.0-integration"

// eachFace runs a test with the files served by FUSE and as plain files.
func eachFace(t *testing.T, test func(t *testing.T, mode string)) {
	t.Helper()
	for _, mode := range []string{"fuse", "plain"} {
		t.Run(mode, func(t *testing.T) { test(t, mode) })
	}
}

// needFUSE fails a test that can't mount here.
func needFUSE(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("mounting takes root: run the tests as root, or by `make test`, which uses sudo")
	}
	if err := unix.Access("/dev/fuse", unix.R_OK|unix.W_OK); err != nil {
		t.Fatalf("/dev/fuse: %v: run `make deps`, which installs fuse3; in a container add --device /dev/fuse", err)
	}
}

// tempDir returns a directory that anybody may enter. When the test ends it is
// removed, and before that whatever is still mounted beneath it, which is an
// error of the test.
func tempDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "kingpin-integration-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if left := releaseMounts(t, dir); len(left) > 0 {
			t.Errorf("mounts were left: %q", left)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// await calls check every few milliseconds until it returns nil, and returns
// how long that took. The test fails, with check's last error, if the wait is
// longer than the harness's patience.
func await(t testing.TB, what string, check func() error) time.Duration {
	t.Helper()
	start := time.Now()
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for {
		err := check()
		if err == nil {
			return time.Since(start)
		}
		if time.Since(start) > patience {
			t.Fatalf("waiting for %s: %v, after %v", what, err, patience)
		}
		<-poll.C
	}
}

// errNotYet is for checks of await that have nothing more to say.
var errNotYet = errors.New("not yet")

// mustWrite writes a file, which anybody may read.
func mustWrite(t testing.TB, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}
