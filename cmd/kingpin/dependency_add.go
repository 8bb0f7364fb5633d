package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
)

func (a *app) newDependencyAddCommand(options *fleetOptions) *cobra.Command {
	return &cobra.Command{
		Use:   "add NAME.dep MEMBER…",
		Short: "Add metaconfigs or dependencies to a dependency",
		Long: `Add metaconfigs or other dependencies, which must exist, to a dependency. The
machines that have the dependency get the files at once. What is a member
already stays one.`,
		Example: `  kingpin dependency add web.dep config.manageddata.spam.grey_list discovery.search.prod
  kingpin dependency add web.dep common.dep`,
		Args: cobra.MinimumNArgs(2),
		RunE: a.runE(func(ctx context.Context, _ *cobra.Command, args []string) error {
			return a.withZooKeeper(ctx, options, func(ctx context.Context, f *fleet) error {
				for _, member := range args[1:] {
					added, err := f.metaconfigs().AddMember(ctx, args[0], member)
					if err != nil {
						return err
					}
					if !added {
						fmt.Fprintf(a.stderr, "kingpin: %q is a member of %q already\n", member, args[0])
					}
				}
				return nil
			})
		}),
	}
}
