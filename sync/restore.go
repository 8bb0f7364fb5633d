package sync

import (
	"errors"
	iofs "io/fs"

	"github.com/kingpinfs/kingpin/metaconfig"
	"github.com/kingpinfs/kingpin/serverset"
	"github.com/kingpinfs/kingpin/store"
)

// Restore reads the state that an earlier process left and adopts, as last
// good, every file that is what the state says. It must be called once, before
// Run; no other call may run meanwhile. An error means that the state directory
// can't be used.
func (e *Engine) Restore() error {
	j, records, err := openJournal(e.cfg.StateDir, e.log)
	if err != nil {
		return err
	}
	j.all = e.records
	e.journal = j
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, r := range records {
		if r.Kind == recordDependency {
			k, path := memberKey(r.Name)
			it := &item{key: k, members: r.Members, zxid: r.Zxid}
			e.items[k] = it
			e.setPath(it, path)
		}
	}
	e.walk()
	for _, r := range records {
		if r.Kind == recordMetaconfig {
			e.restoreMetaconfig(r)
		}
	}
	adopted := 0
	for _, r := range records {
		if r.Kind == recordConfig || r.Kind == recordServerset {
			if e.restoreFile(r) {
				adopted++
			}
		}
	}
	e.log.Info("state restored", "state_dir", e.cfg.StateDir, "files", adopted)
	return nil
}

// restoreMetaconfig applies what a metaconfig asked for. mu must be held.
func (e *Engine) restoreMetaconfig(r record) {
	k, _ := memberKey(r.Name)
	it := e.items[k]
	if it == nil {
		return // no dependency leads to it
	}
	subs, _, err := metaconfig.Parse(r.Name, r.Content)
	if err != nil {
		e.log.Warn("the saved metaconfig isn't understood and is left out", "metaconfig", r.Name, "error", err)
		return
	}
	it.version, it.zxid, it.content = store.Version(r.Version), r.Zxid, r.Content
	e.setSubs(it, subs)
}

// restoreFile serves what the plain tree holds of a file, if it is what the
// record says. Whether anything still asks for the file is settled later. mu
// must be held.
func (e *Engine) restoreFile(r record) bool {
	t := metaconfig.Config
	if r.Kind == recordServerset {
		t = metaconfig.Serverset
	}
	content, err := e.cfg.Sink.Read(t, r.Name)
	if err != nil {
		if !errors.Is(err, iofs.ErrNotExist) {
			e.log.Warn("a saved file can't be read and is left out until it has been fetched", "name", r.Name, "error", err)
		}
		return false
	}
	serving, ok := r.match(content)
	if !ok {
		e.log.Warn("a saved file isn't what was saved and is left out until it has been fetched", "name", r.Name)
		return false
	}
	k := fileKey(t, r.Name)
	it := e.items[k]
	if it == nil {
		it = &item{key: k}
		e.items[k] = it
	}
	it.serving = serving
	if t == metaconfig.Serverset {
		it.restoreGuard(content, r.Held)
	}
	e.cfg.Sink.Adopt(t, r.Name, Entry{Content: content, ModTime: serving.ModTime, Version: serving.Version, ZKPath: serving.ZKPath})
	e.showStatus(it)
	return true
}

// match returns which of the versions that the record names the content is.
func (r record) match(content []byte) (served, bool) {
	for _, f := range []*fileRecord{r.File, r.Prev} {
		if f == nil {
			continue
		}
		if s, err := f.restore(); err == nil && s.is(content) && !s.isZero() {
			return s, true
		}
	}
	return served{}, false
}

func (it *item) restoreGuard(content []byte, held *serverset.Held) {
	endpoints, _ := serverset.ParseFile(content)
	if endpoints == nil {
		endpoints = []string{}
	}
	it.guard = serverset.NewGuard(serverset.GuardOptions{}, nil)
	it.guard.Restore(serverset.State{Served: endpoints, Held: held})
	it.held = held != nil
}
