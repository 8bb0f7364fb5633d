package main

import "github.com/spf13/cobra"

func (a *app) newServersetCommand() *cobra.Command {
	cmd := newGroupCommand("serverset", "Decide about serversets that this machine's monitor holds back",
		`Decide about serversets that this machine's monitor holds back.

A serverset that loses most of its members at once is suspicious: the monitor
serves the list before it until it recovers, or has stood unchanged for a while,
or is accepted. An empty list is served only when it is accepted.`,
		`  kingpin status
  kingpin serverset accept discovery.search.prod`)
	cmd.GroupID = groupMachine
	cmd.AddCommand(a.newServersetAcceptCommand())
	return cmd
}
