package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/kingpinfs/kingpin/managed"
	"github.com/kingpinfs/kingpin/store"
)

func (a *app) newDeciderCommand() *cobra.Command {
	var options fleetOptions
	cmd := newGroupCommand("decider", "Read and set deciders",
		`Read and set deciders: numbers from 0 (never) to 100 (always) by which programs
decide for a share of all cases. Each is a file, /var/config/decider/NAME; all
of them together are the map admin.decider.

Two who set different deciders at the same time both succeed.`,
		`  kingpin decider list
  kingpin decider set new_feed 50 --comment 'half of all users'`)
	cmd.GroupID = groupValues
	options.addCommandFlags(cmd.PersistentFlags())
	cmd.AddCommand(
		a.newDeciderListCommand(&options),
		a.newDeciderGetCommand(&options),
		a.newDeciderSetCommand(&options),
		a.newDeciderUnsetCommand(&options),
		a.newDeciderCheckCommand(&options),
	)
	return cmd
}

// withDeciders calls f with all deciders as the fleet has them now.
func (a *app) withDeciders(ctx context.Context, options *fleetOptions, f func(*managed.DeciderView) error) error {
	return a.withFleet(ctx, options, func(ctx context.Context, fleet *fleet) error {
		deciders := managed.NewDecider(managed.Options{Client: fleet.configs()})
		view, value, err := deciders.Fetch(ctx)
		if err != nil {
			return err
		}
		if _, bad, err := managed.ParseDecider(value.Content); err == nil {
			for _, one := range bad {
				fmt.Fprintf(a.stderr, "kingpin: warning: no decider is %v\n", one)
			}
		}
		return f(view)
	})
}

// shownDecider is a line of `kingpin decider list`.
type shownDecider struct {
	Name  string `json:"name"`
	Value int    `json:"value"`
}

func (a *app) newDeciderListCommand(options *fleetOptions) *cobra.Command {
	var output outputFormat
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "Print all deciders",
		Long:    "Print all deciders and their values, as the fleet has them now.",
		Example: "  kingpin decider list\n  kingpin decider list --output json",
		Args:    noArgs,
		RunE: a.runE(func(ctx context.Context, _ *cobra.Command, _ []string) error {
			return a.withDeciders(ctx, options, func(view *managed.DeciderView) error {
				deciders := []shownDecider{}
				var rows [][]string
				for _, name := range view.Names() {
					value, _ := view.Value(name)
					deciders = append(deciders, shownDecider{name, value})
					rows = append(rows, []string{name, strconv.Itoa(value)})
				}
				if output == outputJSON {
					return printJSON(a.stdout, deciders)
				}
				return printTable(a.stdout, []string{"NAME", "VALUE"}, rows)
			})
		}),
	}
	output.addFlag(cmd.Flags())
	return cmd
}

func (a *app) newDeciderGetCommand(options *fleetOptions) *cobra.Command {
	var output outputFormat
	cmd := &cobra.Command{
		Use:     "get NAME",
		Short:   "Print the value of a decider",
		Long:    "Print the value of a decider, as the fleet has it now.",
		Example: "  kingpin decider get new_feed",
		Args:    cobra.ExactArgs(1),
		RunE: a.runE(func(ctx context.Context, _ *cobra.Command, args []string) error {
			return a.withDeciders(ctx, options, func(view *managed.DeciderView) error {
				value, found := view.Value(args[0])
				if !found {
					return noDecider(args[0])
				}
				if output == outputJSON {
					return printJSON(a.stdout, shownDecider{args[0], value})
				}
				_, err := fmt.Fprintln(a.stdout, value)
				return err
			})
		}),
		ValidArgsFunction: completeFirst(a.completeDeciders(options)),
	}
	output.addFlag(cmd.Flags())
	return cmd
}

func noDecider(name string) error {
	return &store.Error{Op: "looking up decider", Subject: name, Kind: store.NotFound,
		Err: errors.New("`kingpin decider list` prints those that there are; one that there isn't counts as 0")}
}

func (a *app) newDeciderSetCommand(options *fleetOptions) *cobra.Command {
	var o changeOptions
	cmd := &cobra.Command{
		Use:   "set NAME VALUE",
		Short: "Set a decider",
		Long: `Set a decider to a whole number from 0 to 100. One that isn't there is made; its
name is in lower case.` + changeHelp,
		Example: `  kingpin decider set new_feed 50
  kingpin decider set new_feed 100 --comment 'for everybody' --wait`,
		Args: cobra.ExactArgs(2),
		RunE: a.runE(func(ctx context.Context, _ *cobra.Command, args []string) error {
			value, err := strconv.Atoi(args[1])
			if err != nil {
				return &store.Error{Op: "setting decider", Subject: args[0], Kind: store.Invalid,
					Err: fmt.Errorf("the value %q is not a whole number from 0 to %d", args[1], managed.MaxDecider)}
			}
			return a.changeDecider(ctx, options, &o, func(ctx context.Context, d *managed.Decider, w store.Write) (store.Value, error) {
				return d.Set(ctx, w, args[0], value)
			})
		}),
		ValidArgsFunction: completeFirst(a.completeDeciders(options)),
	}
	o.addFlags(cmd.Flags())
	return cmd
}

func (a *app) newDeciderUnsetCommand(options *fleetOptions) *cobra.Command {
	var o changeOptions
	cmd := &cobra.Command{
		Use:     "unset NAME...",
		Short:   "Take deciders away",
		Long:    "Take deciders away. Programs that ask for one find 0: never." + changeHelp,
		Example: "  kingpin decider unset new_feed --comment 'it has been in for months'",
		Args:    cobra.MinimumNArgs(1),
		RunE: a.runE(func(ctx context.Context, _ *cobra.Command, args []string) error {
			return a.changeDecider(ctx, options, &o, func(ctx context.Context, d *managed.Decider, w store.Write) (store.Value, error) {
				return d.Unset(ctx, w, args...)
			})
		}),
		ValidArgsFunction: a.completeDeciders(options),
	}
	o.addFlags(cmd.Flags())
	return cmd
}

func (a *app) changeDecider(ctx context.Context, options *fleetOptions, o *changeOptions,
	do func(context.Context, *managed.Decider, store.Write) (store.Value, error)) error {
	return a.changeValue(ctx, options, o, managed.DeciderFile, func(ctx context.Context, client *managed.Client, w store.Write) (store.Value, error) {
		return do(ctx, managed.NewDecider(managed.Options{Client: client}), w)
	})
}
