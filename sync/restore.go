package sync

import (
	"crypto/sha256"
	"errors"
	iofs "io/fs"
	"time"

	"github.com/kingpinfs/kingpin/metaconfig"
	"github.com/kingpinfs/kingpin/serverset"
	"github.com/kingpinfs/kingpin/store"
)

// Restore reads the state that an earlier process left and adopts, as last
// good, every file that is what the state says. Where there is no state it
// adopts what lies in the directories; see adopt.go. It must be called once,
// before Run; no other call may run meanwhile. A state directory that can't be
// used is logged and shown by Snapshot, and tried again.
func (e *Engine) Restore() {
	j, p, err := openJournal(e.cfg.StateDir, e.log)
	e.noteSaved(err)
	e.journal = j
	restored := e.restore(p.records)
	adopted := e.adopt(p)
	if len(adopted) > 0 {
		if err := j.Append(adopted...); err != nil {
			e.noteSaved(err)
		}
	}
	if len(adopted) > 0 || p.damaged > 0 {
		e.flushSoon()
	}
	e.log.Info("state restored", "state_dir", e.cfg.StateDir, "files", restored, "adopted", len(adopted))
}

// restore does what the records say, and returns how many files are served.
func (e *Engine) restore(records []record) (files int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, r := range records {
		if r.Kind == recordDependency {
			it := e.restoreNode(r)
			it.members, it.zxid = r.Members, r.Zxid
		}
	}
	e.walk()
	for _, r := range records {
		if r.Kind == recordMetaconfig {
			e.restoreMetaconfig(r)
		}
	}
	for _, r := range records {
		if r.Kind == recordConfig || r.Kind == recordServerset {
			if e.restoreFile(r) {
				files++
			}
		}
	}
	for _, it := range e.items {
		if !it.wanted {
			it.unwantedAt = e.seq
		}
	}
	return files
}

// restoreNode returns the item that a record speaks of. Whether anything asks
// for it is settled later. mu must be held.
func (e *Engine) restoreNode(r record) *item {
	k, path := memberKey(r.Name)
	it := e.item(k)
	if !it.wanted {
		it.restored = true
		e.setPath(it, path)
	}
	return it
}

// restoreMetaconfig applies what a metaconfig asked for. mu must be held.
func (e *Engine) restoreMetaconfig(r record) {
	subs, _, err := metaconfig.Parse(r.Name, r.Content)
	if err != nil {
		e.log.Warn("the saved metaconfig isn't understood and is left out", "metaconfig", r.Name, "error", err)
		return
	}
	it := e.restoreNode(r)
	it.version, it.zxid = store.Version(r.Version), r.Zxid
	it.keepText(r.Content, subs)
	e.setSubs(it, compact(subs))
}

// restoreFile serves what the plain tree holds of a file, if it is what the
// record says. Whether anything still asks for the file is settled later. mu
// must be held.
func (e *Engine) restoreFile(r record) bool {
	t := metaconfig.Config
	if r.Kind == recordServerset {
		t = metaconfig.Serverset
	}
	content, modTime, err := e.cfg.Sink.Read(t, r.Name)
	if err != nil {
		if !errors.Is(err, iofs.ErrNotExist) {
			e.log.Warn("a saved file can't be read and is left out until it has been fetched", "name", r.Name, "error", err)
		}
		return false
	}
	serving, ok := r.match(content)
	switch {
	case ok:
	case e.cfg.Sink.Serves(t, r.Name):
		serving = unknown(content, modTime)
	default:
		e.log.Warn("a saved file isn't what was saved and is left out until it has been fetched", "name", r.Name)
		return false
	}
	it := e.item(fileKey(t, r.Name))
	it.serving, it.savedFor, it.restored = serving, r.Owner, !it.wanted
	it.adopted = r.Adopted && !it.wanted
	it.shareTexts()
	if t == metaconfig.Serverset {
		it.restoreGuard(content, r.Held)
	}
	e.cfg.Sink.Adopt(t, r.Name, serving.entry(content))
	e.showStatus(it)
	return true
}

// unknown is how a content is served that was found, and of which nothing else
// is known.
func unknown(content []byte, modTime time.Time) served {
	return served{Sum: sha256.Sum256(content), Size: len(content), ModTime: modTime, Changed: modTime}
}

// shareTexts drops what the saved state says in the same words as the
// subscription: there are many files. mu must be held.
func (it *item) shareTexts() {
	if !it.wanted {
		return
	}
	sub := it.sub()
	if it.serving.isOf(source(sub)) {
		it.serving.ZKPath, it.serving.Prefix = sub.ZKPath, sub.KeyPrefix
	}
	if it.savedFor == sub.Metaconfig {
		it.savedFor = sub.Metaconfig
	}
}

func (it *item) restoreGuard(content []byte, held *serverset.Held) {
	endpoints, _ := serverset.ParseFile(content) // never nil
	it.guard = serverset.NewGuard(serverset.GuardOptions{}, nil)
	it.guard.Restore(serverset.State{Served: endpoints, Held: held})
	if it.held = it.guard.State().Held != nil; it.held {
		it.heldReason = it.guard.Check(time.Now()).Reason
	}
}
