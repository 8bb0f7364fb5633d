package main

import (
	"context"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kingpinfs/kingpin/managed"
)

// completionTimeout is how long a person who pressed Tab is made to wait.
const completionTimeout = 3 * time.Second

// completion is a function that completes a command's arguments.
type completion = cobra.CompletionFunc

// completeFirst completes the first argument alone.
func completeFirst(complete completion) completion {
	return func(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return complete(cmd, args, begun)
	}
}

// completeConfigs completes names of configs.
func (a *app) completeConfigs(options *fleetOptions) completion {
	return a.complete(options, (*app).withZooKeeper, configNames)
}

// completeManaged completes DOMAIN.KEY.
func (a *app) completeManaged(options *fleetOptions) completion {
	return a.complete(options, (*app).withZooKeeper, managedNames)
}

// completeDeciders completes names of deciders.
func (a *app) completeDeciders(options *fleetOptions) completion {
	return a.complete(options, (*app).withFleet, deciderNames)
}

// complete asks the fleet. What goes wrong is nothing to tell who is typing.
func (a *app) complete(options *fleetOptions,
	with func(*app, context.Context, *fleetOptions, func(context.Context, *fleet) error) error,
	list fleetNames) completion {
	return func(cmd *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
		if err := applyEnvironment(cmd.Flags(), os.Getenv); err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), completionTimeout)
		defer cancel()
		var found []string
		err := with(a, ctx, options, func(ctx context.Context, f *fleet) error {
			names, err := list(ctx, f)
			for _, name := range names {
				if strings.HasPrefix(name, begun) {
					found = append(found, name)
				}
			}
			return err
		})
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return found, cobra.ShellCompDirectiveNoFileComp
	}
}

// fleetNames finds names in the fleet.
type fleetNames func(context.Context, *fleet) ([]string, error)

// configNames are the names of the configs' files.
func configNames(ctx context.Context, f *fleet) ([]string, error) {
	paths, err := configPaths(ctx, f.znodes)
	names := make([]string, len(paths))
	for i, path := range paths {
		names[i] = strings.ReplaceAll(strings.TrimPrefix(path, "/"), "/", ".")
	}
	return names, err
}

// managedNames are DOMAIN.KEY of them.
func managedNames(ctx context.Context, f *fleet) ([]string, error) {
	names, err := configNames(ctx, f)
	for i, name := range names {
		names[i] = strings.TrimPrefix(name, "config.manageddata.")
	}
	return names, err
}

func deciderNames(ctx context.Context, f *fleet) ([]string, error) {
	view, _, err := managed.NewDecider(managed.Options{Client: f.configs()}).Fetch(ctx)
	return view.Names(), err
}

func dependencyNames(ctx context.Context, f *fleet) ([]string, error) {
	return f.metaconfigs().ListDependencies(ctx)
}

func metaconfigNames(ctx context.Context, f *fleet) ([]string, error) {
	return f.metaconfigs().List(ctx)
}
