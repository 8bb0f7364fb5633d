package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/kingpinfs/kingpin/metaconfig"
)

func (a *app) newDependencyShowCommand(options *fleetOptions) *cobra.Command {
	var output outputFormat
	var recursive bool
	cmd := &cobra.Command{
		Use:   "show NAME.dep",
		Short: "List the members of a dependency",
		Long: `List the members of a dependency, one a line. With --recursive draw the tree of
all that a machine with this dependency gets; a dependency that contains itself
is shown as such.`,
		Example: `  kingpin dependency show web.dep
  kingpin dependency show web.dep --recursive`,
		Args: cobra.ExactArgs(1),
		RunE: a.runE(func(ctx context.Context, _ *cobra.Command, args []string) error {
			return a.withZooKeeper(ctx, options, func(ctx context.Context, f *fleet) error {
				if recursive {
					tree, err := f.metaconfigs().Tree(ctx, args[0])
					if err != nil {
						return err
					}
					if output == outputJSON {
						return printJSON(a.stdout, tree)
					}
					drawTree(a.stdout, tree, "", "")
					return nil
				}
				members, err := f.metaconfigs().Members(ctx, args[0])
				if err != nil {
					return err
				}
				return a.printNames(members, output)
			})
		}),
	}
	output.addFlag(cmd.Flags())
	cmd.Flags().BoolVar(&recursive, "recursive", false, "follow dependencies in it, to any depth")
	return cmd
}

// markTexts explain the marks of a tree to people.
var markTexts = map[metaconfig.Mark]string{
	metaconfig.Cycle:   " (contains itself)",
	metaconfig.Shown:   " (see above)",
	metaconfig.Missing: " (doesn't exist)",
}

// drawTree draws a node after first, and its members after rest and a branch.
func drawTree(out io.Writer, node *metaconfig.Node, first, rest string) {
	mark := markTexts[node.Mark]
	if node.Mark == metaconfig.Failed {
		mark = fmt.Sprintf(" (%s)", node.Problem)
	}
	fmt.Fprintf(out, "%s%s%s\n", first, node.Name, mark)
	for i, member := range node.Members {
		if i < len(node.Members)-1 {
			drawTree(out, member, rest+"├── ", rest+"│   ")
		} else {
			drawTree(out, member, rest+"└── ", rest+"    ")
		}
	}
}
