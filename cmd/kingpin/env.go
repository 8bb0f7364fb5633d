package main

import (
	"fmt"
	"strings"

	"github.com/spf13/pflag"
)

// Annotations of flags that may be set in the environment.
const (
	// environmentAnnotation holds the variable's name.
	environmentAnnotation = "kingpin_environment"
	// alternativesAnnotation holds the names of flags that say the same.
	alternativesAnnotation = "kingpin_alternatives"
)

// bindEnvironment lets the named flags be set by variables: --zk-hosts-file by
// KINGPIN_ZK_HOSTS_FILE. The help text names the variable.
func bindEnvironment(flags *pflag.FlagSet, names ...string) {
	for _, name := range names {
		variable := "KINGPIN_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
		annotate(flags, name, environmentAnnotation, variable)
		flags.Lookup(name).Usage += " [" + variable + "]"
	}
}

// declareAlternatives says that the named flags are ways to say the same
// thing: if one of them is on the command line, the variables of the others
// don't count.
func declareAlternatives(flags *pflag.FlagSet, names ...string) {
	for _, name := range names {
		annotate(flags, name, alternativesAnnotation, names...)
	}
}

func annotate(flags *pflag.FlagSet, name, annotation string, values ...string) {
	if err := flags.SetAnnotation(name, annotation, values); err != nil {
		panic(err) // the flag isn't declared
	}
}

// applyEnvironment sets the flags that the command line didn't. A variable
// that is empty counts as unset.
func applyEnvironment(flags *pflag.FlagSet, getenv func(string) string) error {
	given := make(map[string]bool) // on the command line, itself or an alternative
	flags.Visit(func(flag *pflag.Flag) {
		given[flag.Name] = true
		for _, name := range flag.Annotations[alternativesAnnotation] {
			given[name] = true
		}
	})
	var err error
	flags.VisitAll(func(flag *pflag.Flag) {
		variables := flag.Annotations[environmentAnnotation]
		if err != nil || given[flag.Name] || len(variables) == 0 {
			return
		}
		if value := getenv(variables[0]); value != "" {
			if setErr := flags.Set(flag.Name, value); setErr != nil {
				err = fmt.Errorf("the environment variable %s: %w", variables[0], setErr)
			}
		}
	})
	return err
}
