package metaconfig

import (
	"errors"

	"github.com/kingpinfs/kingpin/store"
)

// Mark says why a node of a tree has no children where one might look for
// them. The zero value says nothing.
type Mark string

// The marks.
const (
	Cycle   Mark = "cycle"   // it is one of its own ancestors
	Shown   Mark = "shown"   // its members stand where it was met first
	Missing Mark = "missing" // it doesn't exist
	Failed  Mark = "failed"  // it couldn't be read, see Problem
)

// Node is a dependency or a metaconfig in the tree of its dependencies, as a
// command draws it.
type Node struct {
	Name string `json:"name"`
	Mark Mark   `json:"mark,omitempty"`
	// Problem says why it is Failed.
	Problem string  `json:"problem,omitempty"`
	Members []*Node `json:"members,omitempty"` // sorted by name
}

// Tree returns the tree beneath a dependency of the graph. Every dependency is
// spelled out once, where it is met first from the top down, so that the tree
// is no larger than the graph. exists tells which metaconfigs exist.
func (g Graph) Tree(root string, exists func(metaconfig string) bool) *Node {
	t := treeBuilder{
		dependencies: make(map[string]Dependency, len(g.Dependencies)),
		state:        make(map[string]Mark),
		exists:       exists,
	}
	for _, d := range g.Dependencies {
		t.dependencies[d.Name] = d
	}
	return t.node(root)
}

type treeBuilder struct {
	dependencies map[string]Dependency
	// state is the mark that a dependency gets when it is met again: Cycle
	// while its members are being added, Shown afterwards.
	state  map[string]Mark
	exists func(string) bool
}

func (t *treeBuilder) node(name string) *Node {
	n := &Node{Name: name}
	if !IsDependency(name) {
		if !t.exists(name) {
			n.Mark = Missing
		}
		return n
	}
	d, found := t.dependencies[name]
	switch mark, met := t.state[name]; {
	case !found || errors.Is(d.Err, store.NotFound):
		n.Mark = Missing
	case d.Err != nil:
		n.Mark, n.Problem = Failed, d.Err.Error()
	case met:
		n.Mark = mark
	default:
		t.state[name] = Cycle
		for _, member := range d.Members {
			n.Members = append(n.Members, t.node(member))
		}
		t.state[name] = Shown
	}
	return n
}
