package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kingpinfs/kingpin/managed"
	"github.com/kingpinfs/kingpin/store"
)

// shapeSchemas are the schemas that --shape stands for.
var shapeSchemas = map[string]string{
	"list":        `{"type": "array", "items": {"type": "string"}}`,
	"map":         `{"type": "object"}`,
	"mapped-list": `{"type": "object", "additionalProperties": {"type": "array", "items": {"type": "string"}}}`,
	"json":        `{}`,
}

// schemaOptions are the flags of `kingpin config schema`.
type schemaOptions struct {
	change writeOptions
	output outputFormat
	shape  string
	remove bool
}

func (a *app) newConfigSchemaCommand(options *fleetOptions) *cobra.Command {
	var schema schemaOptions
	cmd := &cobra.Command{
		Use:   "schema NAME [FILE|-]",
		Short: "Show, set or remove the JSON Schema of a config",
		Long: `Show the JSON Schema that a config's content must satisfy, or with FILE set it.
Who publishes a content that it refuses is told at which place; nothing is
published then. It counts for writes from now on, by these commands, by Go
programs and through the mounted files, not for Python's writers.

With --shape list, map, mapped-list or json the schema is one that demands no
more than that. A schema is of the draft that its $schema names, else 2020-12;
formats count, patterns are Go's regular expressions, and it can't refer to
anything outside of it.`,
		Example: `  kingpin config schema config.manageddata.spam.grey_list --shape list
  kingpin config schema config.manageddata.spam.rules rules.schema.json --comment 'no more typing errors'
  kingpin config schema config.manageddata.spam.rules
  kingpin config schema config.manageddata.spam.rules --remove`,
		Args: cobra.RangeArgs(1, 2),
		RunE: a.runE(func(ctx context.Context, _ *cobra.Command, args []string) error {
			if err := checkConfigName(args[0]); err != nil {
				return err
			}
			ways := len(args) - 1
			for _, given := range []bool{schema.shape != "", schema.remove} {
				if given {
					ways++
				}
			}
			switch {
			case ways > 1:
				return usagef("FILE, --shape and --remove don't go together: give one")
			case schema.remove:
				return a.withFleet(ctx, options, func(ctx context.Context, f *fleet) error {
					return f.configs().RemoveSchema(ctx, args[0])
				})
			case ways == 0:
				return a.showSchema(ctx, options, args[0])
			case schema.shape != "":
				text, ok := shapeSchemas[schema.shape]
				if !ok {
					return usagef("--shape %q: it is none of %s", schema.shape, strings.Join(slices.Sorted(maps.Keys(shapeSchemas)), ", "))
				}
				return a.setSchema(ctx, options, args[0], []byte(text), &schema)
			}
			text, err := a.readContent(args[1])
			if err != nil {
				return err
			}
			return a.setSchema(ctx, options, args[0], text, &schema)
		}),
		ValidArgsFunction: completeFirst(a.completeConfigs(options)),
	}
	flags := cmd.Flags()
	schema.change.addFlags(flags)
	schema.output.addFlag(flags)
	flags.StringVar(&schema.shape, "shape", "", "set a schema that demands this: list, map, mapped-list or json")
	flags.BoolVar(&schema.remove, "remove", false, "remove the schema")
	return cmd
}

func (a *app) showSchema(ctx context.Context, options *fleetOptions, name string) error {
	return a.withFleet(ctx, options, func(ctx context.Context, f *fleet) error {
		value, err := f.configs().Schema(ctx, name)
		if err != nil {
			return err
		}
		_, err = a.stdout.Write(value.Content)
		if err == nil && !strings.HasSuffix(string(value.Content), "\n") {
			_, err = fmt.Fprintln(a.stdout)
		}
		return err
	})
}

// setSchema sets a schema, and warns if the current content isn't as it demands.
func (a *app) setSchema(ctx context.Context, options *fleetOptions, name string, text []byte, schema *schemaOptions) error {
	write, err := schema.change.write()
	if err != nil {
		return err
	}
	return a.withFleet(ctx, options, func(ctx context.Context, f *fleet) error {
		client := f.configs()
		value, err := client.SetSchema(ctx, name, text, write)
		if err != nil {
			return err
		}
		if err := checkCurrent(ctx, client, name); err != nil {
			fmt.Fprintf(a.stderr, "kingpin: warning: the current version isn't as the schema demands: %v\n", err)
		}
		return a.printVersion(name, value.Version, schema.output)
	})
}

// checkCurrent says what is wrong with the current content.
func checkCurrent(ctx context.Context, client *managed.Client, name string) error {
	value, err := client.Get(ctx, name)
	if err != nil || value.Version == "" {
		return err
	}
	rules, err := client.Rules(ctx, name)
	if err != nil {
		return err
	}
	err = rules.Check(value.Content)
	if inner, ok := errors.AsType[*store.Error](err); ok {
		return inner.Err
	}
	return err
}
