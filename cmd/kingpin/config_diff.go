package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/kingpinfs/kingpin/managed"
	"github.com/kingpinfs/kingpin/store"
)

// shownDiff is what `kingpin config diff` prints as JSON.
type shownDiff struct {
	Name string        `json:"name"`
	From store.Version `json:"from"`
	To   store.Version `json:"to"`
	Diff string        `json:"diff"` // "" if they are the same
}

func (a *app) newConfigDiffCommand(options *fleetOptions) *cobra.Command {
	var output outputFormat
	var raw bool
	cmd := &cobra.Command{
		Use:   "diff NAME [V1 [V2]]",
		Short: "Show what changed between two versions of a config",
		Long: `Show what changed from version V1 to version V2, as a unified diff; without V2
to the current version, and without V1 from the one before it. Where nothing
changed, nothing is printed.

JSON that a program wrote in one line is compared with each item on a line of
its own; with --raw byte for byte.`,
		Example: `  kingpin config diff config.manageddata.spam.grey_list
  kingpin config diff config.manageddata.spam.grey_list 1448012345.67 1448012399.1`,
		Args: cobra.RangeArgs(1, 3),
		RunE: a.runE(func(ctx context.Context, _ *cobra.Command, args []string) error {
			if err := checkConfigName(args[0]); err != nil {
				return err
			}
			var versions []store.Version
			for _, arg := range args[1:] {
				version, err := store.ParseVersion(arg)
				if err != nil {
					return usagef("%w", err)
				}
				versions = append(versions, version)
			}
			return a.withFleet(ctx, options, func(ctx context.Context, f *fleet) error {
				from, to, err := diffedVersions(ctx, f.configs(), args[0], versions)
				if err != nil {
					return err
				}
				d := unifiedDiff(versionTitle(args[0], from), versionTitle(args[0], to), from.Content, to.Content, raw)
				if output == outputJSON {
					return printJSON(a.stdout, shownDiff{args[0], from.Version, to.Version, d})
				}
				return printDiff(a.stdout, d)
			})
		}),
		ValidArgsFunction: completeFirst(a.completeConfigs(options)),
	}
	output.addFlag(cmd.Flags())
	cmd.Flags().BoolVar(&raw, "raw", false, "compare JSON as it was written")
	return cmd
}

func versionTitle(name string, value store.Value) string {
	if value.Version == "" {
		return "/dev/null"
	}
	return name + " " + string(value.Version)
}

// diffedVersions reads the given versions, or the usual ones. A config that has
// one version only is compared with nothing.
func diffedVersions(ctx context.Context, client *managed.Client, name string, versions []store.Version) (from, to store.Value, err error) {
	if len(versions) == 2 {
		to, err = client.GetVersion(ctx, name, versions[1])
	} else if to, err = client.Get(ctx, name); err == nil && to.Version == "" {
		err = fmt.Errorf("config %q has no content yet: `kingpin config put %s FILE` writes one", name, name)
	}
	if err != nil {
		return from, to, err
	}
	if len(versions) == 0 {
		before, err := versionBefore(ctx, client, name, to.Version)
		if err != nil || before == "" {
			return from, to, err
		}
		versions = []store.Version{before}
	}
	from, err = client.GetVersion(ctx, name, versions[0])
	return from, to, err
}

// versionBefore returns the newest stored version that is older than one.
func versionBefore(ctx context.Context, client *managed.Client, name string, version store.Version) (store.Version, error) {
	// What is newer was stored by failed writes, which are few.
	for _, limit := range []int{10, 0} {
		entries, err := client.History(ctx, name, limit)
		if err != nil {
			return "", err
		}
		i := slices.IndexFunc(entries, func(e store.Entry) bool { return e.Version.Compare(version) < 0 })
		if i >= 0 {
			return entries[i].Version, nil
		}
	}
	return "", nil
}
