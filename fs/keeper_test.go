package fs

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// replaceConfig replaces a file as a shell does, and returns why that fails.
func replaceConfig(v *Volume, content string) error {
	return writeParts(filepath.Join(v.cfg.Dir, "config"), os.O_WRONLY|os.O_TRUNC, []byte(content))
}

// wantWritable fails the test if it isn't soon so that files can be written, the
// writers' session being mounted once.
func wantWritable(t *testing.T, v *Volume, content string) {
	t.Helper()
	var err error
	await(t, "somebody to be able to write", func() bool {
		err = replaceConfig(v, content)
		return err == nil
	})
	wantFile(t, v, "config", content)
	f, err := os.Open("/proc/self/mountinfo")
	check(t, err)
	defer f.Close()
	all, err := parseMountinfo(f)
	check(t, err)
	n := 0
	for _, m := range all {
		if m.Point == filepath.Join(v.cfg.Dir, writersDir) {
			n++
		}
	}
	if n != 1 {
		t.Errorf("the writers' session is mounted %d times", n)
	}
}

// takeWritersAway unmounts the writers' session.
func takeWritersAway(t *testing.T, dir string) {
	t.Helper()
	check(t, unix.Unmount(filepath.Join(dir, writersDir), unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW))
}

// Whatever somebody unmounts of it, the mount can be written again.
func TestWritersMountIsKept(t *testing.T) {
	v, _ := mountWritable(t, Config{})
	publish(t, v, "config", entry("old\n"))
	wantWritable(t, v, "new\n")
	for _, content := range []string{"newer\n", "newest\n"} {
		takeWritersAway(t, v.cfg.Dir)
		wantWritable(t, v, content)
	}
}

func TestKeepPause(t *testing.T) {
	for _, c := range []struct{ last, kept, want time.Duration }{
		{0, 0, leastKeepPause},
		{0, time.Hour, leastKeepPause},
		{leastKeepPause, time.Millisecond, 2 * leastKeepPause},
		{leastKeepPause, time.Hour, leastKeepPause},
		{mostKeepPause / 2, mostKeepPause, mostKeepPause},
		{mostKeepPause, mostKeepPause, mostKeepPause},
		{mostKeepPause, mostKeepPause + 1, leastKeepPause},
	} {
		if got := keepPause(c.last, c.kept); got != c.want {
			t.Errorf("after %v, having been there for %v: %v, want %v", c.last, c.kept, got, c.want)
		}
	}
}

// serveWritable serves a Holding's session by a volume that can be written.
func serveWritable(t *testing.T, h *Holding, log *slog.Logger) *Volume {
	t.Helper()
	w := &fakeWriter{}
	v := New(Config{Dir: h.cfg.Dir, Holding: h, Writer: w, Logger: log})
	w.v = v
	check(t, v.Open(t.Context()))
	check(t, v.Mount(t.Context()))
	t.Cleanup(func() { check(t, v.Close()) })
	return v
}

// resumeWritable serves an orphaned session that can be written, and verifies that
// it can be.
func resumeWritable(t *testing.T, dir string, kept []Descriptor) {
	t.Helper()
	resumed, err := ResumeHolding(HoldingConfig{Dir: dir, Writable: true, Orphaned: true, Logger: testLogger(t)}, kept)
	check(t, err)
	t.Cleanup(func() { check(t, resumed.Close()) })
	v := serveWritable(t, resumed, testLogger(t))
	resumed.awaitWriters()
	wantWritable(t, v, "resumed\n")
	takeWritersAway(t, dir)
	wantWritable(t, v, "mounted again\n")
	check(t, resumed.Unmount(t.Context()))
}

// What nobody held can be written as before.
func TestOrphanIsWritten(t *testing.T) {
	h := holdBy(t, HoldingConfig{Dir: t.TempDir(), Writable: true})
	v := serveWritable(t, h, testLogger(t))
	show(t, h)
	h.awaitWriters()
	publish(t, v, "config", entry("old\n"))
	wantWritable(t, v, "new\n")
	check(t, v.Close())
	resumeWritable(t, h.cfg.Dir, orphan(t, h))
}

// A holder may have died before it had mounted the writers' session, which has
// ended with it.
func TestOrphanWithoutWritersMountIsWritten(t *testing.T) {
	h := holdBy(t, HoldingConfig{Dir: t.TempDir(), Writable: true})
	v := serveWritable(t, h, testLogger(t))
	h.keeper = &keeper{stop: make(chan struct{})} // one that does nothing
	show(t, h)
	publish(t, v, "config", entry("old\n"))
	wantErr(t, replaceConfig(v, "new\n"), unix.EROFS)
	wantFile(t, v, "config", "old\n")
	check(t, v.Close())
	resumeWritable(t, h.cfg.Dir, orphan(t, h))
}

// That both sessions are ended is no error of the writers' one.
func TestWritersEndInOrder(t *testing.T) {
	var logged strings.Builder
	h := holdBy(t, HoldingConfig{Dir: t.TempDir(), Writable: true})
	v := serveWritable(t, h, slog.New(slog.NewTextHandler(&logged, nil)))
	show(t, h)
	h.awaitWriters()
	check(t, h.Unmount(t.Context()))
	<-v.Ended()
	check(t, v.Close())
	if strings.Contains(logged.String(), "level=ERROR") {
		t.Errorf("it logs an error:\n%s", &logged)
	}
}
