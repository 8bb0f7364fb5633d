package metaconfig

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/kingpinfs/kingpin/store"
)

// lookAhead is how many requests a search through all dependencies keeps in
// flight.
const lookAhead = 16

// CreateDependency creates a dependency without members. created is false if
// it was there already. Errors: Invalid, Denied, Unavailable.
func (c *Client) CreateDependency(ctx context.Context, name string) (created bool, err error) {
	if err := CheckDependency(name); err != nil {
		return false, err
	}
	return c.ensure(ctx, DependencyPath(name))
}

// ListDependencies returns the names of all dependencies, sorted.
func (c *Client) ListDependencies(ctx context.Context) ([]string, error) {
	return c.children(ctx, dependencyRoot)
}

// Members returns the names of a dependency's members, sorted; also those that
// can name neither a metaconfig nor a dependency. Errors: NotFound, Invalid,
// Denied, Unavailable.
func (c *Client) Members(ctx context.Context, dependency string) ([]string, error) {
	if err := CheckDependency(dependency); err != nil {
		return nil, err
	}
	names, _, err := c.zn.Children(ctx, DependencyPath(dependency))
	if errors.Is(err, store.NotFound) {
		return nil, c.notFound(dependency)
	}
	if err != nil {
		return nil, err
	}
	return withoutLocks(names), nil
}

// AddMember adds a metaconfig or a dependency to a dependency; both must exist.
// added is false if it was a member already. Errors: NotFound, Invalid, Denied,
// Unavailable.
func (c *Client) AddMember(ctx context.Context, dependency, member string) (added bool, err error) {
	if err := CheckDependency(dependency); err != nil {
		return false, err
	}
	if err := CheckName(member); err != nil {
		return false, err
	}
	for _, name := range []string{dependency, member} {
		if err := c.mustExist(ctx, name); err != nil {
			return false, err
		}
	}
	return c.ensure(ctx, memberPath(dependency, member))
}

// RemoveMember takes a member out of a dependency, whether what it names exists
// or not. Errors: NotFound if it is no member; Invalid, Denied, Unavailable.
func (c *Client) RemoveMember(ctx context.Context, dependency, member string) error {
	if err := CheckDependency(dependency); err != nil {
		return err
	}
	if err := checkElement(member); err != nil {
		return fmt.Errorf("%w name %q: %w", store.Invalid, member, err)
	}
	err := c.zn.Delete(ctx, memberPath(dependency, member), store.AnyVersion)
	if errors.Is(err, store.NotFound) {
		return &store.Error{Op: "removing from dependency", Subject: dependency, Kind: store.NotFound,
			Err: fmt.Errorf("%q is not a member: `kingpin dependency show %s` shows the members", member, dependency)}
	}
	return err
}

// Walk resolves the dependencies of a box. See Resolve.
func (c *Client) Walk(ctx context.Context, roots ...string) (Graph, error) {
	return Resolve(ctx, roots, c.Members)
}

// Tree returns the tree beneath a dependency. Errors: NotFound if there is no
// such dependency; what lies beneath it is marked instead. Invalid, Denied,
// Unavailable.
func (c *Client) Tree(ctx context.Context, root string) (*Node, error) {
	if err := CheckDependency(root); err != nil {
		return nil, err
	}
	graph, err := c.Walk(ctx, root)
	if err != nil {
		return nil, err
	}
	if err := graph.Dependencies[0].Err; err != nil {
		return nil, err
	}
	metaconfigs, err := c.List(ctx)
	if err != nil {
		return nil, err
	}
	return graph.Tree(root, func(name string) bool {
		_, found := slices.BinarySearch(metaconfigs, name)
		return found
	}), nil
}

// holders returns the dependencies that have a member of the given name,
// sorted.
func (c *Client) holders(ctx context.Context, member string) ([]string, error) {
	dependencies, err := c.ListDependencies(ctx)
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex // guards found
	var found []string
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(lookAhead)
	for _, dependency := range dependencies {
		group.Go(func() error {
			_, _, err := c.zn.Get(ctx, memberPath(dependency, member))
			if errors.Is(err, store.NotFound) {
				return nil
			}
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			found = append(found, dependency)
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	slices.Sort(found)
	return found, nil
}

// mustExist fails with NotFound unless the metaconfig or dependency exists.
func (c *Client) mustExist(ctx context.Context, name string) error {
	path := Path(name)
	if IsDependency(name) {
		path = DependencyPath(name)
	}
	_, _, err := c.zn.Get(ctx, path)
	if errors.Is(err, store.NotFound) {
		return c.notFound(name)
	}
	return err
}

// notFound names the command that creates what is missing.
func (c *Client) notFound(name string) error {
	op, command := "looking up metaconfig", "kingpin metaconfig set "+name+" FILE"
	parts := strings.Split(name, ".")
	switch {
	case IsDependency(name):
		op, command = "looking up dependency", "kingpin dependency create "+name
	case len(parts) == 4 && strings.HasPrefix(name, "config.manageddata."):
		command = "kingpin metaconfig create-config " + parts[2] + " " + parts[3]
	case len(parts) == 3 && strings.HasPrefix(name, "discovery."):
		command = "kingpin metaconfig create-serverset " + parts[1] + " " + parts[2]
	}
	return &store.Error{Op: op, Subject: name, Kind: store.NotFound, Err: fmt.Errorf("`%s` creates it", command)}
}

// memberPath is the znode that makes something a member of a dependency.
func memberPath(dependency, member string) string {
	return DependencyPath(dependency) + "/" + member
}
