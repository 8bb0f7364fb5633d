package fs

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// slowFace holds replies back, once they have been made, when it is told to.
type slowFace struct {
	*fuseFace
	hold chan chan struct{} // has a channel: hold the next reply until it is closed
	held chan struct{}      // gets one when a reply is held
}

func (f *slowFace) wait() {
	select {
	case release := <-f.hold:
		f.held <- struct{}{}
		<-release
	default:
	}
}

func (f *slowFace) Lookup(c cancelled, h *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	st := f.fuseFace.Lookup(c, h, name, out)
	f.wait()
	return st
}

func (f *slowFace) ReadDirPlus(c cancelled, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	st := f.fuseFace.ReadDirPlus(c, in, out)
	f.wait()
	return st
}

// holdNext holds the next reply back until the returned function is called.
func (f *slowFace) holdNext() (release func()) {
	c := make(chan struct{})
	f.hold <- c
	return func() { close(c) }
}

// mountSlow is mountVolume with a face that can hold replies back.
func mountSlow(t *testing.T) (*Volume, *slowFace) {
	t.Helper()
	needFUSE(t)
	v := newVolume(t, Config{Mode: FUSE})
	f := &slowFace{fuseFace: newFace(v.tree, v.perm, v.waker), hold: make(chan chan struct{}, 1), held: make(chan struct{})}
	check(t, v.serve(f))
	refusePolling(t, v.cfg.Dir)
	v.phase = isMounted
	return v, f
}

// An answer that the kernel hasn't taken in yet when a version is published must
// neither be remembered by it nor come after the new version, for anybody.
func TestPublishWaitsForAnswersInFlight(t *testing.T) {
	type ask func(t *testing.T, dir string)
	readX := func(want string) ask {
		return func(t *testing.T, dir string) {
			t.Helper()
			if got, err := os.ReadFile(filepath.Join(dir, "x")); err != nil || string(got) != want {
				t.Errorf("read %q, %v, want %q", got, err, want)
			}
		}
	}
	missX := func(t *testing.T, dir string) {
		t.Helper()
		if _, err := os.Lstat(filepath.Join(dir, "x")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("before it is published: %v", err)
		}
	}
	ls := func(t *testing.T, dir string) {
		t.Helper()
		listDir(t, dir)
	}
	publishX := func(v *Volume) error { return v.Publish("x", entry("new")) }
	removeX := func(v *Volume) error { return v.Remove("x") }
	for name, c := range map[string]struct {
		exists bool
		ask    ask
		change func(*Volume) error
		after  ask
	}{
		"a lookup of what is replaced":  {true, readX("old"), publishX, readX("new")},
		"a listing of what is replaced": {true, ls, publishX, readX("new")},
		"a lookup of what is created":   {false, missX, publishX, readX("new")},
		"a listing before a creation":   {false, ls, publishX, readX("new")},
		"a lookup of what is removed":   {true, readX("old"), removeX, missX},
		"a listing of what is removed":  {true, ls, removeX, missX},
	} {
		t.Run(name, func(t *testing.T) {
			v, f := mountSlow(t)
			publish(t, v, "other", entry("other"))
			if c.exists {
				publish(t, v, "x", entry("old"))
			}
			release := f.holdNext()
			asked := make(chan struct{})
			go func() {
				defer close(asked)
				c.ask(t, v.cfg.Dir)
			}()
			<-f.held
			changed := make(chan error, 1)
			go func() { changed <- c.change(v) }()
			// On a kernel that doesn't wait for the answer it may be done.
			await(t, "the change to begin", func() bool {
				v.tree.mu.RLock()
				defer v.tree.mu.RUnlock()
				return len(v.tree.root.changing) > 0 || len(changed) > 0
			})
			e, _, ok := v.Get("x")
			if len(changed) == 0 && (ok != c.exists || ok && string(e.Content) != "old") {
				t.Errorf("x is %q, %v while the kernel can still take in the old answer", e.Content, ok)
			}
			release()
			check(t, <-changed)
			<-asked
			c.after(t, v.cfg.Dir)
		})
	}
}

// Where the kernel doesn't wait for answers in flight about names that it
// doesn't know, everything that it remembers is declared outdated.
func TestDropNameDeclaresEverythingOutdated(t *testing.T) {
	v := mountVolume(t, Config{})
	publish(t, v, "x", entry("x"))
	wantFile(t, v, "x", "x")
	wantFile(t, v, "x", "x") // asks for the time of access
	conn := v.face.Load().conn
	drop := func(told bool) map[string]uint64 {
		conn.dropName(rootID, "unknown", func() bool { return told })
		return requests(v, func() { wantFile(t, v, "x", "x") })
	}
	if got := drop(false); len(got) != 0 {
		t.Errorf("dropping a name that was never asked for made the kernel ask for %v", got)
	}
	got := drop(true)
	if err := conn.notify(epochNotification()); err != nil {
		t.Logf("this kernel doesn't know of epochs: %v", err)
		if len(got) != 0 {
			t.Errorf("the kernel asks for %v", got)
		}
	} else if got["LOOKUP"] != 1 {
		t.Errorf("the kernel asks for %v, want one LOOKUP", got)
	}
}
