package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/kingpinfs/kingpin/metaconfig"
	"github.com/kingpinfs/kingpin/serverset"
	"github.com/kingpinfs/kingpin/store"
)

// discoveryPath is the parent of all services; see docs/wire-format.md.
const discoveryPath = "/discovery"

// discovered is a serverset of the fleet.
type discovered struct {
	name, service, environment, path string
}

// discoverServersets returns the serversets of all services, in the order of
// their znodes. What can't have a file is left out: nobody can be given it.
func discoverServersets(ctx context.Context, znodes store.Znodes) ([]discovered, error) {
	pairs, err := grandchildren(ctx, znodes, discoveryPath)
	if err != nil {
		return nil, fmt.Errorf("listing serversets: %w", err)
	}
	var found []discovered
	for _, pair := range pairs {
		service, environment := pair[0], pair[1]
		path := discoveryPath + "/" + service + "/" + environment
		if name, err := metaconfig.FileOf(path); err == nil {
			found = append(found, discovered{name, service, environment, path})
		}
	}
	return found, nil
}

// serversetNames are the names of the serversets' files.
func serversetNames(ctx context.Context, f *fleet) ([]string, error) {
	found, err := discoverServersets(ctx, f.znodes)
	names := make([]string, len(found))
	for i, s := range found {
		names[i] = s.name
	}
	return names, err
}

// findServerset returns the znode whose file has a name: by the rule of names,
// or, because that can't tell dots of a service's name from others, by looking
// at all. It is the first even if there is none.
func findServerset(ctx context.Context, znodes store.Znodes, name string) (string, error) {
	byRule, err := metaconfig.ZKPathOf(name)
	if err != nil {
		return "", err
	}
	_, _, err = znodes.Get(ctx, byRule)
	if !errors.Is(err, store.NotFound) {
		return byRule, err
	}
	found, err := discoverServersets(ctx, znodes)
	if err != nil {
		return "", err
	}
	for _, s := range found {
		if s.name == name {
			return s.path, nil
		}
	}
	return byRule, nil
}

// member is an endpoint that somebody has registered, or tried to.
type member struct {
	endpoint string // "" if the name gives none
	znode    string // its name
	stat     store.Stat
	err      error // why there is no endpoint
}

// since is when it was registered, by ZooKeeper's clock.
func (m *member) since() time.Time { return m.stat.Ctime }

// readMembers returns who is registered in a serverset, sorted by endpoint, the
// oldest first of those with the same.
func readMembers(ctx context.Context, znodes store.Znodes, path string) ([]member, error) {
	names, _, err := znodes.Children(ctx, path)
	if err != nil {
		return nil, err
	}
	found := make([][]member, len(names))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(listConcurrency)
	for i, name := range names {
		group.Go(func() error {
			_, stat, err := znodes.Get(ctx, path+"/"+name)
			if errors.Is(err, store.NotFound) {
				return nil // it has left since
			}
			found[i] = membersOf(name, stat)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	members := slices.Concat(found...)
	slices.SortStableFunc(members, func(a, b member) int {
		return cmp.Or(cmp.Compare(a.endpoint, b.endpoint), a.since().Compare(b.since()))
	})
	return members, nil
}

// membersOf returns what a member's znode stands for: one endpoint, or, in old
// data, several.
func membersOf(znode string, stat store.Stat) []member {
	endpoints, err := serverset.ParseMember(znode)
	if err != nil {
		return []member{{znode: znode, stat: stat, err: err}}
	}
	members := make([]member, len(endpoints))
	for i, endpoint := range endpoints {
		members[i] = member{endpoint: endpoint, znode: znode, stat: stat}
	}
	return members
}
