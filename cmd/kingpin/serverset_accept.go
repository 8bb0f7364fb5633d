package main

import (
	"context"
	"net/url"

	"github.com/spf13/cobra"
)

func (a *app) newServersetAcceptCommand() *cobra.Command {
	var where adminOptions
	cmd := &cobra.Command{
		Use:   "accept NAME",
		Short: "Serve a list of members that is held back",
		Long: `Have this machine's monitor serve the list of members that it holds back, even
an empty one. NAME is a file name in /var/serverset, such as
discovery.search.prod; "kingpin serverset show NAME" shows what would change.

It is refused (exit code 3) if nothing is held back. If the list changes before
it is served, it stays held: look at it again.`,
		Example: `  kingpin serverset show discovery.search.prod
  kingpin serverset accept discovery.search.prod`,
		Args: cobra.ExactArgs(1),
		RunE: a.runE(func(ctx context.Context, _ *cobra.Command, args []string) error {
			return where.post(ctx, "/admin/serverset/"+url.PathEscape(args[0])+"/accept")
		}),
		ValidArgsFunction: completeFirst(completeHeld(&where)),
	}
	where.addFlags(cmd.Flags())
	return cmd
}
