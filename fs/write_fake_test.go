package fs

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// fakeWriter publishes what is written to a volume, on this machine alone. It
// takes deciders, and configs of which no content holds "bad".
type fakeWriter struct {
	mu      sync.Mutex // guards all below
	v       *Volume
	last    int64
	changes []string      // what was done: "name=content" and "name removed"
	caller  Caller        // who did the last one
	hold    chan struct{} // not nil: changes wait until it is closed
	held    chan struct{} // gets one when a change waits
}

func (w *fakeWriter) Accepts(name string) error {
	if decider, ok := strings.CutPrefix(name, "decider/"); ok {
		if strings.Trim(decider, "abcdefghijklmnopqrstuvwxyz0123456789_-") != "" {
			return fmt.Errorf("deciders are in lower case: %w", syscall.EINVAL)
		}
		return nil
	}
	if !strings.HasPrefix(name, "config") || strings.HasSuffix(name, "~") || strings.HasSuffix(name, ".bak") {
		return fmt.Errorf("no config has that name: %w", syscall.EPERM)
	}
	return nil
}

func (w *fakeWriter) AtOnce(name string) bool { return strings.HasPrefix(name, "decider/") }

func (w *fakeWriter) Write(_ context.Context, c Change) (Entry, error) {
	if err := w.check(c); err != nil {
		return Entry{}, err
	}
	w.mu.Lock()
	hold := w.hold
	w.mu.Unlock()
	if hold != nil {
		w.held <- struct{}{}
		<-hold
	}
	e := w.next(c)
	if c.Locked {
		return e, nil
	}
	return e, w.v.Publish(c.Name, e)
}

// next makes an entry of a change.
func (w *fakeWriter) next(c Change) Entry {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.last++
	w.caller = c.Caller
	w.changes = append(w.changes, c.Name+"="+string(c.Content[:min(len(c.Content), 20)]))
	return Entry{
		Content: append([]byte(nil), c.Content...), ModTime: time.Unix(w.last, 0), Version: strconv.FormatInt(w.last, 10), Order: w.last,
	}
}

func (w *fakeWriter) check(c Change) error {
	if w.AtOnce(c.Name) {
		n, err := strconv.Atoi(strings.TrimSuffix(string(c.Content), "\n"))
		if err != nil || n < 0 || n > 100 {
			return fmt.Errorf("not a decider's value: %w", syscall.EINVAL)
		}
		return nil
	}
	if strings.Contains(string(c.Content), "bad") {
		return fmt.Errorf("not a config: %w", syscall.EINVAL)
	}
	return nil
}

func (w *fakeWriter) Remove(_ context.Context, c Change) error {
	if !w.AtOnce(c.Name) {
		return syscall.EPERM
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.changes = append(w.changes, c.Name+" removed")
	return nil
}

// taken returns what has been done since the last time.
func (w *fakeWriter) taken() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	changes := w.changes
	w.changes = nil
	return changes
}

// mountWritable mounts a volume that can be written.
func mountWritable(t testing.TB, cfg Config) (*Volume, *fakeWriter) {
	t.Helper()
	w := &fakeWriter{held: make(chan struct{}, 1)}
	cfg.Writer = w
	if cfg.Subdirs == nil {
		cfg.Subdirs = []string{"decider"}
	}
	needFUSE(t)
	cfg.Mode = FUSE
	v := newVolume(t, cfg)
	w.v = v
	mount(t, v)
	return v, w
}
