package main

import "github.com/spf13/cobra"

func (a *app) newServersetCommand() *cobra.Command {
	cmd := newGroupCommand("serverset", "Show and watch serversets, and accept what this machine holds back",
		`Show who is registered as a member of a service, watch the lists that this
machine serves, and decide about those that its monitor holds back.

A serverset that loses most of its members at once is suspicious: the monitor
serves the list before it until it recovers, or has stood unchanged for a while,
or is accepted. An empty list is served only when it is accepted.`,
		`  kingpin serverset list
  kingpin serverset show discovery.search.prod
  kingpin serverset watch discovery.search.prod
  kingpin serverset accept discovery.search.prod`)
	cmd.GroupID = groupMachine
	cmd.AddCommand(
		a.newServersetAcceptCommand(),
		a.newServersetListCommand(),
		a.newServersetShowCommand(),
		a.newServersetWatchCommand(),
	)
	return cmd
}
