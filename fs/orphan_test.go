package fs

import (
	"os"
	"slices"
	"testing"
)

// orphan closes a Holding and returns what a service manager keeps of it.
func orphan(t *testing.T, h *Holding) []Descriptor {
	t.Helper()
	descriptors, err := h.Descriptors()
	check(t, err)
	kept := slices.DeleteFunc(descriptors, func(d Descriptor) bool {
		if !d.ToServe() {
			check(t, d.File.Close())
		}
		return !d.ToServe()
	})
	check(t, h.Close())
	return kept
}

// What nobody held goes on as if it had been held, without an answer from
// anybody to whoever takes it.
func TestOrphanIsResumed(t *testing.T) {
	dir := t.TempDir()
	h := hold(t, dir)
	v := serveHolding(t, h)
	show(t, h)
	publish(t, v, "x", entry("x"))
	check(t, v.Close())
	kept := orphan(t, h)
	resumed, err := ResumeHolding(HoldingConfig{Dir: dir, Orphaned: true, Logger: testLogger(t)}, kept)
	check(t, err)
	t.Cleanup(func() { check(t, resumed.Close()) })
	if !resumed.Connected() || !resumed.Shown() || resumed.Server() != os.Getpid() {
		t.Error("the session is lost")
	}
	next := serveHolding(t, resumed)
	check(t, resumed.Probe(t.Context()))
	w := newInotify(t)
	w.watch("root", dir)
	publish(t, next, "x", entry("y"))
	w.take("root: MOVED_TO x") // takes a rename through the mount that was regained
	wantFile(t, next, "x", "y")
	check(t, resumed.Unmount(t.Context()))
	if p, err := look(dir); err != nil || p.mount.Type == mountType {
		t.Errorf("the mount is left: %+v, %v", p, err)
	}
}

// A session that nobody has seen ends with whoever held it.
func TestOrphanThatWasNotShownIsGivenUp(t *testing.T) {
	dir := t.TempDir()
	kept := orphan(t, hold(t, dir))
	resumed, err := ResumeHolding(HoldingConfig{Dir: dir, Orphaned: true, Logger: testLogger(t)}, kept)
	check(t, err)
	t.Cleanup(func() { check(t, resumed.Close()) })
	if resumed.Connected() || resumed.Shown() {
		t.Error("it has a session")
	}
	check(t, resumed.Connect(t.Context()))
	serveHolding(t, resumed)
	show(t, resumed)
	check(t, resumed.Unmount(t.Context()))
}

// What can't be gone on with is taken away, though nobody has its mount.
func TestOrphanIsNotResumed(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, h *Holding, cfg *HoldingConfig){
		"of another directory": func(t *testing.T, _ *Holding, cfg *HoldingConfig) {
			t.Helper()
			cfg.Dir = t.TempDir()
		},
		"with another program's memory": func(t *testing.T, h *Holding, _ *HoldingConfig) {
			t.Helper()
			h.session.ledger.header.format++
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			h := hold(t, dir)
			v := serveHolding(t, h)
			show(t, h)
			check(t, v.Close())
			cfg := h.cfg
			cfg.Orphaned = true
			spoil(t, h, &cfg)
			_, err := ResumeHolding(cfg, orphan(t, h))
			wantErr(t, err, nil, dir)
			if p, err := look(dir); err != nil || p.mount.Type == mountType {
				t.Errorf("the mount is left: %+v, %v", p, err)
			}
		})
	}
}
