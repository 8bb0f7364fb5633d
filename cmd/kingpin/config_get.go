package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/kingpinfs/kingpin/store"
)

func (a *app) newConfigGetCommand(options *fleetOptions) *cobra.Command {
	var version string
	var output outputFormat
	cmd := &cobra.Command{
		Use:   "get NAME",
		Short: "Print a config's content",
		Long: `Print a config's content, byte for byte and nothing else: the current one, or
with --version an older one. With --output json it comes with its version, which
a change can be made conditional on by --expect-version.

It is read from the fleet. What this machine serves is in /var/config.`,
		Example: `  kingpin config get config.manageddata.spam.grey_list > list.json
  kingpin config get config.manageddata.spam.grey_list --version 1448012345.67
  kingpin config get config.manageddata.spam.grey_list --output json`,
		Args: cobra.ExactArgs(1),
		RunE: a.runE(func(ctx context.Context, cmd *cobra.Command, args []string) error {
			if err := checkConfigName(args[0]); err != nil {
				return err
			}
			var wanted store.Version
			if cmd.Flags().Changed("version") {
				var err error
				if wanted, err = store.ParseVersion(version); err != nil {
					return usagef("--version: %w", err)
				}
			}
			return a.withFleet(ctx, options, func(ctx context.Context, f *fleet) error {
				value, err := getConfig(ctx, f, args[0], wanted)
				if err != nil {
					return err
				}
				if output == outputJSON {
					return printJSON(a.stdout, shownConfig(args[0], value))
				}
				_, err = a.stdout.Write(value.Content)
				return err
			})
		}),
		ValidArgsFunction: completeFirst(a.completeConfigs(options)),
	}
	cmd.Flags().StringVar(&version, "version", "", "the version to print, as in `kingpin config history NAME`")
	output.addFlag(cmd.Flags())
	return cmd
}

// configValue is what `kingpin config get` prints as JSON.
type configValue struct {
	Name    string        `json:"name"`
	Version store.Version `json:"version"`
	Author  string        `json:"author"`
	Comment string        `json:"comment"`

	printedContent
}

func shownConfig(name string, value store.Value) configValue {
	return configValue{name, value.Version, value.Author, value.Comment, printContent(value.Content)}
}

// getConfig reads the wanted version, or the one that counts for "".
func getConfig(ctx context.Context, f *fleet, name string, wanted store.Version) (store.Value, error) {
	client := f.configs()
	if wanted != "" {
		return client.GetVersion(ctx, name, wanted)
	}
	value, err := client.Get(ctx, name)
	if err == nil && value.Version == "" {
		err = fmt.Errorf("config %q has no content yet: `kingpin config put %s FILE` writes one", name, name)
	}
	return value, err
}
