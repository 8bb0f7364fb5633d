package main

import (
	"context"

	"github.com/spf13/cobra"
)

func (a *app) newMetaconfigListCommand(options *fleetOptions) *cobra.Command {
	var output outputFormat
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the names of all metaconfigs",
		Long:    "List the names of all metaconfigs, one a line.",
		Example: "  kingpin metaconfig list\n  kingpin metaconfig list --output json",
		Args:    noArgs,
		RunE: a.runE(func(ctx context.Context, _ *cobra.Command, _ []string) error {
			return a.withZooKeeper(ctx, options, func(ctx context.Context, f *fleet) error {
				names, err := f.metaconfigs().List(ctx)
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
