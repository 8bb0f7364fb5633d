package sync

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/kingpinfs/kingpin/metaconfig"
	"github.com/kingpinfs/kingpin/store"
)

// view is what a worker needs to know of a file at the beginning of its work.
type view struct {
	sub     *metaconfig.Subscription
	serving served
	// current says that what is served is an earlier version of what sub names,
	// or the same.
	current bool
	// known is the zxid below which an answer comes from a server that lags.
	known int64
	// unknown says that what is served may be newer than any zxid tells.
	unknown bool
}

// look returns what is known of a file; nil if nothing asks for it any more.
func (e *Engine) look(it *item) *view {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !it.wanted {
		return nil
	}
	v := &view{sub: it.sub(), serving: it.serving, known: it.zxid, unknown: it.serving.isUnknown()}
	if v.current = it.serving.isOf(source(v.sub)); v.current {
		v.known = max(v.known, it.serving.Zxid)
	}
	return v
}

// syncConfig brings a config file up to date.
func (e *Engine) syncConfig(ctx context.Context, it *item) error {
	now := e.look(it)
	if now == nil {
		return errNotNow
	}
	path := now.sub.ZKPath
	if err := e.serveWritten(it); err != nil {
		return err
	}
	if e.park(it) {
		return errNotNow
	}
	if err := e.catchUp(ctx, now); err != nil {
		return err
	}
	p, err := e.readPointer(ctx, path, now.known)
	// What this process has written need not be fetched.
	if err := e.serveWritten(it); err != nil {
		return err
	}
	switch {
	case store.KindOf(err) == store.NotFound:
		return e.configGone(ctx, it, now, err)
	case err != nil:
		return err
	case now.sub.KeyPrefix == "":
		return e.syncInlineConfig(it, now, p)
	}
	v, err := parsePointer(path, p.data)
	switch {
	case err != nil:
		return withAdvice(err, it.key.republish())
	case v == "":
		return withAdvice(neverWritten("config", path), it.key.republish())
	case e.serves(it, source(now.sub), v):
		e.confirm(it, p.stat.Mzxid, p.stat.Version)
		return nil
	case now.current && p.stat.Mzxid < now.serving.Zxid && v.Compare(store.Version(now.serving.Version)) <= 0:
		return olderError(path)
	}
	ref := source(now.sub)
	content, offered := e.takeOffer(it, v)
	if !offered {
		if content, err = e.fetchContent(ctx, it, ref, v); err != nil {
			return err
		}
	}
	if len(content) == 0 {
		// No managed value is ever empty, and Python's monitor never wrote an
		// empty file: this is a write gone wrong.
		return withAdvice(&store.Error{Op: "fetching", Subject: ref.Key(v), Kind: store.Invalid,
			Err: errors.New("the object is empty")}, it.key.republish())
	}
	return e.publish(it, &now.serving, content, served{
		Version: string(v), Zxid: p.stat.Mzxid, ZnodeVersion: p.stat.Version,
		ZKPath: ref.Path, Prefix: ref.Prefix, ModTime: v.Time(),
	})
}

// syncInlineConfig serves a config whose value is the znode's data itself.
func (e *Engine) syncInlineConfig(it *item, now *view, p pointer) error {
	path := now.sub.ZKPath
	switch {
	case len(p.data) == 0:
		return &store.Error{Op: "reading config", Subject: path, Kind: store.Invalid, Err: errors.New("the znode is empty")}
	case now.current && p.stat.Mzxid == now.serving.Zxid && now.serving.is(p.data):
		e.confirm(it, p.stat.Mzxid, p.stat.Version)
		return nil
	case now.current && p.stat.Mzxid < now.serving.Zxid && !p.stat.Mtime.After(now.serving.ModTime):
		return olderError(path)
	}
	return e.publish(it, &now.serving, bytes.Clone(p.data), served{
		Version: strconv.FormatInt(p.stat.Mzxid, 10), Zxid: p.stat.Mzxid, ZnodeVersion: p.stat.Version,
		ZKPath: path, ModTime: p.stat.Mtime,
	})
}

// configGone takes a file away when the fleet has deleted its znode.
func (e *Engine) configGone(ctx context.Context, it *item, now *view, cause error) error {
	cause = fmt.Errorf("%w; create it with: %s", cause, create(now.sub.ZKPath))
	if !now.current {
		return cause
	}
	if err := e.checkFleet(ctx); err != nil {
		return err
	}
	it.sinking.Lock()
	defer it.sinking.Unlock()
	if e.isOvertaken(it, &now.serving, new(served)) {
		e.add(it.key)
		return errNotNow
	}
	if err := e.cfg.Sink.Remove(it.key.fileType(), it.key.name); err != nil {
		e.stats.PublishErrors.Add(1)
		return publishError{err}
	}
	e.passed(StagePublish)
	e.dropServed(it)
	e.save(record{Kind: recordKind(it.key.kind), Name: it.key.name, Dropped: true})
	e.log.Warn("deleted from the fleet; removed", "name", it.key.name)
	return cause
}

// serves says whether what is served now is a version of a value.
func (e *Engine) serves(it *item, ref store.Ref, v store.Version) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return it.serving.isOf(ref) && it.serving.Version == string(v)
}

func (e *Engine) dropServed(it *item) {
	e.mu.Lock()
	defer e.mu.Unlock()
	it.forgetServed()
}
