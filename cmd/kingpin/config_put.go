package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/kingpinfs/kingpin/managed"
	"github.com/kingpinfs/kingpin/store"
)

// putOptions are the flags of `kingpin config put`.
type putOptions struct {
	change  writeOptions
	wait    waitOptions
	output  outputFormat
	noCheck bool
}

func (a *app) newConfigPutCommand(options *fleetOptions) *cobra.Command {
	var put putOptions
	cmd := &cobra.Command{
		Use:   "put NAME [FILE|-]",
		Short: "Publish a new version of a config",
		Long: `Publish the content of FILE, or of standard input, as a new version of a config,
and print the version. It counts everywhere once the command returns; machines
have it moments later. With --wait the command returns when this machine's
monitor serves it.

The content is checked first: by the config's schema, if it has one (see
"kingpin config schema"), and by its name, which says JSON if it ends so. The
deciders must be deciders. With --no-check it is published as it is.

With --expect-version the write is refused (exit code 3) unless that version is
the current one: read a config, note its version, change it, and nobody's
change in between is lost. For a config that has no content yet, expect ''.`,
		Example: `  kingpin config put config.manageddata.spam.grey_list list.json --comment 'add 10.0.0.7'
  generate | kingpin config put config.manageddata.spam.grey_list -
  kingpin config put config.manageddata.spam.grey_list list.json --expect-version 1448012345.67 --wait`,
		Args: cobra.RangeArgs(1, 2),
		RunE: a.runE(func(ctx context.Context, _ *cobra.Command, args []string) error {
			file := ""
			if len(args) == 2 {
				file = args[1]
			}
			return a.putConfig(ctx, options, args[0], file, put)
		}),
		ValidArgsFunction: completeFirst(a.completeConfigs(options)),
	}
	flags := cmd.Flags()
	put.change.addFlags(flags)
	put.wait.addFlags(flags)
	put.output.addFlag(flags)
	flags.BoolVar(&put.noCheck, "no-check", false, "publish the content whatever it is")
	return cmd
}

func (a *app) putConfig(ctx context.Context, options *fleetOptions, name, file string, put putOptions) error {
	if err := checkConfigName(name); err != nil {
		return err
	}
	write, err := put.change.write()
	if err != nil {
		return err
	}
	content, err := a.readContent(file)
	if err != nil {
		return err
	}
	var value store.Value
	err = a.withFleet(ctx, options, func(ctx context.Context, f *fleet) error {
		publish := (*managed.Client).Put
		if put.noCheck {
			publish = (*managed.Client).PutUnchecked
		}
		value, err = publish(f.configs(), ctx, name, content, write)
		return err
	})
	if err != nil {
		return err
	}
	if err := a.printVersion(name, value.Version, put.output); err != nil {
		return err
	}
	return a.waitServed(ctx, put.wait, name, value.Version)
}
