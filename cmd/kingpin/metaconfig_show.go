package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/kingpinfs/kingpin/metaconfig"
	"github.com/kingpinfs/kingpin/store"
)

// shownMetaconfig is what `kingpin metaconfig show` prints as JSON.
type shownMetaconfig struct {
	Name          string              `json:"name"`
	Version       store.Version       `json:"version"`
	Author        string              `json:"author"`
	Comment       string              `json:"comment"`
	Subscriptions []shownSubscription `json:"subscriptions"`
	Warnings      []string            `json:"warnings"`
	Error         string              `json:"error,omitempty"` // why it is no good metaconfig
	Content       string              `json:"content"`
}

// shownSubscription is one file that a metaconfig declares.
type shownSubscription struct {
	File           string          `json:"file"`
	Type           metaconfig.Type `json:"type"`
	ZKPath         string          `json:"zk_path"`
	KeyPrefix      string          `json:"key_prefix,omitempty"`
	RejectionRatio float64         `json:"rejection_ratio"`
	MinimumSize    int             `json:"minimum_size"`
	MaxWaitSeconds float64         `json:"max_wait_seconds"`
	AlertDisabled  bool            `json:"alert_disabled"`
}

func (a *app) newMetaconfigShowCommand(options *fleetOptions) *cobra.Command {
	var output outputFormat
	var raw bool
	cmd := &cobra.Command{
		Use:   "show NAME",
		Short: "Show what a metaconfig declares",
		Long: `Show what a metaconfig declares, and warn of what is wrong with it. With --raw
print its text, byte for byte, as "kingpin metaconfig set" takes it.`,
		Example: `  kingpin metaconfig show discovery.search.prod
  kingpin metaconfig show discovery.search.prod --raw > search.json`,
		Args: cobra.ExactArgs(1),
		RunE: a.runE(func(ctx context.Context, _ *cobra.Command, args []string) error {
			return a.withFleet(ctx, options, func(ctx context.Context, f *fleet) error {
				m, err := f.metaconfigs().Get(ctx, args[0])
				if err != nil {
					return err
				}
				if raw {
					_, err := a.stdout.Write(m.Value.Content)
					return err
				}
				return a.printMetaconfig(m, output)
			})
		}),
	}
	output.addFlag(cmd.Flags())
	cmd.Flags().BoolVar(&raw, "raw", false, "print the metaconfig's text")
	return cmd
}

func (a *app) printMetaconfig(m metaconfig.Metaconfig, output outputFormat) error {
	shown := shownMetaconfig{
		Name: m.Name, Version: m.Value.Version, Author: m.Value.Author, Comment: m.Value.Comment,
		Subscriptions: []shownSubscription{}, Warnings: append([]string{}, m.Warnings...), Content: string(m.Value.Content),
	}
	if m.Err != nil {
		shown.Error = m.Err.Error()
	}
	for _, s := range m.Subscriptions {
		shown.Subscriptions = append(shown.Subscriptions, shownSubscription{
			s.File, s.Type, s.ZKPath, s.KeyPrefix, s.RejectionRatio, s.MinimumSize, s.MaxWait.Seconds(), s.AlertDisabled})
	}
	if output == outputJSON {
		return printJSON(a.stdout, shown)
	}
	rows := [][]string{{"version", string(shown.Version)}, {"author", shown.Author}, {"comment", shown.Comment}}
	for _, s := range m.Subscriptions {
		rows = append(rows, subscriptionRows(s)...)
	}
	if err := printTable(a.stdout, []string{"metaconfig", m.Name}, rows); err != nil {
		return err
	}
	for _, warning := range m.Warnings {
		fmt.Fprintf(a.stderr, "kingpin: warning: metaconfig %q: %s\n", m.Name, warning)
	}
	if m.Err != nil && m.Value.Version != "" {
		fmt.Fprintf(a.stderr, "kingpin: warning: %v\n", m.Err)
	}
	return nil
}

// subscriptionRows describe one file. What is as usual isn't mentioned.
func subscriptionRows(s metaconfig.Subscription) [][]string {
	rows := [][]string{{"file", s.File}, {"type", string(s.Type)}, {"znode", s.ZKPath}}
	if s.Type == metaconfig.Config {
		prefix := s.KeyPrefix
		if prefix == "" {
			prefix = "none: the content is the znode's data"
		}
		rows = append(rows, []string{"S3 prefix", prefix})
	} else {
		rows = append(rows,
			[]string{"rejection ratio", fmt.Sprint(s.RejectionRatio)},
			[]string{"minimum size", fmt.Sprint(s.MinimumSize)})
	}
	if s.MaxWait > 0 {
		rows = append(rows, []string{"wait", s.MaxWait.Round(time.Second).String()})
	}
	return rows
}
