package main

import (
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/kingpinfs/kingpin/managed"
)

// shownDecision is what `kingpin decider check` prints as JSON.
type shownDecision struct {
	Name  string `json:"name"`
	Value int    `json:"value"`
	ID    string `json:"id"`
	// InExperiment is nil if the id is no whole number.
	InExperiment       *bool `json:"id_in_experiment"`
	HashedInExperiment bool  `json:"hashed_id_in_experiment"`
	// Hash is the number from 0 to 99 that the id is hashed to.
	Hash int `json:"hash"`
}

func (a *app) newDeciderCheckCommand(options *fleetOptions) *cobra.Command {
	var output outputFormat
	var id string
	cmd := &cobra.Command{
		Use:   "check NAME --id ID",
		Short: "Tell how programs decide for an id",
		Long: `Tell how programs in every language decide for an id: those that ask whether the
id is in the experiment, and those that ask whether the hashed id is.`,
		Example: "  kingpin decider check new_feed --id 12345",
		Args:    cobra.ExactArgs(1),
		RunE: a.runE(func(ctx context.Context, cmd *cobra.Command, args []string) error {
			if !cmd.Flags().Changed("id") {
				return usagef("which id? Give --id ID")
			}
			return a.withDeciders(ctx, options, func(view *managed.DeciderView) error {
				value, found := view.Value(args[0])
				if !found {
					return noDecider(args[0])
				}
				d := shownDecision{
					Name: args[0], Value: value, ID: id, Hash: managed.HashedID(id, args[0]),
					HashedInExperiment: view.IsHashedIDInExperiment(id, args[0]),
				}
				if n, err := strconv.ParseInt(id, 10, 64); err == nil {
					in := view.IsIDInExperiment(n, args[0])
					d.InExperiment = &in
				}
				return a.printDecision(d, output)
			})
		}),
		ValidArgsFunction: completeFirst(a.completeDeciders(options)),
	}
	output.addFlag(cmd.Flags())
	cmd.Flags().StringVar(&id, "id", "", "the `ID` to decide for")
	return cmd
}

func (a *app) printDecision(d shownDecision, output outputFormat) error {
	if output == outputJSON {
		return printJSON(a.stdout, d)
	}
	plain := "the id is no whole number"
	if d.InExperiment != nil {
		plain = yesNo(*d.InExperiment)
	}
	return printTable(a.stdout, []string{"decider", d.Name}, [][]string{
		{"value", strconv.Itoa(d.Value)},
		{"id in experiment", plain},
		{"hashed id in experiment", fmt.Sprintf("%s (hashed to %d)", yesNo(d.HashedInExperiment), d.Hash)},
	})
}
