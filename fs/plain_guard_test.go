package fs

import (
	"context"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// guardPatience is how long a test waits for what should come soon.
const guardPatience = 30 * time.Second

// reports are the warnings and errors that a volume logs.
type reports chan string

func (reports) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelWarn }
func (r reports) WithAttrs(attrs []slog.Attr) slog.Handler       { return withAttrs{r, attrs} }
func (r reports) WithGroup(string) slog.Handler                  { return r }

func (r reports) Handle(_ context.Context, record slog.Record) error {
	text := record.Message
	record.Attrs(func(a slog.Attr) bool { text += " " + a.String(); return true })
	r <- text
	return nil
}

// withAttrs are reports that have more to say.
type withAttrs struct {
	reports
	attrs []slog.Attr
}

func (w withAttrs) Handle(ctx context.Context, record slog.Record) error {
	record.AddAttrs(w.attrs...)
	return w.reports.Handle(ctx, record)
}

// await returns the next report, which must hold some texts.
func (r reports) await(t *testing.T, texts ...string) {
	t.Helper()
	select {
	case report := <-r:
		for _, text := range texts {
			if !strings.Contains(report, text) {
				t.Errorf("the report %q doesn't say %q", report, text)
			}
		}
	case <-time.After(guardPatience):
		t.Fatalf("nothing is reported, want %q", texts)
	}
}

func (r reports) none(t *testing.T) {
	t.Helper()
	select {
	case report := <-r:
		t.Errorf("reported is %q", report)
	default:
	}
}

// guardedVolume is a plain volume with a file and a decider.
func guardedVolume(t *testing.T) (*Volume, reports) {
	t.Helper()
	r := make(reports, 1000)
	v := plainVolume(t, Config{Subdirs: []string{"decider"}, Logger: slog.New(r)})
	publish(t, v, "x", entry("content"))
	publish(t, v, "decider/x", entry("50\n"))
	return v, r
}

// Whatever somebody does to a file by hand is put right, and reported once.
func TestGuardPutsRight(t *testing.T) {
	aside := t.TempDir()
	shell := func(script string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			t.Helper()
			cmd := exec.CommandContext(t.Context(), "sh", "-e", "-c", script)
			cmd.Dir, cmd.Env = dir, append(os.Environ(), "ASIDE="+aside)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
		}
	}
	v, r := guardedVolume(t)
	for i, test := range []struct {
		name, script string
		want         []string
	}{
		{"in place", "echo 80 > decider/x", []string{"decider/x", "another content"}},
		{"appended", "echo more >> x", []string{"name=x", "another content"}},
		{"of the same length and time", "touch -r x $ASIDE/t; printf CONTENT > x; touch -r $ASIDE/t x", []string{"name=x", "another content"}},
		{"replaced", "echo other > $ASIDE/new; mv $ASIDE/new x", []string{"name=x", "another content"}},
		{"removed", "rm x", []string{"name=x", "gone"}},
		{"renamed", "mv decider/x $ASIDE/y", []string{"name=decider/x", "gone"}},
		{"writable by all", "chmod 666 decider/x", []string{"decider/x", "mode 0666"}},
		{"readable by nobody", "chmod 000 x", []string{"name=x", "mode 0000"}},
		{"given away", "chown 12345 x", []string{"name=x", "owner 12345:"}},
		{"touched", "touch x", []string{"name=x", "another time"}},
		{"with its directory", "rm -r decider", []string{"decider/x", "gone"}},
		{"with its directory, again", "mv decider $ASIDE/decider", []string{"decider/x", "gone"}},
	} {
		before := v.Mended()
		shell(test.script)(t, v.cfg.Dir)
		r.await(t, append(test.want, "changed by hand, and is put right", v.cfg.Dir)...)
		for name, content := range map[string]string{"x": "content", "decider/x": "50\n"} {
			wantFile(t, v, name, content)
			if st := stat(t, filepath.Join(v.cfg.Dir, name)); st.Mode&0o7777 != 0o444 || st.Mtim.Nano() != testTime.UnixNano() || int(st.Uid) != os.Geteuid() {
				t.Errorf("%s: %s is %+v", test.name, name, st)
			}
		}
		if after := v.Mended(); after.Times != i+1 || !after.At.After(before.At) || !strings.HasSuffix(after.Name, "x") {
			t.Errorf("%s: mended were %+v, and are %+v", test.name, before, after)
		}
	}
	r.none(t)
}

// What the monitor does by itself is no news.
func TestGuardKnowsOwnWrites(t *testing.T) {
	v, r := guardedVolume(t)
	for i := range 20 {
		e := entry(strings.Repeat("again", i))
		e.ModTime = testTime.Add(time.Duration(i) * time.Second)
		publish(t, v, "x", e)
		publish(t, v, "decider/x", e)
		check(t, v.Remove("decider/x"))
		publish(t, v, "decider/y", e)
	}
	// A report comes after all that was looked at before.
	check(t, os.Remove(filepath.Join(v.cfg.Dir, "x")))
	r.await(t, "name=x", "gone")
	r.none(t)
}

// Somebody's file is reported, and left alone.
func TestGuardMeetsStrangers(t *testing.T) {
	v, r := guardedVolume(t)
	check(t, os.WriteFile(filepath.Join(v.cfg.Dir, "decider/mine"), nil, 0o600))
	r.await(t, "isn't the monitor's", "name=decider/mine")
	if got := v.Foreign(); !slices.Equal(got, []string{"decider/mine"}) {
		t.Errorf("foreign are %q", got)
	}
	check(t, os.Remove(filepath.Join(v.cfg.Dir, "decider/mine")))
	for range 2 { // the first may be noticed by the look around at the start
		check(t, os.Remove(filepath.Join(v.cfg.Dir, "decider/x")))
		r.await(t, "name=decider/x", "gone")
	}
	if got := v.Foreign(); len(got) != 0 {
		t.Errorf("foreign are %q", got)
	}
}

// What can't be put right is reported once, and put right when it can be.
func TestGuardGoesOnTrying(t *testing.T) {
	v, r := guardedVolume(t)
	path := filepath.Join(v.cfg.Dir, "x")
	aside := filepath.Join(t.TempDir(), "aside") // where it is nothing to report
	check(t, os.Symlink("/etc/passwd", aside))
	check(t, os.Rename(aside, path))
	r.await(t, "can't be put right", "no regular file", "a symbolic link stands in its place")
	check(t, os.Remove(path))
	r.await(t, "is put right", "gone", "name=x")
	wantFile(t, v, "x", "content")
	r.none(t)
}

// What was changed before the watching began is found, but not what earlier
// monitors left with permissions of their own.
func TestGuardLooksAtTheStart(t *testing.T) {
	r := make(reports, 1000)
	v := newVolume(t, Config{Mode: Plain, Logger: slog.New(r)})
	for _, name := range []string{"adopted", "gone"} {
		check(t, os.WriteFile(filepath.Join(v.cfg.Dir, name), []byte("content"), 0o644))
		check(t, os.Chtimes(filepath.Join(v.cfg.Dir, name), testTime, testTime))
		check(t, v.Adopt(name, entry("content")))
	}
	check(t, os.Remove(filepath.Join(v.cfg.Dir, "gone")))
	check(t, v.Mount(t.Context()))
	r.await(t, "name=gone", "put right")
	r.none(t)
	if st := stat(t, filepath.Join(v.cfg.Dir, "adopted")); st.Mode&0o7777 != 0o644 {
		t.Errorf("the mode became %o", st.Mode)
	}
}

// When the mount is taken away, the plain files that are seen then are guarded.
func TestGuardAfterTheMount(t *testing.T) {
	needFUSE(t)
	r := make(reports, 1000)
	v := mountVolume(t, Config{Logger: slog.New(r)})
	publish(t, v, "x", entry("content"))
	check(t, exec.CommandContext(t.Context(), "umount", v.cfg.Dir).Run())
	r.await(t, "serving plain files from now on")
	check(t, os.WriteFile(filepath.Join(v.cfg.Dir, "x"), []byte("by hand"), 0o644))
	r.await(t, "name=x", "put right")
	wantFile(t, v, "x", "content")
}
