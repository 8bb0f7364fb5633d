package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/kingpinfs/kingpin/managed"
	"github.com/kingpinfs/kingpin/store"
)

func (a *app) newConfigRollbackCommand(options *fleetOptions) *cobra.Command {
	var o changeOptions
	var noCheck bool
	cmd := &cobra.Command{
		Use:   "rollback NAME VERSION",
		Short: "Publish an old version's content again",
		Long: `Publish the content of an old version as a new version, and print that. The
history tells which one it was. The old content is checked as any other, because
the rules may be others now; with --no-check it isn't.` + changeHelp,
		Example: `  kingpin config history config.manageddata.spam.grey_list
  kingpin config rollback config.manageddata.spam.grey_list 1448012345.67 --comment 'too many were blocked'`,
		Args: cobra.ExactArgs(2),
		RunE: a.runE(func(ctx context.Context, _ *cobra.Command, args []string) error {
			name := args[0]
			if err := checkConfigName(name); err != nil {
				return err
			}
			version, err := store.ParseVersion(args[1])
			if err != nil {
				return usagef("VERSION: %w", err)
			}
			return a.changeValue(ctx, options, &o, name, func(ctx context.Context, client *managed.Client, w store.Write) (store.Value, error) {
				return rollBack(ctx, client, name, version, w, noCheck)
			})
		}),
		ValidArgsFunction: completeFirst(a.completeConfigs(options)),
	}
	o.addFlags(cmd.Flags())
	cmd.Flags().BoolVar(&noCheck, "no-check", false, "publish the content whatever it is")
	return cmd
}

func rollBack(ctx context.Context, client *managed.Client, name string, version store.Version, w store.Write, noCheck bool) (store.Value, error) {
	old, err := client.GetVersion(ctx, name, version)
	if err != nil {
		return store.Value{}, err
	}
	if current, err := client.Version(ctx, name); err == nil && current == version {
		return store.Value{}, &store.Error{Op: "rolling back", Subject: name, Kind: store.Invalid,
			Err: errors.New("version " + string(version) + " is the current one")}
	}
	note := "roll back to " + string(version)
	if w.Comment != "" {
		note += ": " + w.Comment
	}
	w.Comment = note
	if noCheck {
		return client.PutUnchecked(ctx, name, old.Content, w)
	}
	return client.Put(ctx, name, old.Content, w)
}
