package main

import (
	"context"
	"slices"

	"github.com/spf13/cobra"

	"github.com/kingpinfs/kingpin/managed"
	"github.com/kingpinfs/kingpin/store"
)

func (a *app) newListCommand() *cobra.Command {
	var options fleetOptions
	cmd := newGroupCommand("list", "Read and change lists",
		`Read and change managed lists: configs that hold a list of texts, as
["10.0.0.7", "10.0.0.8"]. Programs find it in
/var/config/config.manageddata.DOMAIN.KEY.

Two who change a list at the same time both succeed. A change that changes
nothing publishes nothing.`,
		`  kingpin list show spam.grey_list
  kingpin list add spam.grey_list 10.0.0.7 10.0.0.8 --comment 'seen in the logs'`)
	cmd.GroupID = groupValues
	options.addCommandFlags(cmd.PersistentFlags())
	cmd.AddCommand(
		a.newListShowCommand(&options),
		a.newListChange(&options, listChange{
			use:   "add DOMAIN.KEY [VALUE...]",
			short: "Append values to a list",
			long:  "Append those values to a list that it doesn't have.",
			example: `  kingpin list add spam.grey_list 10.0.0.7
  kingpin list add spam.grey_list 10.0.0.7 10.0.0.8 --comment 'seen in the logs' --wait
  kingpin list add spam.grey_list --from addresses.txt`,
			values: true,
			do:     (*managed.List).Add,
		}),
		a.newListChange(&options, listChange{
			use:     "remove DOMAIN.KEY [VALUE...]",
			short:   "Take values out of a list",
			long:    "Take values out of a list, wherever in it they are.",
			example: `  kingpin list remove spam.grey_list 10.0.0.7`,
			values:  true,
			do:      (*managed.List).Remove,
		}),
		a.newListChange(&options, listChange{
			use:     "set DOMAIN.KEY [VALUE...]",
			short:   "Replace all values of a list",
			long:    "Make these the values of a list, in this order, and no others.",
			example: `  kingpin list set spam.grey_list 10.0.0.7 10.0.0.8`,
			values:  true,
			do:      (*managed.List).Set,
		}),
		a.newListChange(&options, listChange{
			use:     "clear DOMAIN.KEY",
			short:   "Take all values out of a list",
			long:    "Take all values out of a list. The list stays, as an empty one.",
			example: `  kingpin list clear spam.grey_list --comment 'a new start'`,
			do:      (*managed.List).Set,
		}),
	)
	return cmd
}

// listChange is a command that changes a list.
type listChange struct {
	use, short, long, example string

	values bool // it takes some
	do     func(l *managed.List, ctx context.Context, w store.Write, items ...string) (store.Value, error)
}

func (a *app) newListChange(options *fleetOptions, c listChange) *cobra.Command {
	var o changeOptions
	var from valuesFlag
	args := cobra.ExactArgs(1)
	if c.values {
		args = cobra.MinimumNArgs(1)
	}
	cmd := &cobra.Command{
		Use:     c.use,
		Short:   c.short,
		Long:    c.long + changeHelp,
		Example: c.example,
		Args:    args,
		RunE: a.runE(func(ctx context.Context, _ *cobra.Command, args []string) error {
			domain, key, file, err := parseManagedName(args[0])
			if err != nil {
				return err
			}
			var values []string
			if c.values {
				if values, err = from.values(a, args[1:]); err != nil {
					return err
				}
			}
			return a.changeValue(ctx, options, &o, file, func(ctx context.Context, client *managed.Client, w store.Write) (store.Value, error) {
				return c.do(managed.NewList(domain, key, managed.Options{Client: client}), ctx, w, values...)
			})
		}),
		ValidArgsFunction: completeFirst(a.completeManaged(options)),
	}
	o.addFlags(cmd.Flags())
	if c.values {
		from.addFlag(cmd.Flags())
	}
	return cmd
}

// changeHelp ends the descriptions of commands that change a value.
const changeHelp = `

It prints the version that counts then. With --expect-version it is refused
(exit code 3) unless that one counted before. With --wait it returns when this
machine's monitor serves the new one.`

func (a *app) newListShowCommand(options *fleetOptions) *cobra.Command {
	var output outputFormat
	cmd := &cobra.Command{
		Use:   "show DOMAIN.KEY",
		Short: "Print the values of a list",
		Long: `Print the values of a list, one a line, as the fleet has them now. One with
control characters in it is printed as JSON.`,
		Example: `  kingpin list show spam.grey_list
  kingpin list show spam.grey_list --output json`,
		Args: cobra.ExactArgs(1),
		RunE: a.runE(func(ctx context.Context, _ *cobra.Command, args []string) error {
			domain, key, _, err := parseManagedName(args[0])
			if err != nil {
				return err
			}
			return a.withFleet(ctx, options, func(ctx context.Context, f *fleet) error {
				view, _, err := managed.NewList(domain, key, managed.Options{Client: f.configs()}).Fetch(ctx)
				if err != nil {
					return err
				}
				return a.printLines(slices.Collect(view.All()), output)
			})
		}),
		ValidArgsFunction: completeFirst(a.completeManaged(options)),
	}
	output.addFlag(cmd.Flags())
	return cmd
}
