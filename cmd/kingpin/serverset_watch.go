package main

import "github.com/spf13/cobra"

func (a *app) newServersetWatchCommand() *cobra.Command {
	cmd := a.newWatchCommand("serverset-dir", "/var/serverset")
	cmd.Short = "Print each new list of a serverset's members, or run a command with it"
	cmd.Long = `Print what this machine serves of a serverset, a HOST:PORT a line, and then each
new list as soon as it is there. NAME is a file name in /var/serverset, such as
discovery.search.prod. --output json and COMMAND are as for
"kingpin config watch".

` + watchExit
	cmd.Example = `  kingpin serverset watch discovery.search.prod
  kingpin serverset watch discovery.search.prod -- sh -c 'sed "s/.*/server &;/" > /etc/nginx/search.conf && nginx -s reload'`
	return cmd
}
