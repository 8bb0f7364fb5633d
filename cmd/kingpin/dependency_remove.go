package main

import (
	"context"

	"github.com/spf13/cobra"
)

func (a *app) newDependencyRemoveCommand(options *fleetOptions) *cobra.Command {
	return &cobra.Command{
		Use:   "remove NAME.dep MEMBER…",
		Short: "Take members out of a dependency",
		Long: `Take metaconfigs or other dependencies out of a dependency. The machines that
have the dependency lose the files at once, unless they have them by another
way.`,
		Example: "  kingpin dependency remove web.dep config.manageddata.spam.grey_list",
		Args:    cobra.MinimumNArgs(2),
		RunE: a.runE(func(ctx context.Context, _ *cobra.Command, args []string) error {
			return a.withZooKeeper(ctx, options, func(ctx context.Context, f *fleet) error {
				for _, member := range args[1:] {
					if err := f.metaconfigs().RemoveMember(ctx, args[0], member); err != nil {
						return err
					}
				}
				return nil
			})
		}),
	}
}
