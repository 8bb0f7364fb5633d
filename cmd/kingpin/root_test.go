package main

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/google/shlex"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// allCommands returns every command, parents first.
func allCommands() []*cobra.Command {
	all := []*cobra.Command{new(app).newRootCommand()}
	for i := 0; i < len(all); i++ {
		all = append(all, all[i].Commands()...)
	}
	return all
}

func TestEveryCommandIsDocumented(t *testing.T) {
	for _, cmd := range allCommands() {
		t.Run(cmd.CommandPath(), func(t *testing.T) {
			if cmd.Short == "" || cmd.Long == "" {
				t.Errorf("it has no description")
			}
			if strings.HasSuffix(cmd.Short, ".") {
				t.Errorf("its short description ends in a full stop: %q", cmd.Short)
			}
			for line := range strings.Lines(cmd.Long) {
				if len(line) > 81 {
					t.Errorf("a line of its description is longer than 80 characters: %q", line)
				}
			}
			if cmd.Example == "" {
				t.Errorf("it has no example")
			}
			cmd.Flags().VisitAll(func(flag *pflag.Flag) {
				if flag.Usage == "" {
					t.Errorf("its flag --%s has no description", flag.Name)
				}
			})
		})
	}
}

// Whatever prints data prints it for programs too.
func TestEveryCommandThatPrintsHasOutput(t *testing.T) {
	printNothing := strings.Fields("completion dev help monitor monitor-worker register shell dependency/add dependency/create dependency/remove metaconfig/remove serverset/accept")
	for _, cmd := range allCommands() {
		path := strings.ReplaceAll(strings.TrimPrefix(strings.TrimPrefix(cmd.CommandPath(), "kingpin"), " "), " ", "/")
		if cmd.HasSubCommands() || slices.Contains(printNothing, path) {
			continue
		}
		if flag := cmd.Flags().Lookup("output"); flag == nil || flag.DefValue != "table" {
			t.Errorf("%s has no --output, or one that isn't table by default", cmd.CommandPath())
		}
	}
}

// An example that a command refuses is worse than none.
func TestEveryExampleIsAccepted(t *testing.T) {
	for _, documented := range allCommands() {
		t.Run(documented.CommandPath(), func(t *testing.T) {
			for line := range strings.Lines(documented.Example) {
				args := exampleArgs(t, line)
				root := new(app).newRootCommand()
				cmd, rest, err := root.Find(args)
				if err != nil {
					t.Errorf("%q: %v", line, err)
					continue
				}
				if err := cmd.ParseFlags(rest); err != nil {
					t.Errorf("%q: %v", line, err)
					continue
				}
				if err := cmd.ValidateArgs(cmd.Flags().Args()); err != nil {
					t.Errorf("%q: %v", line, err)
				}
				if !cmd.HasSubCommands() && cmd.RunE == nil && cmd.Run == nil {
					t.Errorf("%q: %s does nothing", line, cmd.CommandPath())
				}
			}
		})
	}
}

// exampleArgs finds the arguments of kingpin in a line of shell.
func exampleArgs(t *testing.T, line string) []string {
	t.Helper()
	words, err := shlex.Split(line)
	if err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	for i, word := range words {
		if word != "kingpin" {
			continue
		}
		args := words[i+1:]
		for j, arg := range args {
			if arg == ">" || arg == "|" || arg == "&&" {
				return args[:j]
			}
		}
		return args
	}
	t.Fatalf("%q doesn't call kingpin", line)
	return nil
}

func TestHelpOfEveryCommandGoesToStdout(t *testing.T) {
	for _, cmd := range allCommands() {
		t.Run(cmd.CommandPath(), func(t *testing.T) {
			if cmd.Name() == "help" {
				return
			}
			var stdout, stderr bytes.Buffer
			args := append(strings.Fields(cmd.CommandPath())[1:], "--help")
			if code := run(t.Context(), args, strings.NewReader(""), &stdout, &stderr); code != exitDone {
				t.Errorf("it exits with %d", code)
			}
			if !strings.Contains(stdout.String(), "Usage:") || !strings.Contains(stdout.String(), "Examples:") || stderr.Len() > 0 {
				t.Errorf("stdout:\n%s\nstderr:\n%s", &stdout, &stderr)
			}
		})
	}
}
