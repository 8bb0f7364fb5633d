package follow_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kingpinfs/kingpin/internal/follow"
)

// helperCommand returns the command of a helper, who works in dir.
func helperCommand(t *testing.T, name, dir string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), helperEnv+"="+name)
	cmd.Dir = dir
	return cmd
}

// A user who may have no inotify instance any more.
func TestWithoutInotify(t *testing.T) {
	cmd := helperCommand(t, "limited", t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER, // it has limits of its own
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}},
	}
	if output, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, output)
	}
}

func limitedHelper() error {
	if err := os.WriteFile("/proc/sys/user/max_inotify_instances", []byte("0"), 0); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	err := follow.New("file", follow.Options{}).Run(ctx, func(follow.Version) error { return nil })
	if !errors.Is(err, unix.EMFILE) || !strings.Contains(err.Error(), "fs.inotify.max_user_instances") {
		return fmt.Errorf("without polling, Run returned %w", err)
	}

	var log strings.Builder
	enough := errors.New("enough")
	follower := follow.New("file", follow.Options{
		Poll:    time.Millisecond,
		Logger:  slog.New(slog.NewTextHandler(&log, nil)),
		Missing: func(error) { err = os.WriteFile("file", []byte("one"), 0o644) },
	})
	runErr := follower.Run(ctx, func(v follow.Version) error {
		switch string(v.Content) {
		case "one":
			return os.WriteFile("file", []byte("two"), 0o644)
		case "two":
			return enough
		}
		return nil // it is written in place here
	})
	if !errors.Is(runErr, enough) || err != nil {
		return fmt.Errorf("polling, Run returned %w (%w)", runErr, err)
	}
	if !strings.Contains(log.String(), "max_user_instances") {
		return fmt.Errorf("polling, it logged %q", log.String())
	}
	return nil
}

// A user who may not list directories on the way, or the one at its end.
func TestUnreadableDirectories(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("becoming nobody takes root: run the tests as root, or by `make test`, which uses sudo")
	}
	base, err := os.MkdirTemp("", "kingpin-follow-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { remove(t, base) })
	mkdir(t, filepath.Join(base, "a", "b"))
	for dir, mode := range map[string]os.FileMode{base: 0o711, filepath.Join(base, "a"): 0o777, filepath.Join(base, "a", "b"): 0o777} {
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
	}
	// The test binary may lie where nobody can't go.
	binary, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer binary.Close()
	cmd := helperCommand(t, "unprivileged", "/")
	cmd.Path = fmt.Sprintf("/proc/self/fd/%d", 3)
	cmd.ExtraFiles = []*os.File{binary}
	cmd.Env = append(cmd.Env, "BASE="+base)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if output, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, output)
	}
}

func unprivilegedHelper() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	base := os.Getenv("BASE")
	dir := filepath.Join(base, "a", "b")
	path := filepath.Join(dir, "file")

	// One that can't be listed on the way is no matter.
	var err error
	enough := errors.New("enough")
	follower := follow.New(path, follow.Options{Missing: func(error) { err = os.WriteFile(path, []byte("one"), 0o644) }})
	runErr := follower.Run(ctx, func(v follow.Version) error {
		if string(v.Content) == "one" {
			return enough
		}
		return nil
	})
	if !errors.Is(runErr, enough) || err != nil {
		return fmt.Errorf("behind a directory that can't be listed, Run returned %w (%w)", runErr, err)
	}

	// The last one is.
	err = follow.New(filepath.Join(base, "file"), follow.Options{}).Run(ctx, func(follow.Version) error { return nil })
	if !errors.Is(err, unix.EACCES) || !strings.Contains(err.Error(), base) {
		return fmt.Errorf("in a directory that can't be listed, Run returned %w", err)
	}
	return nil
}
