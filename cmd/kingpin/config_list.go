package main

import (
	"context"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/kingpinfs/kingpin/store"
)

// managedDataPath is the parent of all domains; see docs/wire-format.md.
const managedDataPath = "/config/manageddata"

// listConcurrency is how many znodes are asked for at a time.
const listConcurrency = 32

// listedConfig is a line of `kingpin config list`.
type listedConfig struct {
	Name    string        `json:"name"`
	Version store.Version `json:"version"`
	// Time is the version's; nil if nothing was written yet.
	Time *time.Time `json:"time"`
	// Error says why the version couldn't be read.
	Error string `json:"error,omitempty"`
}

func (a *app) newConfigListCommand(options *fleetOptions) *cobra.Command {
	var output outputFormat
	cmd := &cobra.Command{
		Use:   "list [PATTERN]",
		Short: "List the configs of the fleet",
		Long: `List the configs of the fleet, with their current versions.

PATTERN limits the list to names that match it: * stands for any characters,
? for one, [a-z] for one of a set. Quote it for the shell.`,
		Example: `  kingpin config list
  kingpin config list 'config.manageddata.spam.*' --output json`,
		Args: cobra.MaximumNArgs(1),
		RunE: a.runE(func(ctx context.Context, _ *cobra.Command, args []string) error {
			pattern, err := parsePattern(args)
			if err != nil {
				return err
			}
			return a.withZooKeeper(ctx, options, func(ctx context.Context, f *fleet) error {
				configs, err := listConfigs(ctx, f, pattern)
				if err != nil {
					return err
				}
				return a.printConfigs(configs, output)
			})
		}),
	}
	output.addFlag(cmd.Flags())
	return cmd
}

// parsePattern returns the pattern for names that a command was given; without
// one, the pattern for all.
func parsePattern(args []string) (string, error) {
	if len(args) == 0 {
		return "*", nil
	}
	if _, err := path.Match(args[0], ""); err != nil {
		return "", usagef("the pattern %q: %w", args[0], err)
	}
	return args[0], nil
}

func (a *app) printConfigs(configs []listedConfig, output outputFormat) error {
	if output == outputJSON {
		return printJSON(a.stdout, configs)
	}
	rows := make([][]string, len(configs))
	for i, c := range configs {
		rows[i] = []string{c.Name, string(c.Version), formatTime(c.Time)}
		if c.Error != "" {
			a.log.Warn("a config's version can't be read", "config", c.Name, "error", c.Error)
		}
	}
	return printTable(a.stdout, []string{"NAME", "VERSION", "TIME"}, rows)
}

// listConfigs walks ZooKeeper. One unreadable config doesn't hide the others.
func listConfigs(ctx context.Context, f *fleet, pattern string) ([]listedConfig, error) {
	paths, err := configPaths(ctx, f.znodes)
	if err != nil {
		return nil, err
	}
	configs := []listedConfig{}
	var refs []store.Ref
	for _, p := range paths {
		name := strings.ReplaceAll(strings.TrimPrefix(p, "/"), "/", ".")
		if matched, _ := path.Match(pattern, name); matched {
			configs = append(configs, listedConfig{Name: name})
			refs = append(refs, store.Ref{Path: p})
		}
	}
	var group errgroup.Group
	group.SetLimit(listConcurrency)
	for i := range configs {
		config := &configs[i]
		group.Go(func() error {
			version, _, err := f.store.Pointer(ctx, refs[i])
			switch {
			case store.KindOf(err) == store.Invalid, store.KindOf(err) == store.NotFound:
				config.Error = err.Error()
			case err != nil:
				return err
			case version != "":
				t := version.Time()
				config.Version, config.Time = version, &t
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, fmt.Errorf("listing configs: %w", err)
	}
	return configs, nil
}

// configPaths returns the pointers of all domains, in order.
func configPaths(ctx context.Context, znodes store.Znodes) ([]string, error) {
	found, err := grandchildren(ctx, znodes, managedDataPath)
	if err != nil {
		return nil, fmt.Errorf("listing configs: %w", err)
	}
	var paths []string
	for _, pair := range found {
		if domain, key := pair[0], pair[1]; !strings.HasSuffix(key, ".lock") {
			paths = append(paths, managedDataPath+"/"+domain+"/"+key)
		}
	}
	return paths, nil
}

// grandchildren returns, in order, the names of the znodes two levels below one,
// each after that of the znode between.
func grandchildren(ctx context.Context, znodes store.Znodes, path string) ([][2]string, error) {
	between, err := children(ctx, znodes, path)
	if err != nil {
		return nil, err
	}
	below := make([][]string, len(between))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(listConcurrency)
	for i, name := range between {
		group.Go(func() error {
			var err error
			below[i], err = children(ctx, znodes, path+"/"+name)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	var pairs [][2]string
	for i, name := range between {
		for _, last := range below[i] {
			pairs = append(pairs, [2]string{name, last})
		}
	}
	return pairs, nil
}

// children returns none for a znode that isn't there.
func children(ctx context.Context, znodes store.Znodes, path string) ([]string, error) {
	names, _, err := znodes.Children(ctx, path)
	if store.KindOf(err) == store.NotFound {
		return nil, nil
	}
	return names, err
}

// formatTime renders a moment for people.
func formatTime(t *time.Time) string {
	if t == nil || t.IsZero() {
		return ""
	}
	return t.Local().Format("2006-01-02 15:04:05")
}
