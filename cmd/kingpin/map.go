package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/kingpinfs/kingpin/managed"
	"github.com/kingpinfs/kingpin/store"
)

func (a *app) newMapCommand() *cobra.Command {
	var options fleetOptions
	cmd := newGroupCommand("map", "Read and change maps",
		`Read and change managed maps: configs that hold values by the names of fields,
as {"burst": 10, "name": "x"}. Programs find it in
/var/config/config.manageddata.DOMAIN.KEY.

Two who change different fields at the same time both succeed. A change that
changes nothing publishes nothing.`,
		`  kingpin map show spam.limits
  kingpin map set spam.limits burst 10 --comment 'twice as much'`)
	cmd.GroupID = groupValues
	options.addCommandFlags(cmd.PersistentFlags())
	cmd.AddCommand(
		a.newMapShowCommand(&options),
		a.newMapGetCommand(&options),
		a.newMapSetCommand(&options),
		a.newMapUnsetCommand(&options),
		a.newMapClearCommand(&options),
	)
	return cmd
}

func (a *app) newMapShowCommand(options *fleetOptions) *cobra.Command {
	var output outputFormat
	cmd := &cobra.Command{
		Use:     "show DOMAIN.KEY",
		Short:   "Print all fields of a map",
		Long:    "Print all fields of a map and their values, in JSON, as the fleet has them now.",
		Example: "  kingpin map show spam.limits\n  kingpin map show spam.limits --output json",
		Args:    cobra.ExactArgs(1),
		RunE: a.runE(func(ctx context.Context, _ *cobra.Command, args []string) error {
			return a.withMap(ctx, options, args[0], func(view *managed.MapView) error {
				if output == outputJSON {
					fields := make(map[string]json.RawMessage, view.Len())
					for name := range view.Names() {
						fields[name] = view.JSON(name)
					}
					return printJSON(a.stdout, fields)
				}
				var rows [][]string
				for name := range view.Names() {
					rows = append(rows, []string{name, string(view.JSON(name))})
				}
				return printTable(a.stdout, []string{"FIELD", "VALUE"}, rows)
			})
		}),
		ValidArgsFunction: completeFirst(a.completeManaged(options)),
	}
	output.addFlag(cmd.Flags())
	return cmd
}

func (a *app) newMapGetCommand(options *fleetOptions) *cobra.Command {
	var output outputFormat
	cmd := &cobra.Command{
		Use:   "get DOMAIN.KEY FIELD",
		Short: "Print the value of a field",
		Long: `Print the value of a field: a text as it is, anything else, or with --output
json, in JSON.`,
		Example: "  kingpin map get spam.limits burst",
		Args:    cobra.ExactArgs(2),
		RunE: a.runE(func(ctx context.Context, _ *cobra.Command, args []string) error {
			return a.withMap(ctx, options, args[0], func(view *managed.MapView) error {
				text, found := view.Text(args[1])
				if !found {
					return noField(args[0], args[1], "map")
				}
				if output == outputJSON {
					text = string(view.JSON(args[1]))
				}
				_, err := fmt.Fprintln(a.stdout, text)
				return err
			})
		}),
		ValidArgsFunction: completeFirst(a.completeManaged(options)),
	}
	output.addFlag(cmd.Flags())
	return cmd
}

// noField is the error of a field that isn't there.
func noField(name, field, command string) error {
	return &store.Error{Op: "looking up field", Subject: field, Kind: store.NotFound,
		Err: fmt.Errorf("`kingpin %s show %s` lists the fields that there are", command, name)}
}

// withMap calls f with a map as the fleet has it now.
func (a *app) withMap(ctx context.Context, options *fleetOptions, name string, f func(*managed.MapView) error) error {
	domain, key, _, err := parseManagedName(name)
	if err != nil {
		return err
	}
	return a.withFleet(ctx, options, func(ctx context.Context, fleet *fleet) error {
		view, _, err := managed.NewMap(domain, key, managed.Options{Client: fleet.configs()}).Fetch(ctx)
		if err != nil {
			return err
		}
		return f(view)
	})
}

func (a *app) newMapSetCommand(options *fleetOptions) *cobra.Command {
	var o changeOptions
	var text bool
	cmd := &cobra.Command{
		Use:   "set DOMAIN.KEY FIELD VALUE",
		Short: "Set a field of a map",
		Long: `Set a field of a map. All others stay as they are.

VALUE is taken as JSON if it is JSON, such as 10, 0.5, true, null, ["a"] or
"10", and else as a text. With --text it is a text in any case.` + changeHelp,
		Example: `  kingpin map set spam.limits burst 10
  kingpin map set spam.limits owner 'the spam team' --comment 'so that they are asked'
  kingpin map set spam.zip_codes home 01234 --text`,
		Args: cobra.ExactArgs(3),
		RunE: a.runE(func(ctx context.Context, _ *cobra.Command, args []string) error {
			var value any = args[2]
			if raw := []byte(args[2]); !text && json.Valid(raw) {
				value = json.RawMessage(raw)
			}
			return a.changeMap(ctx, options, &o, args[0], func(ctx context.Context, m *managed.Map, w store.Write) (store.Value, error) {
				return m.Set(ctx, w, args[1], value)
			})
		}),
		ValidArgsFunction: completeFirst(a.completeManaged(options)),
	}
	o.addFlags(cmd.Flags())
	cmd.Flags().BoolVar(&text, "text", false, "take VALUE as a text, even if it is JSON")
	return cmd
}

func (a *app) newMapUnsetCommand(options *fleetOptions) *cobra.Command {
	var o changeOptions
	cmd := &cobra.Command{
		Use:     "unset DOMAIN.KEY FIELD...",
		Short:   "Take fields out of a map",
		Long:    "Take fields out of a map. All others stay as they are." + changeHelp,
		Example: "  kingpin map unset spam.limits burst",
		Args:    cobra.MinimumNArgs(2),
		RunE: a.runE(func(ctx context.Context, _ *cobra.Command, args []string) error {
			return a.changeMap(ctx, options, &o, args[0], func(ctx context.Context, m *managed.Map, w store.Write) (store.Value, error) {
				return m.Unset(ctx, w, args[1:]...)
			})
		}),
		ValidArgsFunction: completeFirst(a.completeManaged(options)),
	}
	o.addFlags(cmd.Flags())
	return cmd
}

func (a *app) newMapClearCommand(options *fleetOptions) *cobra.Command {
	var o changeOptions
	cmd := &cobra.Command{
		Use:     "clear DOMAIN.KEY",
		Short:   "Take all fields out of a map",
		Long:    "Take all fields out of a map. The map stays, as an empty one." + changeHelp,
		Example: "  kingpin map clear spam.limits",
		Args:    cobra.ExactArgs(1),
		RunE: a.runE(func(ctx context.Context, _ *cobra.Command, args []string) error {
			return a.changeMap(ctx, options, &o, args[0], func(ctx context.Context, m *managed.Map, w store.Write) (store.Value, error) {
				return m.Clear(ctx, w)
			})
		}),
		ValidArgsFunction: completeFirst(a.completeManaged(options)),
	}
	o.addFlags(cmd.Flags())
	return cmd
}

func (a *app) changeMap(ctx context.Context, options *fleetOptions, o *changeOptions, name string,
	do func(context.Context, *managed.Map, store.Write) (store.Value, error)) error {
	domain, key, file, err := parseManagedName(name)
	if err != nil {
		return err
	}
	return a.changeValue(ctx, options, o, file, func(ctx context.Context, client *managed.Client, w store.Write) (store.Value, error) {
		return do(ctx, managed.NewMap(domain, key, managed.Options{Client: client}), w)
	})
}

// printLines prints one text a line, each so that it stays on it.
func (a *app) printLines(texts []string, output outputFormat) error {
	if output == outputJSON {
		return printJSON(a.stdout, append([]string{}, texts...))
	}
	return a.printNames(slices.Collect(func(yield func(string) bool) {
		for _, text := range texts {
			if !yield(lineText(text)) {
				return
			}
		}
	}), outputTable)
}
