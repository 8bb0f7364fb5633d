package sync

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/kingpinfs/kingpin/metaconfig"
	"github.com/kingpinfs/kingpin/store"
)

// syncConfig brings a config file up to date.
func (e *Engine) syncConfig(ctx context.Context, it *item) error {
	e.mu.Lock()
	sub, serving := it.sub(), it.serving
	e.mu.Unlock()
	ref := store.Ref{Path: sub.ZKPath, Prefix: sub.KeyPrefix}
	known := serving.zxidOf(ref)
	p, err := e.readPointer(ctx, sub.ZKPath, known)
	switch {
	case store.KindOf(err) == store.NotFound:
		return e.configGone(it, err)
	case err != nil:
		return err
	case sub.KeyPrefix == "":
		return e.syncInlineConfig(it, ref, p, known)
	}
	v, err := parsePointer(sub.ZKPath, p.data)
	switch {
	case err != nil:
		return err
	case v == "":
		return neverWritten(sub)
	case known != 0 && string(v) == serving.Version:
		e.confirm(it, p.stat)
		return nil
	case p.stat.Mzxid < known && v.Compare(store.Version(serving.Version)) <= 0:
		return olderError(sub.ZKPath)
	}
	content, err := e.fetchContent(ctx, it, ref, v)
	if err != nil {
		return err
	}
	if len(content) == 0 {
		// No managed value is ever empty, and Python's monitor never wrote an
		// empty file: this is a write gone wrong.
		return &store.Error{Op: "fetching", Subject: ref.Key(v), Kind: store.Invalid,
			Err: errors.New("the object is empty; publish a good value with: kingpin config put " + sub.File)}
	}
	return e.publish(it, content, served{
		Version: string(v), Zxid: p.stat.Mzxid, ZnodeVersion: p.stat.Version,
		ZKPath: ref.Path, Prefix: ref.Prefix, ModTime: v.Time(),
	})
}

// syncInlineConfig serves a config whose value is the znode's data itself.
func (e *Engine) syncInlineConfig(it *item, ref store.Ref, p pointer, known int64) error {
	switch {
	case len(p.data) == 0:
		return &store.Error{Op: "reading config", Subject: ref.Path, Kind: store.Invalid, Err: errors.New("the znode is empty")}
	case p.stat.Mzxid < known:
		return olderError(ref.Path)
	case p.stat.Mzxid == known:
		e.confirm(it, p.stat)
		return nil
	}
	return e.publish(it, bytes.Clone(p.data), served{
		Version: strconv.FormatInt(p.stat.Mzxid, 10), Zxid: p.stat.Mzxid, ZnodeVersion: p.stat.Version,
		ZKPath: ref.Path, ModTime: p.stat.Mtime,
	})
}

func neverWritten(sub metaconfig.Subscription) error {
	return &store.Error{Op: "reading config", Subject: sub.ZKPath, Kind: store.Invalid,
		Err: fmt.Errorf("nothing has been written to it yet; use: kingpin config put %s FILE", sub.File)}
}

// configGone takes a file away when the fleet has deleted its znode.
func (e *Engine) configGone(it *item, cause error) error {
	e.mu.Lock()
	nothing := it.serving.isZero()
	e.mu.Unlock()
	cause = fmt.Errorf("%w; create it with: kingpin metaconfig create-config", cause)
	if nothing {
		return cause
	}
	if err := e.cfg.Sink.Remove(it.key.fileType(), it.key.name); err != nil {
		return publishError{err}
	}
	e.mu.Lock()
	e.forgetServed(it)
	e.mu.Unlock()
	e.save(record{Kind: recordKind(it.key.kind), Name: it.key.name, Dropped: true})
	e.log.Warn("deleted from the fleet; removed", "name", it.key.name)
	return cause
}

// confirm notes that what is served is what the znode says.
func (e *Engine) confirm(it *item, stat store.Stat) {
	e.mu.Lock()
	newer := stat.Mzxid > it.serving.Zxid
	if newer {
		it.serving.Zxid, it.serving.ZnodeVersion = stat.Mzxid, stat.Version
	}
	r, _ := it.record()
	e.mu.Unlock()
	if newer {
		e.save(r)
	}
}

// publish serves a new content. The record of it is on disk before readers can
// see it, and names what was served before as well, so that whichever of the
// two a crash leaves in place is known for what it is.
func (e *Engine) publish(it *item, content []byte, next served) error {
	now := time.Now()
	next.Sum, next.Size, next.Changed = sha256.Sum256(content), len(content), now
	e.mu.Lock()
	before := it.serving
	next.ModTime = modTime(&before, &next)
	if next.Sum == before.Sum && !before.isZero() {
		next.Changed = before.Changed
	}
	it.pending = &next
	r, _ := it.record()
	first := !e.isReady
	e.mu.Unlock()

	e.save(r)
	err := e.cfg.Sink.Publish(it.key.fileType(), it.key.name, Entry{
		Content: content, ModTime: next.ModTime, Version: next.Version, ZKPath: next.ZKPath,
	})
	e.mu.Lock()
	it.pending = nil
	if err == nil {
		it.serving = next
	}
	e.mu.Unlock()
	if err != nil {
		e.stats.PublishErrors.Add(1)
		return publishError{err}
	}
	e.stats.Published.Add(1)
	if first {
		e.log.Debug("serving", "name", it.key.name, "version", next.Version, "bytes", next.Size)
	} else {
		e.log.Info("published", "name", it.key.name, "version", next.Version, "bytes", next.Size, "took", time.Since(now))
	}
	return nil
}

// modTime is the time that stat shows for next: the version's own, but the
// earlier content's if it is the same, and never the earlier one's if it isn't,
// because readers look at nothing else.
func modTime(before, next *served) time.Time {
	if !before.isZero() && before.Sum == next.Sum {
		return before.ModTime
	}
	t := next.ModTime
	if t.IsZero() {
		t = next.Changed
	}
	if t.Equal(before.ModTime) {
		t = t.Add(time.Millisecond)
	}
	return t
}
