package main

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kingpinfs/kingpin/managed"
	"github.com/kingpinfs/kingpin/store"
)

func (a *app) newMappedListCommand() *cobra.Command {
	var options fleetOptions
	cmd := newGroupCommand("mapped-list", "Read and change mapped lists",
		`Read and change managed mapped lists: configs that hold lists of texts by the
names of fields, as {"web": ["a", "b"], "db": ["c"]}. Programs find it in
/var/config/config.manageddata.DOMAIN.KEY.

Two who change one at the same time both succeed. A change that changes nothing
publishes nothing.`,
		`  kingpin mapped-list show spam.hosts
  kingpin mapped-list add spam.hosts web 10.0.0.7 --comment 'a new one'`)
	cmd.GroupID = groupValues
	options.addCommandFlags(cmd.PersistentFlags())
	cmd.AddCommand(
		a.newMappedListShowCommand(&options),
		a.newMappedListChange(&options, mappedListChange{
			use:     "add DOMAIN.KEY FIELD VALUE...",
			short:   "Append values to the list of a field",
			long:    "Append those values to the list of a field that it doesn't have. A field that\nisn't there is made.",
			example: "  kingpin mapped-list add spam.hosts web 10.0.0.7 10.0.0.8",
			args:    cobra.MinimumNArgs(3),
			do:      (*managed.MappedList).Add,
		}),
		a.newMappedListChange(&options, mappedListChange{
			use:     "remove DOMAIN.KEY FIELD VALUE...",
			short:   "Take values out of the list of a field",
			long:    "Take values out of the list of a field. The field stays, perhaps with an empty\nlist.",
			example: "  kingpin mapped-list remove spam.hosts web 10.0.0.7",
			args:    cobra.MinimumNArgs(3),
			do:      (*managed.MappedList).Remove,
		}),
		a.newMappedListChange(&options, mappedListChange{
			use:     "set DOMAIN.KEY FIELD [VALUE...]",
			short:   "Replace the list of a field",
			long:    "Make these the values of a field, in this order, and no others.",
			example: "  kingpin mapped-list set spam.hosts web 10.0.0.7 10.0.0.8",
			args:    cobra.MinimumNArgs(2),
			do:      (*managed.MappedList).Set,
		}),
		a.newMappedListChange(&options, mappedListChange{
			use:     "unset DOMAIN.KEY FIELD...",
			short:   "Take fields and their lists out",
			long:    "Take fields and their lists out. All others stay as they are.",
			example: "  kingpin mapped-list unset spam.hosts web",
			args:    cobra.MinimumNArgs(2),
			do: func(m *managed.MappedList, ctx context.Context, w store.Write, name string, names ...string) (store.Value, error) {
				return m.Unset(ctx, w, append([]string{name}, names...)...)
			},
		}),
	)
	return cmd
}

// mappedListChange is a command that changes a mapped list.
type mappedListChange struct {
	use, short, long, example string

	args cobra.PositionalArgs
	do   func(m *managed.MappedList, ctx context.Context, w store.Write, name string, items ...string) (store.Value, error)
}

func (a *app) newMappedListChange(options *fleetOptions, c mappedListChange) *cobra.Command {
	var o changeOptions
	cmd := &cobra.Command{
		Use:     c.use,
		Short:   c.short,
		Long:    c.long + changeHelp,
		Example: c.example,
		Args:    c.args,
		RunE: a.runE(func(ctx context.Context, _ *cobra.Command, args []string) error {
			domain, key, file, err := parseManagedName(args[0])
			if err != nil {
				return err
			}
			return a.changeValue(ctx, options, &o, file, func(ctx context.Context, client *managed.Client, w store.Write) (store.Value, error) {
				return c.do(managed.NewMappedList(domain, key, managed.Options{Client: client}), ctx, w, args[1], args[2:]...)
			})
		}),
		ValidArgsFunction: completeFirst(a.completeManaged(options)),
	}
	o.addFlags(cmd.Flags())
	return cmd
}

func (a *app) newMappedListShowCommand(options *fleetOptions) *cobra.Command {
	var output outputFormat
	cmd := &cobra.Command{
		Use:   "show DOMAIN.KEY [FIELD]",
		Short: "Print the fields of a mapped list, or the list of one",
		Long: `Print the fields of a mapped list and their lists, as the fleet has them now.
With FIELD print the values of that one, one a line; one with control characters
in it is printed as JSON.`,
		Example: `  kingpin mapped-list show spam.hosts
  kingpin mapped-list show spam.hosts web --output json`,
		Args: cobra.RangeArgs(1, 2),
		RunE: a.runE(func(ctx context.Context, _ *cobra.Command, args []string) error {
			domain, key, _, err := parseManagedName(args[0])
			if err != nil {
				return err
			}
			return a.withFleet(ctx, options, func(ctx context.Context, f *fleet) error {
				view, _, err := managed.NewMappedList(domain, key, managed.Options{Client: f.configs()}).Fetch(ctx)
				switch {
				case err != nil:
					return err
				case len(args) == 1:
					return a.printMappedList(view, output)
				case !view.Has(args[1]):
					return noField(args[0], args[1], "mapped-list")
				}
				return a.printLines(slices.Collect(view.List(args[1]).All()), output)
			})
		}),
		ValidArgsFunction: completeFirst(a.completeManaged(options)),
	}
	output.addFlag(cmd.Flags())
	return cmd
}

func (a *app) printMappedList(view *managed.MappedListView, output outputFormat) error {
	fields := make(map[string][]string, view.Len())
	var rows [][]string
	for name := range view.Names() {
		items := append([]string{}, slices.Collect(view.List(name).All())...)
		fields[name] = items
		rows = append(rows, []string{name, strings.Join(items, ", ")})
	}
	if output == outputJSON {
		return printJSON(a.stdout, fields)
	}
	return printTable(a.stdout, []string{"FIELD", "VALUES"}, rows)
}
