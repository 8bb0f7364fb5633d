package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/kingpinfs/kingpin/metaconfig"
)

// setMetaconfigOptions are the flags of `kingpin metaconfig set`.
type setMetaconfigOptions struct {
	change     writeOptions
	allowShell bool
	output     outputFormat
}

func (a *app) newMetaconfigSetCommand(options *fleetOptions) *cobra.Command {
	var set setMetaconfigOptions
	cmd := &cobra.Command{
		Use:   "set NAME [FILE|-]",
		Short: "Publish a new version of a metaconfig",
		Long: `Publish the content of FILE, or of standard input, as a new version of a
metaconfig, and print the version. A metaconfig that isn't there is created.

The text is checked first: what a monitor couldn't use is refused, and so is a
command that does more than call the downloader, because the Python monitors of
a fleet run it in a shell, as root.`,
		Example: `  kingpin metaconfig show discovery.search.prod --raw > search.json
  kingpin metaconfig set discovery.search.prod search.json --comment 'at least 3 members'`,
		Args: cobra.RangeArgs(1, 2),
		RunE: a.runE(func(ctx context.Context, _ *cobra.Command, args []string) error {
			file := ""
			if len(args) == 2 {
				file = args[1]
			}
			return a.setMetaconfig(ctx, options, args[0], file, &set)
		}),
	}
	set.change.addFlags(cmd.Flags())
	set.output.addFlag(cmd.Flags())
	cmd.Flags().BoolVar(&set.allowShell, "allow-shell", false, "allow a command that Python's monitors would run as a shell program")
	return cmd
}

func (a *app) setMetaconfig(ctx context.Context, options *fleetOptions, name, file string, set *setMetaconfigOptions) error {
	write, err := set.change.write()
	if err != nil {
		return err
	}
	content, err := a.readContent(file)
	if err != nil {
		return err
	}
	return a.withFleet(ctx, options, func(ctx context.Context, f *fleet) error {
		m, err := f.metaconfigs().Set(ctx, name, content, metaconfig.SetOptions{Write: write, AllowShell: set.allowShell})
		for _, warning := range m.Warnings {
			fmt.Fprintf(a.stderr, "kingpin: warning: metaconfig %q: %s\n", name, warning)
		}
		if err != nil {
			return err
		}
		return a.printVersion(name, m.Value.Version, set.output)
	})
}
