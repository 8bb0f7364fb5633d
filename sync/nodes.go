package sync

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/kingpinfs/kingpin/metaconfig"
	"github.com/kingpinfs/kingpin/store"
)

// lockSuffix ends the names of the znodes under which writers line up.
const lockSuffix = ".lock"

// syncDependency reads the members of a dependency and applies what changed.
func (e *Engine) syncDependency(ctx context.Context, it *item) error {
	path := metaconfig.DependencyPath(it.key.name)
	_, known := e.knownVersion(it)
	names, stat, err := e.readChildren(ctx, path, known)
	if store.KindOf(err) == store.NotFound {
		if it.key.name == metaconfig.BaseDependency && known == 0 {
			return nil // it need not exist
		}
		// Nothing ever deletes a dependency on purpose: rather this is the
		// wrong ensemble, or a wiped one. What it held stays.
		return fmt.Errorf("%w; create it with: kingpin dependency create %s", err, word(it.key.name))
	}
	if err != nil || stat.Pzxid == known {
		return err
	}
	members, bad := checkMembers(names)
	if len(bad) > 0 {
		e.log.Warn("members of a dependency can't be names of metaconfigs and are ignored; take them out with: kingpin dependency remove "+word(it.key.name)+" MEMBER",
			"dependency", it.key.name, "members", bad)
	}
	e.log.Debug("dependency read", "dependency", it.key.name, "members", len(members))
	e.save(e.applyMembers(it, members, stat.Pzxid))
	return nil
}

func checkMembers(names []string) (members, bad []string) {
	for _, name := range names {
		switch {
		case strings.HasSuffix(name, lockSuffix):
		case metaconfig.CheckName(name) != nil:
			bad = append(bad, name)
		default:
			members = append(members, name)
		}
	}
	return members, bad
}

// applyMembers follows a change of a dependency, and returns the record of it.
func (e *Engine) applyMembers(it *item, members []string, zxid int64) record {
	e.mu.Lock()
	defer e.mu.Unlock()
	it.members, it.zxid = members, zxid
	e.walk()
	r, _ := it.record()
	return r
}

// syncMetaconfig reads a metaconfig and applies what changed.
func (e *Engine) syncMetaconfig(ctx context.Context, it *item) error {
	path := metaconfig.Path(it.key.name)
	version, known := e.knownVersion(it)
	p, err := e.readPointer(ctx, path, known)
	switch {
	case store.KindOf(err) == store.NotFound:
		return e.metaconfigGone(ctx, it, version, err)
	case err != nil:
		return err
	}
	v, err := parsePointer(path, p.data)
	switch {
	case err != nil:
		return withAdvice(err, it.key.republish())
	case v == "":
		return withAdvice(neverWritten("metaconfig", it.key.name), it.key.republish())
	case v == version:
		e.raiseZxid(it, p.stat.Mzxid)
		return nil
	case p.stat.Mzxid < known && v.Compare(version) <= 0:
		return olderError(path)
	}
	content, err := e.fetchContent(ctx, it, store.Ref{Path: path}, v)
	if err != nil {
		return err
	}
	parsed, warnings, err := metaconfig.Parse(it.key.name, content)
	if !e.isNews(it, v) {
		warnings = nil
	}
	for _, warning := range warnings {
		e.log.Warn("a metaconfig is not taken as it stands; to change it: "+it.key.republish(), "name", it.key.name, "warning", warning)
	}
	if err != nil {
		e.applyParts(it, parsed)
		return withAdvice(fmt.Errorf("version %s: %w", v, err), it.key.republish())
	}
	e.applyMetaconfig(it, v, p.stat.Mzxid, content, parsed)
	return nil
}

// knownVersion returns what is known of a metaconfig, and the zxid of that: of a
// dependency, too.
func (e *Engine) knownVersion(it *item) (store.Version, int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return it.version, it.zxid
}

// isNews says whether a metaconfig's text is parsed for the first time.
func (e *Engine) isNews(it *item, v store.Version) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	news := it.parsed != v
	it.parsed = v
	return news
}

func (e *Engine) raiseZxid(it *item, zxid int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	it.zxid = max(it.zxid, zxid)
}

// metaconfigGone follows the deletion of a metaconfig's znode.
func (e *Engine) metaconfigGone(ctx context.Context, it *item, version store.Version, cause error) error {
	if version != "" {
		if err := e.checkFleet(ctx); err != nil {
			return err
		}
		e.applyMetaconfig(it, "", 0, nil, nil)
	}
	return fmt.Errorf("%w; create it with: %s; or take it out of the dependency with: kingpin dependency remove %s %s",
		cause, createMetaconfig(it.key.name), word(e.parentOf(it.key)), word(it.key.name))
}

// parentOf returns a dependency that has a member.
func (e *Engine) parentOf(member key) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	var parents []string
	for k, it := range e.items {
		if k.kind == dependencyItem && slices.Contains(it.members, member.name) {
			parents = append(parents, k.name)
		}
	}
	if len(parents) == 0 {
		return "NAME.dep"
	}
	return slices.Min(parents)
}

// checkFleet returns an error if none of the box's dependencies exists: then
// what else is missing wasn't deleted, but this is the wrong ensemble, or a
// wiped one.
func (e *Engine) checkFleet(ctx context.Context) error {
	roots := e.roots()
	for _, root := range roots {
		_, _, err := e.readChildren(ctx, metaconfig.DependencyPath(root), 0)
		if store.KindOf(err) != store.NotFound {
			return err
		}
	}
	return &store.Error{Op: "reading dependencies", Subject: strings.Join(roots, " "), Kind: store.NotFound,
		Err: errors.New("there are none: is this the right ensemble, or has it been wiped? What was served before stays")}
}

// applyMetaconfig replaces what a metaconfig asks for, in memory and on disk.
func (e *Engine) applyMetaconfig(it *item, v store.Version, zxid int64, content []byte, parsed []metaconfig.Subscription) {
	e.save(e.setMetaconfig(it, v, zxid, content, parsed))
}

func (e *Engine) setMetaconfig(it *item, v store.Version, zxid int64, content []byte, parsed []metaconfig.Subscription) record {
	e.mu.Lock()
	defer e.mu.Unlock()
	it.version = v
	if v == "" {
		it.zxid++ // a server that shows what has been deleted lags behind
	} else {
		it.zxid = zxid
	}
	it.keepText(content, parsed)
	e.setSubs(it, compact(parsed))
	return record{
		Kind: recordMetaconfig, Name: it.key.name,
		Version: string(v), Content: content, Zxid: it.zxid, Dropped: v == "",
	}
}

// applyParts serves what is good of a metaconfig that has faults, and keeps
// beside it what the metaconfig asked for before.
func (e *Engine) applyParts(it *item, parsed []metaconfig.Subscription) {
	e.mu.Lock()
	defer e.mu.Unlock()
	subs := compact(parsed)
	for _, old := range it.subs {
		if !slices.ContainsFunc(subs, func(s *metaconfig.Subscription) bool { return s.Type == old.Type && s.File == old.File }) {
			subs = append(subs, old)
		}
	}
	it.content = it.text() // what is saved is the last good version as a whole
	e.setSubs(it, subs)
}

// keepText keeps the text of a metaconfig, unless it is what would be made of
// its subscriptions anyway. mu must be held.
func (it *item) keepText(content []byte, parsed []metaconfig.Subscription) {
	it.content = content
	if rendered, err := metaconfig.Render(parsed...); err == nil && bytes.Equal(rendered, content) {
		it.content = nil
	}
}

// text returns the last good text of a metaconfig. mu must be held.
func (it *item) text() []byte {
	if it.content != nil || it.version == "" {
		return it.content
	}
	subs := make([]metaconfig.Subscription, len(it.subs))
	for i, sub := range it.subs {
		subs[i] = *sub
	}
	content, err := metaconfig.Render(subs...)
	if err != nil {
		// It could be rendered when the text was dropped for it.
		panic(fmt.Sprintf("rendering metaconfig %q: %v", it.key.name, err))
	}
	return content
}

// compact returns the subscriptions as they are kept: there are as many as
// files, so each text is kept once.
func compact(parsed []metaconfig.Subscription) []*metaconfig.Subscription {
	subs := make([]*metaconfig.Subscription, len(parsed))
	for i := range parsed {
		sub := parsed[i]
		for _, text := range []*string{&sub.File, &sub.Section} {
			if *text == sub.Metaconfig {
				*text = sub.Metaconfig
			}
		}
		if path, ok := strings.CutPrefix(sub.KeyPrefix, "data"); ok && path == sub.ZKPath {
			sub.ZKPath = path
		}
		subs[i] = &sub
	}
	return subs
}
