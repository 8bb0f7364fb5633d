package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func (a *app) newShellCommand() *cobra.Command {
	var options fleetOptions
	cmd := &cobra.Command{
		Use:   "shell",
		Short: "A menu of what people do with a fleet",
		Long: `Show a menu of what people do with a fleet, ask for what is needed, and do it.
Where a name is asked for, ? lists those that there are. The command that does
the same from a command line is shown each time.`,
		Example: "  kingpin shell",
		Args:    noArgs,
		GroupID: groupValues,
		RunE: a.runE(func(ctx context.Context, cmd *cobra.Command, _ []string) error {
			if err := options.check(); err != nil {
				return err
			}
			s := &shell{app: a, options: &options}
			options.visitSet(cmd.Flags(), func(flag *pflag.Flag) {
				s.flags = append(s.flags, "--"+flag.Name+"="+flag.Value.String())
			})
			err := s.run(ctx)
			if errors.Is(err, io.ErrUnexpectedEOF) { // who types no more leaves
				fmt.Fprintln(a.stdout)
				return nil
			}
			return err
		}),
	}
	options.addFlags(cmd.Flags())
	return cmd
}

// visitSet calls f with those flags of the options that are set.
func (o *fleetOptions) visitSet(flags *pflag.FlagSet, f func(*pflag.Flag)) {
	ours := pflag.NewFlagSet("", pflag.ContinueOnError)
	new(fleetOptions).addFlags(ours)
	flags.Visit(func(flag *pflag.Flag) {
		if ours.Lookup(flag.Name) != nil {
			f(flag)
		}
	})
}

// shell is a person's dialogue.
type shell struct {
	app     *app
	options *fleetOptions
	flags   []string // by which the commands find the fleet
}

// errBack ends an action before it is done.
var errBack = errors.New("back to the menu")

func (s *shell) run(ctx context.Context) error {
	for {
		s.printMenu()
		answer, err := s.ask(ctx, "What do you want to do? (a number, or q to quit)")
		if err != nil {
			return err
		}
		if answer == "q" {
			return nil
		}
		n, err := strconv.Atoi(answer)
		if err != nil || n < 1 || n > len(shellActions) {
			fmt.Fprintf(s.app.stdout, "There is no %q in the menu.\n", answer)
			continue
		}
		if err := s.do(ctx, shellActions[n-1]); err != nil && !errors.Is(err, errBack) {
			return err
		}
	}
}

func (s *shell) printMenu() {
	out := s.app.stdout
	group := ""
	for i, action := range shellActions {
		if action.group != group {
			group = action.group
			fmt.Fprintf(out, "\n%s\n", group)
		}
		fmt.Fprintf(out, "%4d  %s\n", i+1, action.title)
	}
	fmt.Fprintln(out)
}

// ask returns the answer to a question, without the space around it.
func (s *shell) ask(ctx context.Context, question string) (string, error) {
	fmt.Fprintf(s.app.stdout, "%s: ", question)
	line, err := s.app.readLine(ctx)
	return strings.TrimSpace(line), err
}

// do asks for what an action needs, and runs its command.
func (s *shell) do(ctx context.Context, action shellAction) error {
	var args []string
	for _, input := range action.inputs {
		answers, err := s.askFor(ctx, input)
		if err != nil {
			return err
		}
		args = append(args, answers...)
	}
	words := strings.Fields(action.command)
	if action.changes {
		comment, err := s.ask(ctx, "Why? (for the history; may be left empty)")
		if err != nil {
			return err
		}
		if comment != "" {
			words = append(words, "--comment="+comment)
		}
	}
	if slices.ContainsFunc(args, func(arg string) bool { return strings.HasPrefix(arg, "-") }) {
		words = append(words, "--")
	}
	words = append(words, args...)
	fmt.Fprintf(s.app.stdout, "→ kingpin %s\n", shellLine(words))
	return s.runCommand(ctx, words)
}

// askFor asks until there is an answer. None at all leads back to the menu, if
// one is needed.
func (s *shell) askFor(ctx context.Context, input shellInput) ([]string, error) {
	question := input.question
	if input.names != nil {
		question += " (? lists them)"
	}
	for {
		answer, err := s.ask(ctx, question)
		switch {
		case err != nil:
			return nil, err
		case answer == "?" && input.names != nil:
			s.list(ctx, input.names)
			continue
		case answer == "" && input.optional:
			return nil, nil
		case answer == "":
			return nil, errBack
		case input.many:
			return strings.Fields(answer), nil
		}
		return []string{answer}, nil
	}
}

// list prints the names that there are.
func (s *shell) list(ctx context.Context, names fleetNames) {
	err := s.app.withFleet(ctx, s.options, func(ctx context.Context, f *fleet) error {
		found, err := names(ctx, f)
		for _, name := range found {
			fmt.Fprintln(s.app.stdout, "  "+lineText(name))
		}
		return err
	})
	if err != nil {
		fmt.Fprintf(s.app.stderr, "kingpin: %v\n", err)
	}
}

// runCommand runs a command as if it were called from a command line. That it
// fails is told, and no reason to end the dialogue.
func (s *shell) runCommand(ctx context.Context, words []string) error {
	command := &app{stdin: s.app.stdin, stdout: s.app.stdout, stderr: s.app.stderr, log: s.app.log}
	root := command.newRootCommand()
	root.SetArgs(slices.Concat(words[:2], s.flags, words[2:]))
	root.SetIn(command.stdin)
	root.SetOut(command.stdout)
	root.SetErr(command.stderr)
	ran, err := root.ExecuteContextC(ctx)
	if err != nil && !command.started {
		err = &usageError{err}
	}
	command.report(ran, err)
	return context.Cause(ctx)
}

// shellLine quotes words for a shell, where that is needed.
func shellLine(words []string) string {
	quoted := make([]string, len(words))
	for i, word := range words {
		quoted[i] = word
		if word == "" || strings.ContainsFunc(word, func(c rune) bool { return !strings.ContainsRune(plainChars, c) }) {
			quoted[i] = "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
		}
	}
	return harmless(strings.Join(quoted, " "))
}

// plainChars mean nothing to a shell.
const plainChars = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:,=@%+"
