package sync

import (
	"slices"
	"strings"

	"github.com/kingpinfs/kingpin/metaconfig"
)

// startGraph makes the box's own dependencies the roots of what is wanted.
func (e *Engine) startGraph() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.walk()
	for k := range e.items {
		e.add(k)
	}
}

func (e *Engine) roots() []string {
	roots := slices.Clone(e.cfg.Dependencies)
	if !slices.Contains(roots, metaconfig.BaseDependency) {
		roots = append(roots, metaconfig.BaseDependency)
	}
	return roots
}

// item returns the item of a key, making it if there is none. mu must be held.
func (e *Engine) item(k key) *item {
	it := e.items[k]
	if it == nil {
		it = newItem(k)
		e.items[k] = it
	}
	return it
}

// want makes the item of a key wanted, and due if it wasn't, or was read from
// another znode. mu must be held.
func (e *Engine) want(k key, path string) (it *item, due bool) {
	it = e.item(k)
	it.restored = false
	if k.isFile() && it.adopted {
		it.adopted = false
		e.notLeaving(k)
	}
	if !it.wanted {
		due = true
		it.wanted = true
		if !it.settled {
			e.unsettled++
		}
		if !k.isFile() {
			e.raiseDoubt(it)
		}
		delete(e.lingering, k)
	}
	if it.path != path {
		due = true
		e.setPath(it, path)
	}
	if due {
		e.add(k)
	}
	return it, due
}

// setPath makes an item one that is read from a znode; "" from none. mu must be
// held.
func (e *Engine) setPath(it *item, path string) {
	if it.path != "" {
		e.leaveTwins(it)
		it.zxid = 0 // the new znode's have nothing to do with it
	}
	it.path = path
	if path != "" {
		it.twin = e.byPath[path]
		e.byPath[path] = it
	}
}

// leaveTwins takes an item from those that are read from its znode. mu must be
// held.
func (e *Engine) leaveTwins(it *item) {
	first := e.byPath[it.path]
	switch {
	case first != it:
		for first.twin != it {
			first = first.twin
		}
		first.twin = it.twin
	case it.twin == nil:
		delete(e.byPath, it.path)
	default:
		e.byPath[it.path] = it.twin
	}
	it.twin = nil
}

// walk follows the dependencies from the roots, as far as they are known, and
// makes wanted what it reaches and unwanted what it doesn't. mu must be held.
func (e *Engine) walk() {
	e.seq++
	reached := map[key]bool{}
	var visit func(name string)
	visit = func(name string) {
		k, path := memberKey(name)
		if reached[k] {
			return
		}
		reached[k] = true
		it, _ := e.want(k, path)
		for _, member := range it.members {
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

// memberKey says what a member of a dependency is.
func memberKey(name string) (k key, path string) {
	if metaconfig.IsDependency(name) {
		return key{dependencyItem, name}, metaconfig.DependencyPath(name)
	}
	return key{metaconfigItem, name}, metaconfig.Path(name)
}

// claim notes that a metaconfig asks for a file. mu must be held.
func (e *Engine) claim(sub *metaconfig.Subscription) {
	it := e.item(fileKey(sub.Type, sub.File))
	i, found := slices.BinarySearchFunc(it.owners, sub.Metaconfig, compareOwner)
	switch {
	case !found:
		it.owners = slices.Insert(it.owners, i, sub)
	case *it.owners[i] == *sub:
		it.owners[i] = sub
		return
	default:
		it.owners[i] = sub
	}
	e.reown(it)
}

func compareOwner(owner *metaconfig.Subscription, name string) int {
	return strings.Compare(owner.Metaconfig, name)
}

// release notes that a metaconfig doesn't ask for a file any more. mu must be
// held.
func (e *Engine) release(by string, k key) {
	it := e.items[k]
	if it == nil {
		return
	}
	it.owners = slices.DeleteFunc(it.owners, func(o *metaconfig.Subscription) bool { return o.Metaconfig == by })
	if len(it.owners) == 0 {
		e.unwant(it)
		return
	}
	e.reown(it)
}

// reown follows a change of who asks for a file. mu must be held.
func (e *Engine) reown(it *item) {
	first, conflict := it.sub(), ""
	for _, other := range it.owners[1:] {
		if conflict == "" && source(other) != source(first) {
			conflict = other.Metaconfig
			if it.conflict != conflict {
				e.log.Warn("two metaconfigs ask for one file with different contents; the first by name decides",
					"file", it.key.name, "metaconfig", first.Metaconfig, "zk_path", first.ZKPath,
					"ignored_metaconfig", other.Metaconfig, "ignored_zk_path", other.ZKPath)
			}
		}
	}
	it.conflict = conflict
	if _, due := e.want(it.key, first.ZKPath); !due {
		e.add(it.key)
	}
	e.showStatus(it)
}
