package fs

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// passThrough opens what is mounted within the directory, as systemd does, and fails
// the test if that waits for somebody who serves.
func passThrough(t *testing.T, h *Holding) {
	t.Helper()
	passed := make(chan error, 1)
	go func() {
		fd, err := unix.Open(filepath.Join(h.path, writersDir), unix.O_PATH|unix.O_CLOEXEC, 0)
		if err == nil {
			err = unix.Close(fd)
		}
		passed <- err
	}()
	select {
	case err := <-passed:
		check(t, err)
	case <-time.After(5 * time.Second):
		t.Error("who passes through the mount waits for somebody who serves")
		check(t, h.Abort())
		<-passed
	}
}

// Soon after a change anybody can pass through the directory while nobody serves.
func TestPassingThroughNeedsNobody(t *testing.T) {
	for name, change := range map[string]func(t *testing.T, v *Volume){
		"a new file":      func(t *testing.T, v *Volume) { t.Helper(); publish(t, v, "new", entry("new\n")) },
		"another version": func(t *testing.T, v *Volume) { t.Helper(); publish(t, v, "config", entry("other\n")) },
		"removed":         func(t *testing.T, v *Volume) { t.Helper(); check(t, v.Remove("config")) },
		"written":         func(t *testing.T, v *Volume) { t.Helper(); check(t, replaceConfig(v, "written\n")) },
		"replaced by a temporary file": func(t *testing.T, v *Volume) {
			t.Helper()
			path := filepath.Join(v.cfg.Dir, "config")
			check(t, writeParts(path+".tmp", os.O_WRONLY|os.O_CREATE|os.O_EXCL, []byte("renamed\n")))
			check(t, os.Rename(path+".tmp", path))
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := holdBy(t, HoldingConfig{Dir: t.TempDir(), Writable: true})
			asked := make(chan time.Time, 1000)
			w := &fakeWriter{}
			v := New(Config{Dir: h.cfg.Dir, Holding: h, Writer: w, Logger: testLogger(t), Refresh: func() {
				now := time.Now()
				if err := h.Refresh(); err != nil {
					t.Error(err)
				}
				asked <- now
			}})
			w.v = v
			check(t, v.Open(t.Context()))
			check(t, v.Mount(t.Context()))
			t.Cleanup(func() { check(t, v.Close()) })
			show(t, h)
			h.awaitWriters()
			publish(t, v, "config", entry("old\n"))

			change(t, v)
			changed := time.Now()
			for at := range asked {
				if at.Sub(changed) >= quietTime*9/10 {
					break
				}
			}
			check(t, v.Close())
			passThrough(t, h)
		})
	}
}

// What the kernel knows ends some time. Whoever asks whether the mount is served has
// it known again.
func TestProbeRefreshes(t *testing.T) {
	h := holdBy(t, HoldingConfig{Dir: t.TempDir(), Writable: true})
	v := serveWritable(t, h, testLogger(t))
	check(t, h.Refresh())
	show(t, h)
	h.awaitWriters()
	publish(t, v, "config", entry("old\n"))
	check(t, h.Probe(t.Context()))
	check(t, v.Close())
	passThrough(t, h)
}
