package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
)

func (a *app) newDependencyCreateCommand(options *fleetOptions) *cobra.Command {
	return &cobra.Command{
		Use:     "create NAME.dep",
		Short:   "Create a dependency without members",
		Long:    "Create a dependency without members. One that is there already is left as it is.",
		Example: "  kingpin dependency create web.dep",
		Args:    cobra.ExactArgs(1),
		RunE: a.runE(func(ctx context.Context, _ *cobra.Command, args []string) error {
			return a.withZooKeeper(ctx, options, func(ctx context.Context, f *fleet) error {
				created, err := f.metaconfigs().CreateDependency(ctx, args[0])
				if err == nil && !created {
					fmt.Fprintf(a.stderr, "kingpin: dependency %q is there already\n", args[0])
				}
				return err
			})
		}),
	}
}
