package fs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"
)

func TestVolumeIsInertBeforeOpen(t *testing.T) {
	v := New(Config{Dir: t.TempDir()})
	wantErr(t, v.Publish("x", entry("x")), ErrClosed)
	wantErr(t, v.Remove("x"), ErrClosed)
	wantErr(t, v.Flush(), ErrClosed)
	if _, _, err := v.ReadLast("x"); !errors.Is(err, ErrClosed) {
		t.Errorf("ReadLast: %v", err)
	}
	wantErr(t, v.Mount(t.Context()), nil, "isn't open")
	if mode, why := v.Face(); mode != Plain || why == "" {
		t.Errorf("face %q, %q", mode, why)
	}
	check(t, v.Close())
	wantErr(t, v.Open(t.Context()), nil, "twice")
}

func TestVolumeAfterClose(t *testing.T) {
	v := plainVolume(t, Config{})
	publish(t, v, "x", entry("x"))
	wantErr(t, v.Mount(t.Context()), nil, "is mounted")
	wantErr(t, v.Open(t.Context()), nil, "twice")
	check(t, v.Close())
	check(t, v.Close())
	wantErr(t, v.Publish("x", entry("y")), ErrClosed)
	wantFile(t, v, "x", "x")
}

func TestVolumeRefusesBadNames(t *testing.T) {
	v := plainVolume(t, Config{Subdirs: []string{"decider"}})
	for _, name := range []string{"", "..", "../x", "decider", "decider/", "other/x", ".kingpin"} {
		wantErr(t, v.Publish(name, entry("x")), ErrName)
		wantErr(t, v.Remove(name), ErrName)
		v.SetStatus(name, Status{State: "fresh"})
		if _, _, ok := v.Get(name); ok {
			t.Errorf("%q is served", name)
		}
	}
	wantErr(t, New(Config{Dir: t.TempDir(), Subdirs: []string{"a/b"}}).Open(t.Context()), ErrName)
}

func TestVolumeGet(t *testing.T) {
	v := plainVolume(t, Config{Subdirs: []string{"decider"}})
	publish(t, v, "decider/x", entry("x"))
	publish(t, v, "b", entry("b"))
	status := Status{State: "fresh", SyncedAt: testTime}
	v.SetStatus("decider/x", status)
	e, got, ok := v.Get("decider/x")
	if !ok || string(e.Content) != "x" || e.Version != "1.000001" || got != status {
		t.Errorf("get: %+v, %+v, %v", e, got, ok)
	}
	if got := v.Names(); !slices.Equal(got, []string{"b", "decider/x"}) {
		t.Errorf("names %q", got)
	}
}

func TestVolumeMountIsCancelled(t *testing.T) {
	needFUSE(t)
	v := newVolume(t, Config{Mode: Auto})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	wantErr(t, v.Mount(ctx), context.Canceled)
	if p, err := look(v.cfg.Dir); err != nil || p.atRoot() {
		t.Errorf("a mount is left: %+v, %v", p, err)
	}
}

// Changes to many names and to one may be made at once, while the volume is
// closed.
func TestVolumeConcurrently(t *testing.T) {
	for _, mode := range []Mode{FUSE, Plain} {
		t.Run(string(mode), func(t *testing.T) {
			needFUSE(t)
			v := newVolume(t, Config{Mode: mode})
			mount(t, v)
			publish(t, v, "steady", entry("x"))
			var all sync.WaitGroup
			for i := range 4 {
				all.Go(func() {
					for j := 0; ; j++ {
						name := fmt.Sprint("f", (i+j)%3)
						err := v.Publish(name, entry(name))
						if err == nil && j%5 == 0 {
							err = v.Remove(name)
						}
						if errors.Is(err, ErrClosed) {
							return
						}
						if err != nil {
							t.Error(err)
							return
						}
						v.SetStatus(name, Status{State: "fresh"})
						v.Names()
						v.Foreign()
						v.Face()
					}
				})
			}
			timer := time.NewTimer(200 * time.Millisecond)
			<-timer.C
			check(t, v.Close())
			all.Wait()
			wantFile(t, v, "steady", "x")
			// What is left as plain files is what was served last.
			for _, name := range v.Names() {
				e, _, _ := v.Get(name)
				wantFile(t, v, name, string(e.Content))
			}
		})
	}
}
