package main

import (
	"context"

	"github.com/spf13/cobra"
)

func (a *app) newDependencyListCommand(options *fleetOptions) *cobra.Command {
	var output outputFormat
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the names of all dependencies",
		Long:    "List the names of all dependencies, one a line.",
		Example: "  kingpin dependency list\n  kingpin dependency list --output json",
		Args:    noArgs,
		RunE: a.runE(func(ctx context.Context, _ *cobra.Command, _ []string) error {
			return a.withZooKeeper(ctx, options, func(ctx context.Context, f *fleet) error {
				names, err := f.metaconfigs().ListDependencies(ctx)
				if err != nil {
					return err
				}
				return a.printNames(names, output)
			})
		}),
	}
	output.addFlag(cmd.Flags())
	return cmd
}
