package sync

import (
	"bytes"
	"slices"
	"strings"

	"github.com/kingpinfs/kingpin/metaconfig"
	"github.com/kingpinfs/kingpin/serverset"
)

// What lies in the directories and is in no record is adopted: served as last
// good, of an unknown version, until the fleet says what it should be. This is
// so
//   - at the first start, when an earlier monitor (the Python one keeps no state)
//     left its files, and when nothing of the state is readable. Then all files
//     are adopted, because nobody knows which of them the fleet asks for; what
//     turns out to be none of these is disowned at the end of the first load, and
//     stays where it lies;
//   - when the state has holes, for the files whose records may have been in them.
//     Each was put in its place whole, by a rename, and was flushed to disk before
//     any record that came later. An end that is torn is another matter: then the
//     power may have failed before the flush, and a file without a record may be
//     torn as well;
//   - when readers see them, because the mount has outlived the process that served
//     it; the disk of the state may have been full.
//
// A file that is not what its record says is adopted for the last reason alone.

// adopt adopts what is to be, and returns the records of it.
func (e *Engine) adopt(p past) []record {
	all := p.good == 0 || p.holes
	recorded := make(map[key]bool, len(p.records))
	for _, r := range p.records {
		switch r.Kind {
		case recordConfig:
			recorded[key{configItem, r.Name}] = true
		case recordServerset:
			recorded[key{serversetItem, r.Name}] = true
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	var adopted []record
	for _, t := range []metaconfig.Type{metaconfig.Config, metaconfig.Serverset} {
		for _, name := range e.cfg.Sink.Leftovers(t) {
			k := fileKey(t, name)
			if recorded[k] || !all && !e.cfg.Sink.Serves(t, name) {
				continue
			}
			if it := e.adoptFile(k, p.damaged > 0); it != nil {
				r, _ := it.record()
				adopted = append(adopted, r)
			}
		}
	}
	return adopted
}

// adoptFile serves what lies in a file's place; nil if it can't be what it would
// be taken for. careful says that it may have been torn. mu must be held.
func (e *Engine) adoptFile(k key, careful bool) *item {
	t := k.fileType()
	content, modTime, err := e.cfg.Sink.Read(t, k.name)
	switch {
	case err != nil: // a directory, say; whatever it is, it is left alone
		e.log.Debug("what lies in the directory isn't adopted", "name", k.name, "error", err)
		return nil
	case careful && isBlank(content):
		return nil
	}
	entry := Entry{Content: content, ModTime: modTime}
	if t == metaconfig.Serverset && !e.mend(k.name, &entry) {
		return nil
	}
	if bytes.Equal(entry.Content, content) || e.cfg.Sink.Publish(t, k.name, entry) != nil {
		e.cfg.Sink.Adopt(t, k.name, entry)
	}
	it := e.item(k)
	it.serving = unknown(entry.Content, entry.ModTime)
	it.adopted, it.restored, it.unwantedAt = !it.wanted, !it.wanted, e.seq
	if t == metaconfig.Serverset {
		it.restoreGuard(entry.Content, nil)
	}
	e.showStatus(it)
	return it
}

// isBlank says that a content is what a power failure leaves of one: nothing, or
// zeros.
func isBlank(content []byte) bool { return len(bytes.TrimLeft(content, "\x00")) == 0 }

// mend replaces the content of a serverset's file if it has lines that may not be
// served as they are: endpoints that run together, and what is no endpoint. Lines
// in another order, or the last without its newline, stay until the fleet has
// been asked. It returns false if no line is an endpoint: then it is no
// serverset's file. mu must be held.
func (e *Engine) mend(name string, entry *Entry) bool {
	endpoints, bad := serverset.ParseFile(entry.Content)
	if len(endpoints) == 0 && len(bad) > 0 {
		return false
	}
	asTheyAre := true
	for line := range strings.Lines(string(entry.Content)) {
		if line = strings.TrimSuffix(line, "\n"); line != "" {
			_, ok := slices.BinarySearch(endpoints, line)
			asTheyAre = asTheyAre && ok
		}
	}
	if asTheyAre {
		return true
	}
	e.stats.InvalidMembers.Add(int64(len(bad)))
	e.log.Warn("the file of a serverset that an earlier monitor left has lines that aren't one endpoint each; those that run together are split, others are left out",
		"serverset", name, "endpoints", len(endpoints), "left_out", len(bad))
	entry.Content = serverset.Render(endpoints)
	entry.ModTime = laterThan(entry.ModTime)
	return true
}

// findLeaving finds, at the end of the first load, the files that were adopted and
// that nothing turned out to ask for. mu must be held.
func (e *Engine) findLeaving() {
	var names []string
	for k, it := range e.items {
		if k.isFile() && it.adopted && e.mayRetire(it) {
			e.leaving[k] = struct{}{}
			names = append(names, k.name)
		}
	}
	if len(names) > 0 {
		slices.Sort(names)
		e.log.Warn("nothing of the fleet asks for files that were found in the directories: they aren't served any more, and are left alone; move them away, unless they belong there",
			"count", len(names), "files", names[:min(len(names), maxNamed)])
	}
}

// maxNamed is how many files a message names.
const maxNamed = 10

// notLeaving notes that an adopted file has been disowned, or isn't to be now. mu
// must be held.
func (e *Engine) notLeaving(k key) {
	if _, ok := e.leaving[k]; ok {
		delete(e.leaving, k)
		e.checkReady()
	}
}
