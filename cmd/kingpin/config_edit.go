package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/kingpinfs/kingpin/managed"
	"github.com/kingpinfs/kingpin/store"
)

// editOptions are the flags of `kingpin config edit`.
type editOptions struct {
	author, comment string
	yes             bool
	wait            waitOptions
	output          outputFormat
}

func (a *app) newConfigEditCommand(options *fleetOptions) *cobra.Command {
	var edit editOptions
	cmd := &cobra.Command{
		Use:   "edit NAME",
		Short: "Change a config in an editor",
		Long: `Open a config's content in an editor ($VISUAL, $EDITOR or vi), check what comes
back, show what changed, and publish it as a new version if you confirm that.

JSON that a program wrote in one line is edited with each item on a line of its
own, and published in one line again. If somebody else published a version in
the meantime, nothing is published (exit code 3) and your text is kept in a
file. With --yes nothing is asked, for use in scripts.`,
		Example: `  kingpin config edit config.manageddata.spam.grey_list
  EDITOR='sed -i s/10.0.0.7/10.0.0.8/' kingpin config edit config.manageddata.spam.grey_list --yes`,
		Args: cobra.ExactArgs(1),
		RunE: a.runE(func(ctx context.Context, _ *cobra.Command, args []string) error {
			if err := checkConfigName(args[0]); err != nil {
				return err
			}
			if !edit.yes && !isTerminal(a.stdin) {
				return usagef("nobody can confirm the change: standard input is no terminal; --yes publishes without asking")
			}
			return a.editConfig(ctx, options, args[0], &edit)
		}),
		ValidArgsFunction: completeFirst(a.completeConfigs(options)),
	}
	flags := cmd.Flags()
	flags.StringVar(&edit.author, "author", "", "who the history says made the change (default you, at this host)")
	flags.StringVar(&edit.comment, "comment", "", "what the history says of the change")
	flags.BoolVar(&edit.yes, "yes", false, "publish without asking")
	edit.wait.addFlags(flags)
	edit.output.addFlag(flags)
	return cmd
}

// editing is a config that is being edited.
type editing struct {
	name   string
	old    store.Value
	rules  managed.Rules
	pretty managed.Pretty
	file   string // that the editor edits
}

// editConfig connects twice: a person may take longer to edit than any session
// should last.
func (a *app) editConfig(ctx context.Context, options *fleetOptions, name string, o *editOptions) error {
	e := editing{name: name}
	err := a.withFleet(ctx, options, func(ctx context.Context, f *fleet) (err error) {
		client := f.configs()
		if e.old, err = client.Get(ctx, name); err != nil {
			return err
		}
		e.rules, err = client.Rules(ctx, name)
		return err
	})
	if err != nil {
		return err
	}
	e.pretty = managed.Prettify(e.old.Content)
	dir, err := os.MkdirTemp("", "kingpin-edit-")
	if err != nil {
		return fmt.Errorf("making room for the editor: %w", err)
	}
	e.file = filepath.Join(dir, name)
	if err := os.WriteFile(e.file, e.pretty.Text, 0o600); err != nil {
		return fmt.Errorf("giving the content to the editor: %w", err)
	}
	content, err := a.askForContent(ctx, &e, o)
	if err != nil {
		return e.keep(err)
	}
	if content == nil {
		fmt.Fprintln(a.stderr, "kingpin: nothing is published")
		return os.RemoveAll(dir)
	}
	// What is kept from here on is what `kingpin config put` takes.
	if err := os.WriteFile(e.file, content, 0o600); err != nil {
		return fmt.Errorf("keeping the text: %w", err)
	}
	version, err := a.publishEdited(ctx, options, &e, content, o)
	if err != nil {
		return e.keep(err)
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("version %s is published, but the editor's file can't be removed: %w", version, err)
	}
	if err := a.printVersion(name, version, o.output); err != nil {
		return err
	}
	return a.waitServed(ctx, o.wait, name, version)
}

// keep adds to an error where the edited text is. One that is as it was isn't
// kept.
func (e *editing) keep(err error) error {
	edited, readErr := os.ReadFile(e.file)
	if readErr == nil && bytes.Equal(edited, e.pretty.Text) {
		_ = os.RemoveAll(filepath.Dir(e.file)) // it lies in a temporary directory
		return err
	}
	if store.KindOf(err) == store.Conflict {
		return fmt.Errorf("%w; your text is kept in %s: compare it with `kingpin config get %s`, and publish it with `kingpin config put %s %s`",
			err, e.file, e.name, e.name, e.file)
	}
	return fmt.Errorf("%w; your text is kept in %s", err, e.file)
}

// askForContent lets the file be edited until it is good and confirmed. It
// returns nil for nothing to publish.
func (a *app) askForContent(ctx context.Context, e *editing, o *editOptions) ([]byte, error) {
	for {
		if err := a.runEditor(ctx, e.file); err != nil {
			return nil, err
		}
		edited, err := os.ReadFile(e.file)
		if err != nil {
			return nil, fmt.Errorf("reading what was edited: %w", err)
		}
		if bytes.Equal(edited, e.pretty.Text) {
			return nil, nil
		}
		content, err := e.check(edited)
		switch {
		case err != nil && o.yes:
			return nil, err
		case err != nil:
			fmt.Fprintf(a.stderr, "kingpin: %s\n", harmless(err.Error()))
			if again, askErr := a.ask(ctx, "Edit it again?", "yn"); askErr != nil || again != 'y' {
				return nil, err
			}
			continue
		case bytes.Equal(content, e.old.Content):
			return nil, nil
		}
		changes := unifiedDiff(versionTitle(e.name, e.old), e.name+" (edited)", e.old.Content, content, false)
		if err := printDiff(a.stderr, changes); err != nil {
			return nil, err
		}
		if o.yes {
			return content, nil
		}
		answer, err := a.ask(ctx, "Publish this? (yes, no, edit again)", "yne")
		switch {
		case err != nil:
			return nil, err
		case answer == 'y':
			return content, nil
		case answer == 'n':
			return nil, nil
		}
	}
}

// check returns what an edited text is as a content.
func (e *editing) check(edited []byte) ([]byte, error) {
	content, err := e.pretty.Restore(edited)
	if err != nil {
		return nil, fmt.Errorf("checking %q: %w", e.name, err)
	}
	if err := e.rules.Check(content); err != nil {
		// The places are those of the text that the person sees.
		if asSeen := e.rules.Check(edited); asSeen != nil {
			return nil, asSeen
		}
		return nil, err
	}
	return content, nil
}

// publishEdited publishes a content if what was edited still counts.
func (a *app) publishEdited(ctx context.Context, options *fleetOptions, e *editing, content []byte, o *editOptions) (store.Version, error) {
	write := store.Write{Author: o.author, Comment: o.comment, Expect: &e.old.Version}
	if write.Author == "" {
		write.Author = defaultAuthor()
	}
	var value store.Value
	err := a.withFleet(ctx, options, func(ctx context.Context, f *fleet) (err error) {
		value, err = f.configs().Put(ctx, e.name, content, write)
		return err
	})
	return value.Version, err
}
