package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	kpfs "github.com/kingpinfs/kingpin/fs"
	"github.com/kingpinfs/kingpin/managed"
	"github.com/kingpinfs/kingpin/store"
	kpsync "github.com/kingpinfs/kingpin/sync"
)

// configWriter publishes what is written to the files of the configs' directory:
// deciders, each by a change of the map that holds them all, and configs that
// this machine serves, each as a whole. Nothing can be published before start,
// and what comes until then waits.
type configWriter struct {
	dir     string
	timeout time.Duration // of each write
	log     *slog.Logger
	host    string
	started chan struct{} // closed by start
	parts   writerParts   // not before started

	mu       sync.Mutex     // guards outcomes
	outcomes map[string]int // how often each came: "published", or the errno's name
}

var _ kpfs.Writer = (*configWriter)(nil)

// writerParts are what a writer publishes by.
type writerParts struct {
	engine writerEngine
	values *store.Store // over markedBlobs
	// served returns what is served under a name.
	served func(name string) (kpfs.Entry, kpfs.Status, bool)
	// wrote is told the order of each config that is published by the file of a
	// decider, before that file is changed.
	wrote func(order int64)
	// zookeeper says whether there is a session, and, if it is known that there
	// can't be one now, why.
	zookeeper func() (connected bool, away error)
}

// writerEngine is what a writer needs of the sync engine.
type writerEngine interface {
	Source(name string) (kpsync.Source, bool)
	OfferVersion(name string, v store.Version, content []byte)
	WithdrawVersion(name string, v store.Version)
	NoteWritten(name string, ref store.Ref, value store.Value) kpsync.Entry
	ServeWritten(name string) error
}

// defaultWriteTimeout bounds a write: long enough for a change of ZooKeeper's
// leader, short enough for whoever waits at a shell.
const defaultWriteTimeout = 5 * time.Second

// published is the outcome of a write that went well.
const published = "published"

func newConfigWriter(dir string, timeout time.Duration, log *slog.Logger) *configWriter {
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	return &configWriter{
		dir: dir, timeout: timeout, log: log, host: host,
		started: make(chan struct{}), outcomes: map[string]int{published: 0},
	}
}

// start lets writes begin.
func (w *configWriter) start(parts writerParts) {
	w.parts = parts
	close(w.started)
}

// AtOnce implements kpfs.Writer: a shell may not tell of errors that come when a
// file is closed, and a decider's value is written in one piece.
func (w *configWriter) AtOnce(name string) bool { return strings.HasPrefix(name, deciderDir+"/") }

// Accepts implements kpfs.Writer.
func (w *configWriter) Accepts(name string) error {
	err := w.accepts(name)
	if err != nil {
		err = &writeError{errnoOf(err, nil, true), err}
		w.log.Debug("a name can't be written to", "dir", w.dir, "name", name, "error", err)
	}
	return err
}

func (w *configWriter) accepts(name string) error {
	config := name
	if decider, ok := strings.CutPrefix(name, deciderDir+"/"); ok {
		if err := managed.CheckDeciderName(decider); err != nil {
			return err
		}
		if looksTemporary(decider) {
			return &writeError{syscall.EPERM, fmt.Errorf("%q looks like a temporary file: `kingpin decider set` sets deciders of such names", decider)}
		}
		config = deciderConfig
	}
	select {
	case <-w.started:
	default:
		return nil // Write will tell
	}
	_, err := w.locate(config)
	return err
}

// looksTemporary tells names of files that are to be renamed, or are copies of
// others, which are nobody's decider.
func looksTemporary(name string) bool {
	for _, prefix := range []string{".", "#"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	for _, suffix := range []string{"~", ".tmp", ".temp", ".bak", ".orig", ".swp"} {
		if strings.HasSuffix(name, suffix) {
			return true
		}
	}
	return false
}

// locate returns what the file of a config is made of, on this machine.
func (w *configWriter) locate(config string) (store.Ref, error) {
	source, ok := w.parts.engine.Source(config)
	switch {
	case !ok:
		return store.Ref{}, &writeError{syscall.EPERM, fmt.Errorf(
			"this machine doesn't get a config %q: `kingpin metaconfig create-config` creates it, and `kingpin dependency add` gives it to machines", config)}
	case source.Inline:
		return store.Ref{}, &writeError{syscall.EPERM, fmt.Errorf(
			"config %q has no versions: its content is the data of the znode %q itself", config, source.Path)}
	}
	return source.Ref, nil
}

// Write implements kpfs.Writer.
func (w *configWriter) Write(ctx context.Context, c kpfs.Change) (kpfs.Entry, error) {
	decider, isDecider := strings.CutPrefix(c.Name, deciderDir+"/")
	if isDecider {
		return w.change(ctx, c, "write", func(ctx context.Context, r *request) error {
			value, err := managed.ParseDeciderFile(c.Content)
			if err != nil {
				return err
			}
			return r.changeDeciders(func(d *managed.Decider, write store.Write) (store.Value, error) {
				return d.Set(ctx, write, decider, value)
			}, []byte(managed.RenderDeciderValue(value)))
		})
	}
	return w.change(ctx, c, "write", func(ctx context.Context, r *request) error {
		base := store.Version(c.Base)
		return r.publish(c.Name, func(client *managed.Client, write store.Write) (store.Value, error) {
			write.Expect = &base
			return client.Put(ctx, c.Name, bytes.Clone(c.Content), write)
		})
	})
}

// Remove implements kpfs.Writer.
func (w *configWriter) Remove(ctx context.Context, c kpfs.Change) error {
	_, err := w.change(ctx, c, "remove", func(ctx context.Context, r *request) error {
		decider, isDecider := strings.CutPrefix(c.Name, deciderDir+"/")
		if !isDecider {
			return &writeError{syscall.EPERM, fmt.Errorf(
				"only deciders can be removed through the mount: `kingpin dependency remove` takes the config %q from machines", c.Name)}
		}
		return r.changeDeciders(func(d *managed.Decider, write store.Write) (store.Value, error) {
			return d.Unset(ctx, write, decider)
		}, nil)
	})
	return err
}

// request is one change under way.
type request struct {
	*configWriter
	kpfs.Change

	who   caller
	entry kpfs.Entry // what was published
}

// change makes a change, within the time that it may take, and logs what became
// of it. do sets the request's entry.
func (w *configWriter) change(ctx context.Context, c kpfs.Change, operation string, do func(context.Context, *request) error) (kpfs.Entry, error) {
	r := &request{configWriter: w, Change: c, who: identify(c.Caller)}
	start := time.Now()
	ctx, cancel := context.WithTimeoutCause(ctx, w.timeout, fmt.Errorf("not done within %v", w.timeout))
	defer cancel()
	connected, err := w.awaitStart(ctx, c.Locked)
	if err == nil {
		if err = w.accepts(c.Name); err == nil {
			err = do(ctx, r)
		}
		connected, _ = w.parts.zookeeper()
	}
	attributes := append([]any{"name", c.Name, "operation", operation}, r.who.attributes()...)
	attributes = append(attributes, "bytes", len(c.Content), "took", time.Since(start))
	if err == nil {
		w.count(published)
		w.log.Info("changed through the mount", append(attributes, "version", r.entry.Version)...)
		return r.entry, nil
	}
	failure := &writeError{errnoOf(err, ctx.Err(), connected), err}
	errno := unix.ErrnoName(failure.errno)
	w.count(errno)
	w.log.Warn("a change through the mount was refused or failed", append(attributes,
		"errno", errno, "kind", kindText(err), "error", withoutContent(err))...)
	return kpfs.Entry{}, failure
}

// awaitStart returns when writes can begin. Who holds up a directory doesn't wait
// for a session that is known to be lost.
func (w *configWriter) awaitStart(ctx context.Context, locked bool) (connected bool, err error) {
	select {
	case <-w.started:
	case <-ctx.Done():
		return true, &store.Error{Op: "waiting for the monitor to start for", Subject: w.dir, Kind: store.Unavailable, Err: context.Cause(ctx)}
	}
	connected, away := w.parts.zookeeper()
	if locked && away != nil {
		return connected, &store.Error{Op: "asking", Subject: "ZooKeeper", Kind: store.Unavailable, Err: away}
	}
	return connected, nil
}

// write is what the history says of the request.
func (r *request) write() store.Write {
	comment := "through " + r.dir
	if r.who.command != "" {
		comment += " by " + r.who.command
	}
	return store.Write{Author: r.who.user + "@" + r.host, Comment: comment}
}

// publish publishes a change of a config, and sees to it that it is served.
func (r *request) publish(config string, do func(*managed.Client, store.Write) (store.Value, error)) error {
	ref, err := r.locate(config)
	if err != nil {
		return err
	}
	client := managed.NewClientAt(r.parts.values, func(string) (store.Ref, error) { return ref, nil })
	write, tried := r.write(), store.Version("")
	write.Publishing = func(v store.Version, content []byte) {
		tried = v
		r.parts.engine.OfferVersion(config, v, content)
	}
	value, err := do(client, write)
	if err != nil {
		r.parts.engine.WithdrawVersion(config, tried)
		return err
	}
	r.entry = newEntry(r.parts.engine.NoteWritten(config, ref, value))
	if r.Locked {
		return nil
	}
	if err := r.parts.engine.ServeWritten(config); err != nil {
		r.log.Error("what was written through the mount is in the fleet, but this machine can't serve it yet", "name", r.Name, "error", err)
	}
	return nil
}

// changeDeciders publishes a change of the deciders. content is what the file of
// the one is then.
func (r *request) changeDeciders(do func(*managed.Decider, store.Write) (store.Value, error), content []byte) error {
	err := r.publish(deciderConfig, func(client *managed.Client, write store.Write) (store.Value, error) {
		return do(managed.NewDecider(managed.Options{Client: client, Logger: r.log}), write)
	})
	if err != nil {
		return err
	}
	r.parts.wrote(r.entry.Order)
	r.entry.Content = content
	// A decider's file is as old as its value.
	if old, _, ok := r.parts.served(r.Name); ok && content != nil && bytes.Equal(old.Content, content) {
		r.entry = old
	}
	return nil
}

func (w *configWriter) count(outcome string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.outcomes[outcome]++
}

// counts returns how often each outcome came.
func (w *configWriter) counts() map[string]int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	counts := make(map[string]int64, len(w.outcomes))
	for outcome, n := range w.outcomes {
		counts[outcome] = int64(n)
	}
	return counts
}

func kindText(err error) string {
	if kind := store.KindOf(err); kind != 0 {
		return kind.Error()
	}
	return "none"
}

// withoutContent says what an error says, but quotes no content.
func withoutContent(err error) string {
	if refusal, ok := errors.AsType[*managed.ContentError](err); ok {
		return refusal.WithoutContent() + "; `kingpin config put` tells more"
	}
	return err.Error()
}
