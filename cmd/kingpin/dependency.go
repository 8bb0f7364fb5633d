package main

import "github.com/spf13/cobra"

func (a *app) newDependencyCommand() *cobra.Command {
	var options fleetOptions
	cmd := newGroupCommand("dependency", "Decide which machines get what",
		`Decide which machines get what. A dependency is a set of metaconfigs, and of
other dependencies; its name ends in ".dep". A machine's monitor is started with
the name of one and makes the files of everything in it, and of everything in
"base.dep". Changes reach the machines at once.`,
		`  kingpin dependency create web.dep
  kingpin dependency add web.dep config.manageddata.spam.grey_list
  kingpin dependency show web.dep --recursive`)
	cmd.GroupID = groupFleet
	options.addCommandFlags(cmd.PersistentFlags())
	cmd.AddCommand(
		a.newDependencyCreateCommand(&options),
		a.newDependencyAddCommand(&options),
		a.newDependencyRemoveCommand(&options),
		a.newDependencyShowCommand(&options),
		a.newDependencyListCommand(&options),
	)
	return cmd
}
