package follow_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/kingpinfs/kingpin/internal/follow"
)

// patience is how long a test waits for what should come at once.
const patience = 20 * time.Second

func TestMain(m *testing.M) {
	if helper := os.Getenv(helperEnv); helper != "" {
		os.Exit(runHelper(helper))
	}
	goleak.VerifyTestMain(m)
}

// following is a follower that runs.
type following struct {
	t        *testing.T
	versions chan follow.Version
	missing  chan error
	cancel   context.CancelFunc
	done     chan error
}

// start follows a file until the test ends.
func start(t *testing.T, path string, options follow.Options) *following {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	f := &following{t: t, versions: make(chan follow.Version), missing: make(chan error, 100), cancel: cancel, done: make(chan error, 1)}
	options.Missing = func(err error) { f.missing <- err }
	follower := follow.New(path, options)
	go func() {
		f.done <- follower.Run(ctx, func(v follow.Version) error {
			select {
			case f.versions <- v:
			case <-ctx.Done():
			}
			return nil
		})
	}()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-f.done:
			if !errors.Is(err, context.Canceled) {
				t.Errorf("Run returned %v", err)
			}
		case <-time.After(patience):
			t.Error("Run doesn't return")
		}
	})
	return f
}

// next returns what is handed out next.
func (f *following) next() follow.Version {
	f.t.Helper()
	select {
	case v := <-f.versions:
		return v
	case err := <-f.done:
		f.done <- context.Canceled
		f.t.Fatalf("Run returned %v", err)
	case <-time.After(patience):
		f.t.Fatal("nothing was handed out")
	}
	panic("unreachable")
}

// wants checks that this is what is handed out next.
func (f *following) wants(content string) {
	f.t.Helper()
	if v := f.next(); string(v.Content) != content {
		f.t.Fatalf("%q was handed out, not %q", v.Content, content)
	}
}

// misses checks that it is told next that there is no such file.
func (f *following) misses() {
	f.t.Helper()
	select {
	case v := <-f.versions:
		f.t.Fatalf("%q was handed out", v.Content)
	case err := <-f.missing:
		if !errors.Is(err, os.ErrNotExist) {
			f.t.Fatalf("it was told %v", err)
		}
	case <-time.After(patience):
		f.t.Fatal("it wasn't told that the file is missing")
	}
}

// replace replaces a file, or creates it, at one stroke.
func replace(t *testing.T, path, content string) {
	t.Helper()
	aside := filepath.Join(filepath.Dir(path), ".new-"+filepath.Base(path))
	write(t, aside, content)
	rename(t, aside, path)
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
}

func mkdir(t *testing.T, path string) string {
	t.Helper()
	if err := os.MkdirAll(path, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func symlink(t *testing.T, target, path string) {
	t.Helper()
	if err := os.Symlink(target, path); err != nil {
		t.Fatal(err)
	}
}

// mount mounts a new tmpfs over a directory and returns what takes it away,
// once: at the latest when the test ends.
func mount(t *testing.T, dir string) (unmount func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("mounting takes root: run the tests as root, or by `make test`, which uses sudo")
	}
	if err := unix.Mount("kingpin-test", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatalf("mounting over %s: %v", dir, err)
	}
	mounted := true
	unmount = func() {
		if mounted {
			mounted = false
			if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
				t.Errorf("unmounting %s: %v", dir, err)
			}
		}
	}
	t.Cleanup(unmount)
	return unmount
}

// helperEnv names what this test binary is to be, in a process of its own.
const helperEnv = "KINGPIN_FOLLOW_HELPER"

func runHelper(name string) int {
	helpers := map[string]func() error{"limited": limitedHelper, "unprivileged": unprivilegedHelper}
	if err := helpers[name](); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// descriptors returns what this process has open, but for what comes and goes.
func descriptors(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	var open []string
	for _, e := range entries {
		if target, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && target != "/proc/self/fd" {
			open = append(open, target)
		}
	}
	slices.Sort(open)
	return open
}
