package fs

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// serveHolding serves a Holding's session by a volume, as another process would.
func serveHolding(t *testing.T, h *Holding) *Volume {
	t.Helper()
	v := New(Config{Dir: h.cfg.Dir, Holding: h, WhyPlain: "there is no session", Logger: testLogger(t)})
	check(t, v.Open(t.Context()))
	check(t, v.Mount(t.Context()))
	t.Cleanup(func() { check(t, v.Close()) })
	return v
}

// show makes a session visible.
func show(t *testing.T, h *Holding) {
	t.Helper()
	check(t, h.Show())
	refusePolling(t, h.cfg.Dir)
}

func TestHoldingIsShownWhenItIsServed(t *testing.T) {
	dir := t.TempDir()
	check(t, os.WriteFile(filepath.Join(dir, "x"), []byte("plain"), 0o600))
	h := hold(t, dir)
	if !h.Connected() || h.Shown() || h.Server() != 0 || h.Gone() != nil {
		t.Error("a session that nobody has seen or served has been")
	}
	wantErr(t, h.Connect(t.Context()), nil, "has a FUSE session already")
	wantErr(t, h.Wake(Wakeup{To: "x"}), ErrClosed)
	wantErr(t, h.Probe(t.Context()), ErrClosed)
	v := serveHolding(t, h)
	if mode, _ := v.Face(); mode != FUSE || h.Server() != os.Getpid() {
		t.Errorf("it is served by %s of %d", mode, h.Server())
	}
	publish(t, v, "y", entry("y"))
	wantFile(t, v, "x", "plain")
	show(t, h)
	check(t, h.Show())
	if !h.Shown() {
		t.Error("it isn't shown")
	}
	wantFile(t, v, "y", "y")
	if _, err := os.Stat(filepath.Join(dir, "x")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what was beneath: %v", err)
	}
	check(t, h.Probe(t.Context()))
	check(t, v.Close())
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	wantErr(t, h.Probe(ctx), context.DeadlineExceeded, "no answer")
	check(t, h.Abort()) // ends the wait for the answer as well
	check(t, h.Abort())
	wantFile(t, v, "x", "plain")
}

// After a session has been taken away by force, readers find the plain files, and
// then another session.
func TestHoldingConnectsAgain(t *testing.T) {
	dir := t.TempDir()
	h := hold(t, dir)
	v := serveHolding(t, h)
	show(t, h)
	publish(t, v, "x", entry("1"))
	wantFile(t, v, "x", "1")
	check(t, h.Abort())
	<-v.Ended()
	if mode, why := v.Face(); mode != Plain || why == "" || h.Connected() || h.Shown() {
		t.Errorf("the face is %s (%s) after an abort", mode, why)
	}
	wantFile(t, v, "x", "1")
	publish(t, v, "x", entry("2"))
	wantFile(t, v, "x", "2")
	check(t, v.Close())

	check(t, h.Connect(t.Context()))
	next := serveHolding(t, h)
	content, modTime, err := next.ReadLast("x")
	check(t, err)
	check(t, next.Adopt("x", Entry{Content: content, ModTime: modTime}))
	show(t, h)
	wantFile(t, next, "x", "2")
	publish(t, next, "x", entry("3"))
	wantFile(t, next, "x", "3")
	check(t, h.Unmount(t.Context()))
	wantFile(t, next, "x", "3")
}

func TestHoldingNoticesWhatOthersDo(t *testing.T) {
	for name, do := range map[string]func(t *testing.T, dir string){
		"unmount": func(t *testing.T, dir string) {
			t.Helper()
			check(t, unix.Unmount(dir, 0))
		},
		"unmount lazily": func(t *testing.T, dir string) {
			t.Helper()
			check(t, unix.Unmount(dir, unix.MNT_DETACH))
		},
		"unmount by force": func(t *testing.T, dir string) {
			t.Helper()
			check(t, unix.Unmount(dir, unix.MNT_FORCE))
		},
		"cover": func(t *testing.T, dir string) {
			t.Helper()
			check(t, unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			h := hold(t, dir)
			v := serveHolding(t, h)
			show(t, h)
			publish(t, v, "x", entry("x"))
			wantFile(t, v, "x", "x")
			gone := h.Gone()
			do(t, dir)
			<-gone
			if err := h.Connect(t.Context()); err != nil {
				t.Fatalf("another session: %v", err)
			}
			if !h.Connected() || h.Shown() {
				t.Error("another session is shown already")
			}
		})
	}
}

// What one process holds another goes on with.
func TestHoldingIsResumed(t *testing.T) {
	dir := t.TempDir()
	h := hold(t, dir)
	v := serveHolding(t, h)
	show(t, h)
	publish(t, v, "x", entry("x"))
	wantFile(t, v, "x", "x")
	check(t, v.Close())
	descriptors, err := h.Descriptors()
	check(t, err)
	check(t, h.Close())
	resumed, err := ResumeHolding(HoldingConfig{Dir: dir, Logger: testLogger(t)}, descriptors)
	check(t, err)
	t.Cleanup(func() { check(t, resumed.Close()) })
	if !resumed.Connected() || !resumed.Shown() || resumed.Server() != os.Getpid() {
		t.Error("the session is lost")
	}
	wantErr(t, New(Config{Dir: dir}).Open(t.Context()), ErrInUse)
	next := serveHolding(t, resumed)
	wantFile(t, next, "x", "x")
	publish(t, next, "x", entry("y"))
	wantFile(t, next, "x", "y")
	w := newInotify(t)
	w.watch("root", dir)
	publish(t, next, "x", entry("z"))
	w.take("root: MOVED_TO x")
	check(t, resumed.Unmount(t.Context()))
	wantFile(t, next, "x", "z")
}

// What can't be gone on with is taken away.
func TestHoldingIsNotResumed(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(t *testing.T, h *Holding, cfg *HoldingConfig)
		want  error
	}{
		"of another directory": {func(t *testing.T, _ *Holding, cfg *HoldingConfig) {
			t.Helper()
			cfg.Dir = t.TempDir()
		}, nil},
		"with another program's memory": {func(t *testing.T, h *Holding, _ *HoldingConfig) {
			t.Helper()
			h.session.ledger.header.format++
		}, errLedger},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			h := hold(t, dir)
			serveHolding(t, h)
			show(t, h)
			descriptors, err := h.Descriptors()
			check(t, err)
			cfg := h.cfg
			c.spoil(t, h, &cfg)
			_, err = ResumeHolding(cfg, descriptors)
			wantErr(t, err, c.want, dir)
			if p, err := look(dir); err != nil || p.mount.Type == mountType {
				t.Errorf("the mount is left: %+v, %v", p, err)
			}
		})
	}
	if _, err := ResumeHolding(HoldingConfig{Dir: t.TempDir()}, nil); err == nil {
		t.Error("a holding of nothing is resumed")
	}
}

func TestCheckProtocol(t *testing.T) {
	init := func(minor uint32, flags uint64) []byte {
		b := make([]byte, requestHeader)
		for _, field := range []uint32{7, minor, 1 << 17, uint32(flags), uint32(flags >> 32)} {
			b = binary.NativeEndian.AppendUint32(b, field)
		}
		return append(b, make([]byte, 44)...)
	}
	const extended = 1 << 30
	check(t, checkProtocol(init(40, extended|fuse.CAP_HAS_RESEND)))
	check(t, checkProtocol(init(46, extended|fuse.CAP_HAS_RESEND)))
	for _, request := range [][]byte{
		init(39, extended|fuse.CAP_HAS_RESEND), init(40, extended), init(40, fuse.CAP_HAS_RESEND), init(31, 0),
	} {
		wantErr(t, checkProtocol(request), nil, "Linux 6.9")
	}
	wantErr(t, checkProtocol(init(40, 0)[:50]), nil, "only 50 bytes")
}

// What the last server showed and didn't come to write is written by whoever
// holds the session.
func TestHoldingSettlesThePlainFiles(t *testing.T) {
	dir := t.TempDir()
	h := hold(t, dir)
	v := New(Config{Dir: dir, Holding: h, Subdirs: []string{"decider"}, Logger: testLogger(t)})
	check(t, v.Open(t.Context()))
	check(t, v.Mount(t.Context()))
	publish(t, v, "same", entry("same"))
	publish(t, v, "x", entry("old"))
	for _, name := range []string{"x", "y"} {
		next, err := v.tree.stage(v.tree.root, name, entry("newer"))
		check(t, err)
		v.swap("", name, next)
	}
	next, err := v.tree.stage(v.tree.directory("decider"), "z", entry("z"))
	check(t, err)
	v.swap("decider", "z", next)
	v.closing.Store(true) // nothing is made up for by this one
	check(t, v.Close())
	same := stat(t, filepath.Join(dir, "same")).Ino
	wantFile(t, v, "x", "old")
	check(t, h.Settle())
	wantFile(t, v, "x", "newer")
	wantFile(t, v, "y", "newer")
	wantFile(t, v, "decider/z", "z")
	if st := stat(t, filepath.Join(dir, "y")); st.Mode&0o777 != 0o444 || st.Mtim.Nano() != testTime.UnixNano() {
		t.Errorf("what is written has the mode %o and the time %v", st.Mode, st.Mtim)
	}
	if stat(t, filepath.Join(dir, "same")).Ino != same {
		t.Error("what was as it should be was written again")
	}
	check(t, h.Settle())
	check(t, h.Abort())
	check(t, h.Settle())
}

// Who is in the middle of reading when somebody takes the mount away is served to
// the end, which is when the session ends.
func TestHoldingAbandonsWhatIsInUse(t *testing.T) {
	dir := t.TempDir()
	h := hold(t, dir)
	v := serveHolding(t, h)
	show(t, h)
	content := strings.Repeat("x", 1<<20)
	publish(t, v, "x", entry(content))
	f, err := os.Open(filepath.Join(dir, "x"))
	check(t, err)
	gone := h.Gone()
	check(t, unix.Unmount(dir, unix.MNT_DETACH))
	<-gone
	check(t, h.Abandon())
	if h.Shown() || h.Connected() {
		t.Error("what was abandoned is held")
	}
	got, err := io.ReadAll(f)
	if err != nil || string(got) != content {
		t.Errorf("the last user reads %d bytes, %v", len(got), err)
	}
	check(t, f.Close())
	<-v.Ended() // with the last user
	check(t, h.Abandon())
	check(t, v.Close())
	check(t, h.Connect(t.Context()))
}

// Who stays in a mount that was taken away gets errors in the end, and doesn't keep
// the session from ending.
func TestHoldingAbandonsForGood(t *testing.T) {
	dir := t.TempDir()
	h := hold(t, dir)
	v := serveHolding(t, h)
	show(t, h)
	publish(t, v, "x", entry("x"))
	at, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	check(t, err)
	defer unix.Close(at)
	gone := h.Gone()
	check(t, unix.Unmount(dir, unix.MNT_DETACH))
	<-gone
	check(t, h.Abandon())
	<-v.Ended()
	var st unix.Stat_t
	if err := unix.Fstatat(at, "y", &st, 0); !isDead(err) {
		t.Errorf("a look into the mount that was taken away says %v", err)
	}
	check(t, v.Close())
}

// A session that has ended already is given up as well.
func TestHoldingAbandonsTheDead(t *testing.T) {
	dir := t.TempDir()
	h := hold(t, dir)
	v := serveHolding(t, h)
	show(t, h)
	publish(t, v, "x", entry("x"))
	check(t, abortConnection(h.session.device))
	<-v.Ended()
	check(t, h.Abandon())
	wantFile(t, v, "x", "x")
	check(t, v.Close())
	check(t, h.Connect(t.Context()))
}

// A session that is mounted nowhere, and of which a process that can't end has the
// device open, ends all the same, and so does who waits for an answer in it.
func TestHoldingAbortsWhatIsMountedNowhere(t *testing.T) {
	dir := t.TempDir()
	h := hold(t, dir)
	v := serveHolding(t, h)
	show(t, h)
	publish(t, v, "x", entry("x"))
	check(t, v.Close())
	descriptors, err := h.Descriptors()
	check(t, err)
	woken := make(chan error, 1)
	go func() { woken <- h.Wake(Wakeup{From: stageDir + "/1", To: "x"}) }()
	await(t, "the wakeup", func() bool { return hasRequest(t, h.session.dev) })
	check(t, unix.Unmount(dir, unix.MNT_DETACH))
	check(t, h.Abort())
	if err := <-woken; err == nil {
		t.Error("a wakeup that nobody answered was answered")
	}
	for _, d := range descriptors {
		check(t, d.File.Close())
	}
	check(t, h.Connect(t.Context()))
}
