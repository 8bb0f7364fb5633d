package main

import (
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

func TestApplyEnvironment(t *testing.T) {
	tests := map[string]struct {
		args        []string
		environment map[string]string
		want        int
		err         string
	}{
		"neither":        {want: 7},
		"variable":       {environment: map[string]string{"KINGPIN_MAX_ITEMS": "8"}, want: 8},
		"empty variable": {environment: map[string]string{"KINGPIN_MAX_ITEMS": ""}, want: 7},
		"flag wins":      {args: []string{"--max-items", "9"}, environment: map[string]string{"KINGPIN_MAX_ITEMS": "8"}, want: 9},
		"flag wins over nonsense": {args: []string{"--max-items", "9"},
			environment: map[string]string{"KINGPIN_MAX_ITEMS": "x"}, want: 9},
		"nonsense": {environment: map[string]string{"KINGPIN_MAX_ITEMS": "x"}, err: "the environment variable KINGPIN_MAX_ITEMS"},
		"alternative flag wins": {args: []string{"--items-file", "x"},
			environment: map[string]string{"KINGPIN_MAX_ITEMS": "8"}, want: 7},
		"unbound": {environment: map[string]string{"KINGPIN_UNBOUND": "8"}, want: 7},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
			got := flags.Int("max-items", 7, "how many")
			flags.Int("unbound", 7, "")
			flags.String("items-file", "", "")
			bindEnvironment(flags, "max-items")
			declareAlternatives(flags, "max-items", "items-file")
			if usage := flags.Lookup("max-items").Usage; usage != "how many [KINGPIN_MAX_ITEMS]" {
				t.Errorf("the description is %q", usage)
			}
			if err := flags.Parse(tt.args); err != nil {
				t.Fatal(err)
			}
			err := applyEnvironment(flags, func(name string) string { return tt.environment[name] })
			if (err != nil) != (tt.err != "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("error %v, want %q", err, tt.err)
			}
			if err == nil && *got != tt.want {
				t.Errorf("got %d, want %d", *got, tt.want)
			}
		})
	}
}
