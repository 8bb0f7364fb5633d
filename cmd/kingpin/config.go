package main

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/kingpinfs/kingpin/metaconfig"
)

func (a *app) newConfigCommand() *cobra.Command {
	var options fleetOptions
	cmd := newGroupCommand("config", "Read and write configs",
		`Read and write configs: values whose contents are kept in S3, version by
version, and whose current version is named in ZooKeeper.

NAME is a file name in /var/config, such as config.manageddata.spam.grey_list.`,
		`  kingpin config list
  kingpin config get config.manageddata.spam.grey_list
  kingpin config put config.manageddata.spam.grey_list list.json`)
	cmd.GroupID = groupValues
	options.addCommandFlags(cmd.PersistentFlags())
	cmd.AddCommand(
		a.newConfigListCommand(&options),
		a.newConfigGetCommand(&options),
		a.newConfigPutCommand(&options),
		a.newConfigEditCommand(&options),
		a.newConfigDiffCommand(&options),
		a.newConfigRollbackCommand(&options),
		a.newConfigSchemaCommand(&options),
		a.newConfigHistoryCommand(&options),
		a.newConfigWatchCommand(),
	)
	return cmd
}

// configPrefix begins the name of every file in /var/config; see "Files" in
// docs/wire-format.md.
const configPrefix = "config."

// checkConfigName refuses, as wrong usage, what can't be the name of a config.
func checkConfigName(name string) error {
	if !strings.HasPrefix(name, configPrefix) {
		return usagef("%q is not the name of a config: it must begin with %q, as in config.manageddata.DOMAIN.KEY", name, configPrefix)
	}
	if _, err := metaconfig.ZKPathOf(name); err != nil {
		return usagef("%q is not the name of a config: %w", name, err)
	}
	return nil
}
