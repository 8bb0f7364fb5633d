package main

import (
	"github.com/spf13/cobra"
)

func (a *app) newMetaconfigCommand() *cobra.Command {
	var options fleetOptions
	cmd := newGroupCommand("metaconfig", "Declare configs and serversets, and the files that they become",
		`Declare configs and serversets, and the files that they become.

A metaconfig says which file a machine makes of which config or serverset. It is
a value itself, with versions. Machines get the metaconfigs of their dependency;
see "kingpin dependency".`,
		`  kingpin metaconfig create-config spam grey_list
  kingpin metaconfig create-serverset search prod
  kingpin metaconfig show config.manageddata.spam.grey_list`)
	cmd.GroupID = groupFleet
	options.addCommandFlags(cmd.PersistentFlags())
	cmd.AddCommand(
		a.newMetaconfigCreateConfigCommand(&options),
		a.newMetaconfigCreateServersetCommand(&options),
		a.newMetaconfigListCommand(&options),
		a.newMetaconfigShowCommand(&options),
		a.newMetaconfigSetCommand(&options),
		a.newMetaconfigRemoveCommand(&options),
	)
	return cmd
}
