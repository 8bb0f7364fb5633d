package main

import (
	"context"

	"github.com/spf13/cobra"
)

func (a *app) newCompletionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "completion bash|zsh|fish",
		Short: "Print a script that makes a shell complete kingpin's command lines",
		Long:  "Print a script that makes a shell complete kingpin's command lines.",
		Example: `  kingpin completion bash > /etc/bash_completion.d/kingpin
  kingpin completion zsh > "${fpath[1]}/_kingpin"
  kingpin completion fish > ~/.config/fish/completions/kingpin.fish`,
		ValidArgs: []string{"bash", "zsh", "fish"},
		Args:      cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		RunE: a.runE(func(_ context.Context, cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(a.stdout, true)
			case "zsh":
				return root.GenZshCompletion(a.stdout)
			default:
				return root.GenFishCompletion(a.stdout, true)
			}
		}),
	}
}
