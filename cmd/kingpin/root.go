package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// app is what every command is given.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	// log writes to stderr. It is set before a command runs, by --log-level
	// and --log-format.
	log *slog.Logger
	// logs is how log was made, for other processes that are to log likewise.
	logs logOptions
	// started says that cobra accepted the command line and a command ran.
	started bool
}

// run executes a command line and returns the exit code. The first interrupt
// or SIGTERM cancels the command's context, a second one ends the process.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	return execute(ctx, args, stdin, stdout, stderr)
}

// execute is run without the signals, for commands within a command.
func execute(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := &app{stdin: stdin, stdout: stdout, stderr: stderr, log: slog.New(slog.DiscardHandler)}
	root := a.newRootCommand()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	command, err := root.ExecuteContextC(ctx)
	if err != nil && !a.started {
		err = &usageError{err}
	}
	return a.report(command, err)
}

// The groups of `kingpin --help`.
const (
	groupMachine = "machine"
	groupValues  = "values"
	groupFleet   = "fleet"
)

func (a *app) newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "kingpin",
		Short: "Configs and service members for every machine of a fleet, as files",
		Long: `kingpin distributes configs and the members of services to every machine of a
fleet, as files: /var/config and /var/serverset, kept current by
"kingpin monitor". Contents are kept in S3, what counts is in ZooKeeper.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 refused (an invalid value, a
conflict, no permission), 4 a backend can't be reached.

A flag with a variable in [brackets] can be set in the environment; the flag
wins.`,
		Example: `  kingpin dev
  kingpin config put config.manageddata.spam.grey_list list.json
  kingpin monitor --dependency web.dep --zk zk1:2181,zk2:2181 --s3-bucket fleet`,
		Args:          noArgs,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			if err := applyEnvironment(cmd.Flags(), os.Getenv); err != nil {
				return err
			}
			log, err := a.logs.logger(a.stderr, cmd)
			if err != nil {
				return err
			}
			a.log = log
			return nil
		},
	}
	a.logs.addFlags(root.PersistentFlags())
	root.CompletionOptions.DisableDefaultCmd = true
	root.AddGroup(
		&cobra.Group{ID: groupMachine, Title: "On a machine:"},
		&cobra.Group{ID: groupValues, Title: "Values:"},
		&cobra.Group{ID: groupFleet, Title: "What machines get:"},
	)
	root.AddCommand(
		a.newMonitorCommand(),
		a.newWorkerCommand(),
		a.newStatusCommand(),
		a.newServersetCommand(),
		a.newRegisterCommand(),
		a.newDevCommand(),
		a.newConfigCommand(),
		a.newListCommand(),
		a.newMapCommand(),
		a.newMappedListCommand(),
		a.newDeciderCommand(),
		a.newShellCommand(),
		a.newMetaconfigCommand(),
		a.newDependencyCommand(),
		a.newVersionCommand(),
		a.newCompletionCommand(),
	)
	root.InitDefaultHelpCmd()
	for _, command := range root.Commands() {
		if command.Name() == "help" {
			command.Example = "  kingpin help config put"
		}
	}
	return root
}

// runE makes a command's RunE of a function that gets the command's context
// and arguments. Every command that does something uses it: until it is called
// an error is one of usage.
func (a *app) runE(f func(ctx context.Context, cmd *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		a.started = true
		return f(cmd.Context(), cmd, args)
	}
}

// newGroupCommand makes a command that only holds others.
func newGroupCommand(use, short, long, example string) *cobra.Command {
	return &cobra.Command{
		Use:     use,
		Short:   short,
		Long:    long,
		Example: example,
		Args:    cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return fmt.Errorf("%q needs a subcommand", cmd.CommandPath())
			}
			return unknownCommand(cmd, args[0])
		},
	}
}

// unknownCommand is the error of a name that parent has no command of.
func unknownCommand(parent *cobra.Command, name string) error {
	parent.SuggestionsMinimumDistance = 2 // typing errors
	if similar := parent.SuggestionsFor(name); len(similar) > 0 {
		return fmt.Errorf("%q has no command %q: did you mean %s?", parent.CommandPath(), name, strings.Join(similar, " or "))
	}
	return fmt.Errorf("%q has no command %q", parent.CommandPath(), name)
}

// noArgs refuses arguments to a command that takes none.
func noArgs(cmd *cobra.Command, args []string) error {
	switch {
	case len(args) == 0:
		return nil
	case cmd.HasSubCommands():
		return unknownCommand(cmd, args[0])
	}
	return fmt.Errorf("%s takes no arguments, but was given %q", cmd.CommandPath(), args)
}
