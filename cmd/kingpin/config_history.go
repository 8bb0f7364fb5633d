package main

import (
	"context"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/kingpinfs/kingpin/store"
)

// historyEntry is a line of `kingpin config history`.
type historyEntry struct {
	Version store.Version `json:"version"`
	Time    time.Time     `json:"time"` // the version's
	Size    int64         `json:"size"` // bytes
	Author  string        `json:"author"`
	Comment string        `json:"comment"`
	Current bool          `json:"current"`
}

func (a *app) newConfigHistoryCommand(options *fleetOptions) *cobra.Command {
	var output outputFormat
	var limit int
	cmd := &cobra.Command{
		Use:   "history NAME",
		Short: "List the versions of a config, newest first",
		Long: `List the versions of a config that are stored, newest first. The current one has
a mark. A version above it was stored by a write that failed before it counted.`,
		Example: `  kingpin config history config.manageddata.spam.grey_list
  kingpin config history config.manageddata.spam.grey_list --limit 0 --output json`,
		Args: cobra.ExactArgs(1),
		RunE: a.runE(func(ctx context.Context, _ *cobra.Command, args []string) error {
			if err := checkConfigName(args[0]); err != nil {
				return err
			}
			if limit < 0 {
				return usagef("--limit %d: it must be 0 or more", limit)
			}
			return a.withFleet(ctx, options, func(ctx context.Context, f *fleet) error {
				entries, err := f.configs().History(ctx, args[0], limit)
				if err != nil {
					return err
				}
				return a.printHistory(entries, output)
			})
		}),
		ValidArgsFunction: completeFirst(a.completeConfigs(options)),
	}
	cmd.Flags().IntVar(&limit, "limit", 20, "list this many versions; 0: all")
	output.addFlag(cmd.Flags())
	return cmd
}

func (a *app) printHistory(entries []store.Entry, output outputFormat) error {
	if output == outputJSON {
		history := make([]historyEntry, len(entries))
		for i, e := range entries {
			history[i] = historyEntry{e.Version, e.Version.Time(), e.Size, e.Author, e.Comment, e.Current}
		}
		return printJSON(a.stdout, history)
	}
	rows := make([][]string, len(entries))
	for i, e := range entries {
		mark := " "
		if e.Current {
			mark = "*"
		}
		t := e.Version.Time()
		rows[i] = []string{mark, string(e.Version), formatTime(&t), strconv.FormatInt(e.Size, 10), e.Author, e.Comment}
	}
	return printTable(a.stdout, []string{" ", "VERSION", "TIME", "SIZE", "AUTHOR", "COMMENT"}, rows)
}
