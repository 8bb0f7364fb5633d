package sync

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kingpinfs/kingpin/metaconfig"
	"github.com/kingpinfs/kingpin/store"
)

// zkTimeout bounds one exchange with a ZooKeeper server that we are connected
// to.
const zkTimeout = 10 * time.Second

// startGraph makes the box's own dependencies the roots of what is wanted.
func (e *Engine) startGraph() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.walk()
	for k := range e.items {
		e.queue.Add(k)
	}
}

func (e *Engine) roots() []string {
	roots := slices.Clone(e.cfg.Dependencies)
	if !slices.Contains(roots, baseDependency) {
		roots = append(roots, baseDependency)
	}
	return roots
}

// want returns the item of a key, making it wanted. mu must be held.
func (e *Engine) want(k key, path string) *item {
	it := e.items[k]
	if it == nil {
		it = &item{key: k}
		e.items[k] = it
	}
	if !it.wanted {
		it.wanted = true
		if !it.settled {
			e.unsettled++
		}
		e.queue.Add(k)
	}
	if it.path != path {
		e.setPath(it, path)
		e.queue.Add(k)
	}
	return it
}

// unwant makes the next worker retire the item. mu must be held.
func (e *Engine) unwant(it *item) {
	if !it.wanted {
		return
	}
	it.wanted = false
	delete(e.failing, it.key)
	e.queue.Add(it.key)
	if !it.settled {
		e.unsettled--
		e.checkReady()
	}
}

// setPath keeps byPath in step. mu must be held.
func (e *Engine) setPath(it *item, path string) {
	if it.path != "" {
		left := slices.DeleteFunc(e.byPath[it.path], func(k key) bool { return k == it.key })
		if len(left) == 0 {
			delete(e.byPath, it.path)
		} else {
			e.byPath[it.path] = left
		}
	}
	it.path = path
	if path != "" {
		e.byPath[path] = append(e.byPath[path], it.key)
	}
}

// walk follows the dependencies from the roots, as far as they are known, and
// makes wanted what it reaches and unwanted what it doesn't. mu must be held.
func (e *Engine) walk() {
	reached := map[key]bool{}
	var visit func(name string)
	visit = func(name string) {
		k, path := memberKey(name)
		if reached[k] {
			return
		}
		reached[k] = true
		for _, member := range e.want(k, path).members {
			visit(member)
		}
	}
	for _, root := range e.roots() {
		visit(root)
	}
	for k, it := range e.items {
		if !k.isFile() && !reached[k] {
			e.unwant(it)
		}
	}
}

const dependencySuffix = ".dep"

// memberKey says what a member of a dependency is.
func memberKey(name string) (k key, path string) {
	if strings.HasSuffix(name, dependencySuffix) {
		return key{dependencyItem, name}, metaconfig.DependencyPath(name)
	}
	return key{metaconfigItem, name}, metaconfig.Path(name)
}

// syncDependency reads the members of a dependency and applies what changed.
func (e *Engine) syncDependency(ctx context.Context, it *item) error {
	ctx, cancel := context.WithTimeout(ctx, zkTimeout)
	defer cancel()
	e.mu.Lock()
	seen := it.zxid
	e.mu.Unlock()
	names, stat, err := e.readChildren(ctx, it.path, seen)
	if store.KindOf(err) == store.NotFound {
		if it.key.name == baseDependency && seen == 0 {
			return nil // it need not exist
		}
		// Nothing ever deletes a dependency on purpose: rather this is the
		// wrong ensemble, or a wiped one. What it held stays.
		return fmt.Errorf("%w; create it with: kingpin dependency create %s", err, it.key.name)
	}
	if err != nil {
		return err
	}
	members, bad := checkMembers(names)
	if len(bad) > 0 {
		e.log.Warn("members of a dependency can't be names of metaconfigs and are ignored", "dependency", it.key.name, "members", bad)
	}
	e.mu.Lock()
	changed := seen != stat.Pzxid
	if changed {
		it.members, it.zxid = members, stat.Pzxid
		e.walk()
	}
	r, _ := it.record()
	e.mu.Unlock()
	if changed {
		e.log.Debug("dependency read", "dependency", it.key.name, "members", len(members))
		e.save(r)
	}
	return nil
}

func checkMembers(names []string) (members, bad []string) {
	for _, name := range names {
		switch {
		case strings.HasSuffix(name, ".lock"):
		case metaconfig.CheckName(name) != nil:
			bad = append(bad, name)
		default:
			members = append(members, name)
		}
	}
	return members, bad
}

// syncMetaconfig reads a metaconfig and applies what changed.
func (e *Engine) syncMetaconfig(ctx context.Context, it *item) error {
	e.mu.Lock()
	seen, version := it.zxid, it.version
	e.mu.Unlock()
	pointer, err := e.readPointer(ctx, it.path, seen)
	switch {
	case store.KindOf(err) == store.NotFound:
		if version != "" {
			// The fleet took it away, and with it what it made us serve.
			e.applyMetaconfig(it, "", 0, nil, nil)
		}
		return fmt.Errorf("%w; create it with kingpin metaconfig create-config or create-serverset, or take it out of the dependency", err)
	case err != nil:
		return err
	}
	v, err := parsePointer(it.path, pointer.data)
	if err != nil {
		return err
	}
	switch {
	case v == "":
		return &store.Error{Op: "reading metaconfig", Subject: it.key.name, Kind: store.Invalid,
			Err: fmt.Errorf("nothing has been written to it yet; use: kingpin metaconfig set %s FILE", it.key.name)}
	case v == version:
		e.mu.Lock()
		it.zxid = max(it.zxid, pointer.stat.Mzxid)
		e.mu.Unlock()
		return nil
	case pointer.stat.Mzxid < seen && v.Compare(version) <= 0:
		return olderError(it.path)
	}
	content, err := e.fetchContent(ctx, it, store.Ref{Path: it.path}, v)
	if err != nil {
		return err
	}
	subs, warnings, err := metaconfig.Parse(it.key.name, content)
	if err != nil {
		return fmt.Errorf("version %s of metaconfig %q: %w", v, it.key.name, err)
	}
	for _, warning := range warnings {
		e.log.Warn("metaconfig", "name", it.key.name, "warning", warning)
	}
	e.applyMetaconfig(it, v, pointer.stat.Mzxid, content, subs)
	return nil
}

// applyMetaconfig replaces what a metaconfig asks for, in memory and on disk.
func (e *Engine) applyMetaconfig(it *item, v store.Version, zxid int64, content []byte, subs []metaconfig.Subscription) {
	e.mu.Lock()
	same := bytes.Equal(it.content, content) && it.version != ""
	it.version, it.zxid, it.content = v, zxid, content
	if !same {
		e.setSubs(it, subs)
	}
	r, ok := it.record()
	e.mu.Unlock()
	r.Dropped = !ok
	e.save(r)
}

// setSubs claims the files that a metaconfig asks for and releases those that
// it doesn't ask for any more. mu must be held.
func (e *Engine) setSubs(it *item, subs []metaconfig.Subscription) {
	old := it.subs
	it.subs = subs
	for _, sub := range subs {
		e.claim(it.key.name, sub)
	}
	for _, sub := range old {
		k := fileKey(sub.Type, sub.File)
		if !slices.ContainsFunc(subs, func(s metaconfig.Subscription) bool { return fileKey(s.Type, s.File) == k }) {
			e.release(it.key.name, k)
		}
	}
}

// claim notes that a metaconfig asks for a file. mu must be held.
func (e *Engine) claim(by string, sub metaconfig.Subscription) {
	k := fileKey(sub.Type, sub.File)
	it := e.items[k]
	if it == nil {
		it = &item{key: k}
		e.items[k] = it
	}
	i, found := slices.BinarySearchFunc(it.owners, by, func(o owner, name string) int { return strings.Compare(o.metaconfig, name) })
	if found {
		it.owners[i].sub = sub
	} else {
		it.owners = slices.Insert(it.owners, i, owner{by, sub})
	}
	e.reown(it)
}

// release notes that a metaconfig doesn't ask for a file any more. mu must be
// held.
func (e *Engine) release(by string, k key) {
	it := e.items[k]
	if it == nil {
		return
	}
	it.owners = slices.DeleteFunc(it.owners, func(o owner) bool { return o.metaconfig == by })
	if len(it.owners) == 0 {
		e.unwant(it)
		return
	}
	e.reown(it)
}

// reown follows a change of who asks for a file. mu must be held.
func (e *Engine) reown(it *item) {
	first := it.owners[0]
	for _, other := range it.owners[1:] {
		if other.sub.ZKPath != first.sub.ZKPath || other.sub.KeyPrefix != first.sub.KeyPrefix {
			e.log.Warn("two metaconfigs ask for one file with different contents; the first by name decides",
				"file", it.key.name, "metaconfig", first.metaconfig, "zk_path", first.sub.ZKPath,
				"ignored_metaconfig", other.metaconfig, "ignored_zk_path", other.sub.ZKPath)
		}
	}
	e.want(it.key, first.sub.ZKPath)
	e.queue.Add(it.key)
}

// retire takes away what nothing asks for any more. Until the first load is
// over nothing is certain enough to be taken away.
func (e *Engine) retire(it *item) error {
	e.mu.Lock()
	if it.key.isFile() && !e.isReady {
		e.mu.Unlock()
		return nil
	}
	e.mu.Unlock()
	if it.key.isFile() {
		if err := e.cfg.Sink.Remove(it.key.fileType(), it.key.name); err != nil {
			e.stats.PublishErrors.Add(1)
			return publishError{err}
		}
		e.log.Info("no longer subscribed; removed", "name", it.key.name)
	}
	e.mu.Lock()
	if it.wanted {
		e.forgetServed(it) // it came back meanwhile: it will be read anew
		e.mu.Unlock()
		return nil
	}
	if it.key.kind == metaconfigItem {
		e.setSubs(it, nil)
	}
	e.setPath(it, "")
	delete(e.items, it.key)
	e.mu.Unlock()
	e.save(record{Kind: recordKind(it.key.kind), Name: it.key.name, Dropped: true})
	return nil
}

// forgetServed notes that a file's readers see nothing. mu must be held.
func (e *Engine) forgetServed(it *item) {
	it.serving, it.pending, it.guard, it.held = served{}, nil, nil, false
}
