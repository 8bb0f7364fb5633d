package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kingpinfs/kingpin/internal/follow"
)

// watchOptions are the flags of the commands that watch a file which is served
// here.
type watchOptions struct {
	dirFlag string
	dir     string
	output  outputFormat
}

// newWatchCommand returns a command without its descriptions. dirFlag names the
// flag that says where the files are, as for the monitor.
func (a *app) newWatchCommand(dirFlag, dir string) *cobra.Command {
	options := watchOptions{dirFlag: dirFlag}
	cmd := &cobra.Command{
		Use:  "watch NAME [-- COMMAND ARG...]",
		Args: watchArgs,
		RunE: a.runE(func(ctx context.Context, _ *cobra.Command, args []string) error {
			return a.watch(ctx, &options, args[0], args[1:])
		}),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 || applyEnvironment(cmd.Flags(), os.Getenv) != nil {
				return nil, cobra.ShellCompDirectiveDefault
			}
			return servedNames(options.dir), cobra.ShellCompDirectiveNoFileComp
		},
	}
	cmd.Flags().StringVar(&options.dir, dirFlag, dir, "where the monitor serves, as its flag of this name says")
	bindEnvironment(cmd.Flags(), dirFlag)
	options.output.addFlag(cmd.Flags())
	cmd.Flags().Lookup("output").Usage = "table: the contents, as they are; json: a line for each version"
	return cmd
}

// watchExit ends the description of every command that watches.
const watchExit = `SIGTERM or SIGINT ends it, with exit code 0; a COMMAND that runs gets the
signal, and is waited for. A COMMAND that fails is reported on stderr and runs
again with the next version, not before.`

// watchArgs requires "--" before a command, so that its flags aren't taken for
// ours.
func watchArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("%s needs the NAME of a file", cmd.CommandPath())
	}
	if dash := cmd.ArgsLenAtDash(); dash != 1 && (dash >= 0 || len(args) > 1) {
		return fmt.Errorf("%s takes one NAME, and after -- a COMMAND, but was given %q", cmd.CommandPath(), args)
	}
	return nil
}

// servedNames returns the names of the files in a directory and those beneath
// it that are for all to see.
func servedNames(dir string) []string {
	var names []string
	// What can't be read isn't offered.
	_ = iofs.WalkDir(os.DirFS(dir), ".", func(path string, entry iofs.DirEntry, err error) error {
		hidden := path != "." && strings.HasPrefix(path, ".")
		switch {
		case err != nil || hidden && entry.IsDir():
			return iofs.SkipDir
		case !hidden && !entry.IsDir():
			names = append(names, path)
		}
		return nil
	})
	return names
}

// watch prints each version of a file, or runs a command with it, until ctx
// ends, which is no error.
func (a *app) watch(ctx context.Context, o *watchOptions, name string, command []string) error {
	if !filepath.IsLocal(name) || filepath.Clean(name) != name || strings.HasPrefix(name, ".") {
		return usagef("%q is not the name of a file in %s: want one as `ls %s` shows it", name, o.dir, o.dir)
	}
	deliver := func(v follow.Version) error { return printVersion(a.stdout, o.output, name, v) }
	if len(command) > 0 {
		if o.output == outputJSON {
			return usagef("--output json is for printing: a COMMAND gets the content itself, and its version in KINGPIN_VERSION")
		}
		if _, err := exec.LookPath(command[0]); err != nil {
			return usagef("the COMMAND can't be run: %w", err)
		}
		runner := newWatchRunner(a, name, command)
		defer runner.close()
		deliver = func(v follow.Version) error { return runner.run(ctx, v) }
	}
	path := filepath.Join(o.dir, name)
	follower := follow.New(path, follow.Options{Logger: a.log, Missing: func(err error) { a.tellMissing(path, err) }})
	err := follower.Run(ctx, deliver)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func (a *app) tellMissing(path string, err error) {
	if errors.Is(err, iofs.ErrNotExist) {
		a.log.Warn("there is no such file; waiting for it", "path", path)
		return
	}
	a.log.Warn("the file can't be read; trying again", "path", path, "error", err)
}

// watchedVersion is a line of --output json. Programs rely on it: add to it,
// never change it.
type watchedVersion struct {
	Name string `json:"name"`
	// Version is "" for plain files, which don't tell it.
	Version string    `json:"version"`
	ModTime time.Time `json:"mtime"`

	printedContent
}

// printVersion prints a version in one write, so that whoever reads it from a
// pipe isn't woken by parts of it.
func printVersion(out io.Writer, output outputFormat, name string, v follow.Version) error {
	text := v.Content
	if output == outputJSON {
		line := watchedVersion{Name: name, Version: v.ID, ModTime: v.ModTime.UTC(), printedContent: printContent(v.Content)}
		encoded, err := encodeLine(line)
		if err != nil {
			return fmt.Errorf("printing JSON: %w", err)
		}
		text = encoded
	}
	if _, err := out.Write(text); err != nil {
		return fmt.Errorf("printing a version of %q: %w", name, err)
	}
	return nil
}

// encodeLine returns a value as one line of JSON.
func encodeLine(value any) ([]byte, error) {
	var line strings.Builder
	encoder := json.NewEncoder(&line)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(value)
	return []byte(line.String()), err
}
