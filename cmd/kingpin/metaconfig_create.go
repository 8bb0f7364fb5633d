package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/kingpinfs/kingpin/metaconfig"
	"github.com/kingpinfs/kingpin/store"
)

func (a *app) newMetaconfigCreateConfigCommand(options *fleetOptions) *cobra.Command {
	var output outputFormat
	cmd := &cobra.Command{
		Use:   "create-config DOMAIN KEY",
		Short: "Create a config, and the metaconfig that makes it a file",
		Long: `Create a config, without content, and the metaconfig that makes it the file
config.manageddata.DOMAIN.KEY. Print the metaconfig's name. What is there
already is left as it is.`,
		Example: `  kingpin metaconfig create-config spam grey_list
  kingpin metaconfig create-config spam grey_list --output json`,
		Args: cobra.ExactArgs(2),
		RunE: a.runE(func(ctx context.Context, _ *cobra.Command, args []string) error {
			return a.createMetaconfig(ctx, options, output, func(c *metaconfig.Client, w store.Write) (metaconfig.Created, error) {
				return c.CreateConfig(ctx, args[0], args[1], w)
			})
		}),
	}
	output.addFlag(cmd.Flags())
	return cmd
}

func (a *app) newMetaconfigCreateServersetCommand(options *fleetOptions) *cobra.Command {
	var output outputFormat
	cmd := &cobra.Command{
		Use:   "create-serverset SERVICE ENVIRONMENT",
		Short: "Create a serverset, and the metaconfig that makes it a file",
		Long: `Create a serverset, without members, and the metaconfig that makes it the file
discovery.SERVICE.ENVIRONMENT. Print the metaconfig's name. What is there
already is left as it is.`,
		Example: `  kingpin metaconfig create-serverset search prod
  kingpin metaconfig create-serverset search prod --output json`,
		Args: cobra.ExactArgs(2),
		RunE: a.runE(func(ctx context.Context, _ *cobra.Command, args []string) error {
			return a.createMetaconfig(ctx, options, output, func(c *metaconfig.Client, w store.Write) (metaconfig.Created, error) {
				return c.CreateServerset(ctx, args[0], args[1], w)
			})
		}),
	}
	output.addFlag(cmd.Flags())
	return cmd
}

// createdMetaconfig is what the two commands print as JSON.
type createdMetaconfig struct {
	Name   string `json:"name"`
	ZKPath string `json:"zk_path"`
	File   string `json:"file"`
	// Created is false if the metaconfig was there already.
	Created bool `json:"created"`
	// Differs says that the one that was there says something else.
	Differs bool `json:"differs"`
}

func (a *app) createMetaconfig(ctx context.Context, options *fleetOptions, output outputFormat,
	create func(*metaconfig.Client, store.Write) (metaconfig.Created, error)) error {
	return a.withFleet(ctx, options, func(ctx context.Context, f *fleet) error {
		created, err := create(f.metaconfigs(), store.Write{Author: defaultAuthor()})
		if err != nil {
			return err
		}
		sub := created.Subscription
		if created.Differs {
			fmt.Fprintf(a.stderr, "kingpin: warning: metaconfig %q is there already and says something else: see `kingpin metaconfig show %s`\n",
				sub.Metaconfig, sub.Metaconfig)
		}
		if output == outputJSON {
			return printJSON(a.stdout, createdMetaconfig{sub.Metaconfig, sub.ZKPath, sub.File, created.New, created.Differs})
		}
		_, err = fmt.Fprintln(a.stdout, sub.Metaconfig)
		return err
	})
}
