package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/kingpinfs/kingpin/store"
)

// listedServerset is an element of `kingpin serverset list --output json`.
type listedServerset struct {
	Name        string `json:"name"` // of the file
	ZKPath      string `json:"zk_path"`
	Service     string `json:"service"` // "" if the znode isn't where those of services are
	Environment string `json:"environment"`
	// Members is how many are registered; nil if the fleet has no such znode, or
	// it can't be read.
	Members *int `json:"members"`
	// Served says whether this machine serves it; nil if nobody knows.
	Served    *bool  `json:"served"`
	State     string `json:"state,omitempty"`     // fresh, stale, held or absent, if it is served
	Endpoints *int   `json:"endpoints,omitempty"` // how many are served
	Error     string `json:"error,omitempty"`     // why the members can't be counted
}

func (a *app) newServersetListCommand() *cobra.Command {
	var (
		options fleetOptions
		where   adminOptions
		output  outputFormat
	)
	cmd := &cobra.Command{
		Use:   "list [PATTERN]",
		Short: "List the serversets of the fleet, and whether this machine serves them",
		Long: `List the serversets of the fleet: service and environment, how many members are
registered, and what this machine's monitor serves of each, if there is a
monitor.

PATTERN limits the list to names that match it: * stands for any characters,
? for one, [a-z] for one of a set. Quote it for the shell.`,
		Example: `  kingpin serverset list
  kingpin serverset list 'discovery.*.prod' --output json
  kingpin serverset list --output json | jq -r '.[] | select(.state == "held").name'`,
		Args: cobra.MaximumNArgs(1),
		RunE: a.runE(func(ctx context.Context, _ *cobra.Command, args []string) error {
			pattern, err := parsePattern(args)
			if err != nil {
				return err
			}
			return a.withZooKeeper(ctx, &options, func(ctx context.Context, f *fleet) error {
				local := askHere(ctx, &where)
				listed, err := listServersets(ctx, f.znodes, &local, pattern)
				if err != nil {
					return err
				}
				if local.err != nil {
					a.tell("what this machine serves isn't known: %v", local.err)
				}
				return a.printServersets(listed, output)
			})
		}),
		ValidArgsFunction: completeFirst(a.complete(&options, (*app).withZooKeeper, serversetNames)),
	}
	options.addFlags(cmd.Flags())
	where.addFlags(cmd.Flags())
	output.addFlag(cmd.Flags())
	return cmd
}

// tell tells the user something beside what was asked for.
func (a *app) tell(format string, args ...any) {
	fmt.Fprintf(a.stderr, "kingpin: "+format+"\n", args...)
}

// listServersets lists those of the fleet, and those that this machine serves,
// sorted by name.
func listServersets(ctx context.Context, znodes store.Znodes, local *here, pattern string) ([]listedServerset, error) {
	found, err := discoverServersets(ctx, znodes)
	if err != nil {
		return nil, err
	}
	listed := merge(found, local)
	listed = slices.DeleteFunc(listed, func(s listedServerset) bool {
		matched, _ := path.Match(pattern, s.Name)
		return !matched
	})
	slices.SortFunc(listed, func(a, b listedServerset) int { return cmp.Compare(a.Name, b.Name) })
	return listed, countMembers(ctx, znodes, listed)
}

// merge lists what the fleet has and what this machine serves. A metaconfig may
// have given a serverset any file, or several.
func merge(found []discovered, local *here) []listedServerset {
	listed := make([]listedServerset, 0, len(found))
	fleet := make(map[string]discovered, len(found))
	for _, s := range found {
		fleet[s.path] = s
	}
	served := make(map[string]bool, len(local.files))
	for i := range local.files {
		file := &local.files[i]
		served[file.ZKPath] = true
		in := fleet[file.ZKPath]
		yes, n := true, len(file.Endpoints)
		listed = append(listed, listedServerset{
			Name: file.Name, ZKPath: file.ZKPath, Service: in.service, Environment: in.environment,
			Served: &yes, State: file.State, Endpoints: &n,
		})
	}
	for _, s := range found {
		if served[s.path] {
			continue
		}
		row := listedServerset{Name: s.name, ZKPath: s.path, Service: s.service, Environment: s.environment}
		if local.err == nil {
			row.Served = new(bool)
		}
		listed = append(listed, row)
	}
	return listed
}

// countMembers counts the members of some serversets. One that can't be read
// doesn't hide the others.
func countMembers(ctx context.Context, znodes store.Znodes, listed []listedServerset) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(listConcurrency)
	for i := range listed {
		s := &listed[i]
		group.Go(func() error {
			_, stat, err := znodes.Get(ctx, s.ZKPath)
			switch {
			case errors.Is(err, store.Unavailable):
				return fmt.Errorf("listing serversets: %w", err)
			case err != nil:
				s.Error = err.Error()
			default:
				n := int(stat.NumChildren)
				s.Members = &n
			}
			return nil
		})
	}
	return group.Wait()
}

func (a *app) printServersets(listed []listedServerset, output outputFormat) error {
	if output == outputJSON {
		return printJSON(a.stdout, listed)
	}
	rows := make([][]string, len(listed))
	for i, s := range listed {
		members := ""
		if s.Members != nil {
			members = strconv.Itoa(*s.Members)
		}
		rows[i] = []string{s.Name, s.Service, s.Environment, members, s.here()}
		if s.Error != "" {
			a.log.Warn("the members of a serverset can't be counted", "serverset", s.Name, "error", s.Error)
		}
	}
	return printTable(a.stdout, []string{"NAME", "SERVICE", "ENVIRONMENT", "MEMBERS", "HERE"}, rows)
}

// here is the cell that says what this machine serves.
func (s *listedServerset) here() string {
	switch {
	case s.Served == nil:
		return "?"
	case !*s.Served:
		return ""
	}
	return describeHere(s.State, *s.Endpoints)
}
