package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/kingpinfs/kingpin/managed"
	"github.com/kingpinfs/kingpin/store"
)

// changeOptions are the flags of commands that change a value.
type changeOptions struct {
	write  writeOptions
	wait   waitOptions
	output outputFormat
}

func (o *changeOptions) addFlags(flags *pflag.FlagSet) {
	o.write.addFlags(flags)
	o.wait.addFlags(flags)
	o.output.addFlag(flags)
}

// change is one change of a value, which it publishes.
type change func(ctx context.Context, client *managed.Client, w store.Write) (store.Value, error)

// changeValue makes a change, tells the version that counts then, and waits for
// this machine to serve it, if that is wanted. A change that changes nothing
// publishes nothing, which people are told.
func (a *app) changeValue(ctx context.Context, options *fleetOptions, o *changeOptions, file string, do change) error {
	write, err := o.write.write()
	if err != nil {
		return err
	}
	var before store.Version
	var value store.Value
	err = a.withFleet(ctx, options, func(ctx context.Context, f *fleet) error {
		client := f.configs()
		// What can't be read as a version is mended by publishing one.
		if before, err = client.Version(ctx, file); err != nil && store.KindOf(err) != store.Invalid {
			return err
		}
		value, err = do(ctx, client, write)
		return err
	})
	if err != nil {
		return err
	}
	changed := value.Version != before
	if o.output == outputJSON {
		err = printJSON(a.stdout, struct {
			Name    string        `json:"name"`
			Version store.Version `json:"version"`
			Changed bool          `json:"changed"`
		}{file, value.Version, changed})
	} else {
		if !changed {
			fmt.Fprintf(a.stderr, "kingpin: %s was so already: nothing is published\n", file)
		}
		_, err = fmt.Fprintln(a.stdout, value.Version)
	}
	if err != nil {
		return err
	}
	return a.waitServed(ctx, o.wait, file, value.Version)
}

// valuesFlag is a flag of commands that take many values.
type valuesFlag struct{ file string }

func (v *valuesFlag) addFlag(flags *pflag.FlagSet) {
	flags.StringVar(&v.file, "from", "", "take the values from this `FILE`, or - for standard input, one a line")
}

// values returns those of the command line, and those of the file. Empty lines
// are none. That there is no value at all is an error of usage.
func (v *valuesFlag) values(a *app, args []string) ([]string, error) {
	values := slices.Clone(args)
	if v.file != "" {
		content, err := a.readContent(v.file)
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(content)) {
			if line = strings.TrimRight(line, "\r\n"); line != "" {
				values = append(values, line)
			}
		}
	}
	if len(values) == 0 {
		return nil, usagef("no VALUE is given, and no file that has one by --from")
	}
	return values, nil
}

// configs reads and publishes the fleet's configs.
func (f *fleet) configs() *managed.Client { return managed.NewClient(f.store) }

// parseManagedName reads DOMAIN.KEY. Its errors are of usage.
func parseManagedName(name string) (domain, key, file string, err error) {
	domain, key, err = managed.ParseName(name)
	if err == nil {
		file, err = managed.File(domain, key)
	}
	if err != nil {
		return "", "", "", &usageError{err}
	}
	return domain, key, file, nil
}
