package metaconfig

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// Children returns the names of a dependency's members, in any order: the
// children of its znode. NotFound says that the dependency doesn't exist.
type Children func(ctx context.Context, dependency string) ([]string, error)

// Graph is what some dependencies come down to.
type Graph struct {
	// Dependencies are those that were reached, and Metaconfigs what they
	// subscribe a box to: each once, in the order in which they are reached,
	// the nearest first.
	Dependencies []Dependency
	Metaconfigs  []Reached
	// Bad are the members whose names can name neither.
	Bad []BadName
}

// Dependency is a dependency of a Graph.
type Dependency struct {
	Name string
	// Via are the dependencies that lead to it, outermost first: a shortest
	// way. It is empty for those that were asked for.
	Via []string
	// Members are the names of its members that can be names, sorted.
	Members []string
	// Err says why the members couldn't be read: NotFound if there is no such
	// dependency.
	Err error
}

// Reached is a metaconfig of a Graph. Whether it exists is not known.
type Reached struct {
	Name string
	// Via are the dependencies that lead to it, outermost first: a shortest
	// way.
	Via []string
}

// BadName is a member whose name can be neither a metaconfig's nor a
// dependency's.
type BadName struct {
	Name string
	Via  []string // the dependencies that lead to it, outermost first
	Err  error
}

// Resolve follows dependencies from the given ones, through any number of
// others, once each, so that cycles do no harm. One that can't be read is kept
// with its error, and the others are followed all the same. The result depends
// on nothing but the answers of children, which is called for one dependency
// after the other. The error is ctx's, if it ended first.
func Resolve(ctx context.Context, roots []string, children Children) (Graph, error) {
	r := resolver{seen: make(map[string]bool)}
	for _, root := range roots {
		if err := CheckDependency(root); err != nil {
			r.graph.Bad = append(r.graph.Bad, BadName{Name: root, Err: err})
			continue
		}
		r.reach(root, nil)
	}
	// Reading a dependency appends those that it leads to.
	for i := 0; i < len(r.graph.Dependencies); i++ {
		if ctx.Err() != nil {
			return Graph{}, fmt.Errorf("following dependencies of %q: %w", roots, context.Cause(ctx))
		}
		d := &r.graph.Dependencies[i]
		names, err := children(ctx, d.Name)
		if err != nil {
			d.Err = err
			continue
		}
		r.read(i, names)
	}
	return r.graph, nil
}

// resolver is a breadth-first walk, so that the first way found is a shortest.
type resolver struct {
	graph Graph
	seen  map[string]bool // what has been reached, good names and bad ones
}

// reach adds a member that hasn't been reached before.
func (r *resolver) reach(name string, via []string) {
	if r.seen[name] {
		return
	}
	r.seen[name] = true
	if IsDependency(name) {
		r.graph.Dependencies = append(r.graph.Dependencies, Dependency{Name: name, Via: via})
	} else {
		r.graph.Metaconfigs = append(r.graph.Metaconfigs, Reached{Name: name, Via: via})
	}
}

// read takes in the members of the i-th dependency.
func (r *resolver) read(i int, names []string) {
	d := r.graph.Dependencies[i]
	via := append(slices.Clone(d.Via), d.Name)
	for _, name := range slices.Compact(slices.Sorted(slices.Values(names))) {
		if strings.HasSuffix(name, lockSuffix) {
			continue
		}
		if err := CheckName(name); err != nil {
			r.graph.Bad = append(r.graph.Bad, BadName{Name: name, Via: via, Err: err})
			continue
		}
		d.Members = append(d.Members, name)
		r.reach(name, via)
	}
	r.graph.Dependencies[i].Members = d.Members
}
