package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kingpinfs/kingpin/metaconfig"
	"github.com/kingpinfs/kingpin/store"
)

func (a *app) newConfigCommand() *cobra.Command {
	var options fleetOptions
	cmd := newGroupCommand("config", "Read and write configs",
		`Read and write configs: values whose contents are kept in S3, version by
version, and whose current version is named in ZooKeeper.

NAME is a file name in /var/config, such as config.manageddata.spam.grey_list.`,
		`  kingpin config list
  kingpin config get config.manageddata.spam.grey_list
  kingpin config put config.manageddata.spam.grey_list list.json`)
	cmd.GroupID = groupValues
	options.addFlags(cmd.PersistentFlags())
	cmd.AddCommand(
		a.newConfigListCommand(&options),
		a.newConfigGetCommand(&options),
		a.newConfigPutCommand(&options),
		a.newConfigHistoryCommand(&options),
		a.newConfigWatchCommand(),
	)
	return cmd
}

// configPrefix begins the name of every file in /var/config; see "Files" in
// docs/wire-format.md.
const configPrefix = "config."

// checkConfigName refuses, as wrong usage, what can't be the name of a config.
func checkConfigName(name string) error {
	if !strings.HasPrefix(name, configPrefix) {
		return usagef("%q is not the name of a config: it must begin with %q, as in config.manageddata.DOMAIN.KEY", name, configPrefix)
	}
	if _, err := metaconfig.ZKPathOf(name); err != nil {
		return usagef("%q is not the name of a config: %w", name, err)
	}
	return nil
}

// resolveConfig finds the value behind a file name: the one that its
// metaconfig names or, where it has none, the one that the name itself says.
func resolveConfig(ctx context.Context, f *fleet, name string) (store.Ref, error) {
	path, err := metaconfig.ZKPathOf(name)
	if err != nil {
		return store.Ref{}, err
	}
	ref := store.Ref{Path: path}
	found, err := f.metaconfigs().Get(ctx, name)
	switch {
	case store.KindOf(err) == store.NotFound:
		return ref, nil
	case err != nil:
		return store.Ref{}, err
	}
	for _, sub := range found.Subscriptions {
		if sub.File != name || sub.Type != metaconfig.Config {
			continue
		}
		if sub.KeyPrefix == "" {
			return store.Ref{}, &store.Error{Op: "looking up config", Subject: name, Kind: store.Invalid,
				Err: fmt.Errorf("it has no versions: its metaconfig says that its content is the data of the znode %q itself, without --from-s3", sub.ZKPath)}
		}
		return store.Ref{Path: sub.ZKPath, Prefix: sub.KeyPrefix}, nil
	}
	return ref, nil
}

// explainMissing adds to the error of a config whose znode isn't there how to
// make it.
func explainMissing(err error, name string, ref store.Ref) error {
	cause, ok := errors.AsType[*store.Error](err)
	if !ok || cause.Kind != store.NotFound || cause.Subject != ref.Path {
		return err
	}
	domain, key, ok := strings.Cut(strings.TrimPrefix(ref.Path, managedDataPath+"/"), "/")
	if !ok || strings.Contains(key, "/") || !strings.HasPrefix(ref.Path, managedDataPath+"/") {
		return fmt.Errorf("there is no config %q: %w", name, err)
	}
	return fmt.Errorf("there is no config %q: `kingpin metaconfig create-config %s %s` creates it: %w", name, domain, key, err)
}
