package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
)

func (a *app) newMetaconfigRemoveCommand(options *fleetOptions) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "remove NAME",
		Short: "Remove a metaconfig",
		Long: `Remove a metaconfig, so that no machine makes its file any more. The config or
serverset that it names stays, and so do its own stored versions.

A metaconfig that is a member of a dependency is not removed (exit code 3),
unless --force takes it out of all of them first.`,
		Example: `  kingpin metaconfig remove discovery.search.prod
  kingpin metaconfig remove discovery.search.prod --force`,
		Args: cobra.ExactArgs(1),
		RunE: a.runE(func(ctx context.Context, _ *cobra.Command, args []string) error {
			return a.withZooKeeper(ctx, options, func(ctx context.Context, f *fleet) error {
				dependencies, err := f.metaconfigs().Remove(ctx, args[0], force)
				for _, dependency := range dependencies {
					fmt.Fprintf(a.stderr, "kingpin: took %q out of %q\n", args[0], dependency)
				}
				return err
			})
		}),
	}
	cmd.Flags().BoolVar(&force, "force", false, "take it out of the dependencies that it is a member of")
	return cmd
}
