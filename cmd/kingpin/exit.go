package main

import (
	"errors"
	"fmt"
	iofs "io/fs"
	"slices"

	"github.com/spf13/cobra"

	kpfs "github.com/kingpinfs/kingpin/fs"
	"github.com/kingpinfs/kingpin/store"
)

// Exit codes, for scripts.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitRefused     = 3 // an invalid value, a conflict, no permission
	exitUnavailable = 4 // a backend can't be reached
)

// exitCodes says what each kind of error means to a script.
var exitCodes = map[store.Kind]int{
	store.NotFound:    exitFailed,
	store.Exists:      exitRefused,
	store.Conflict:    exitRefused,
	store.Invalid:     exitRefused,
	store.Denied:      exitRefused,
	store.TooLarge:    exitRefused,
	store.Unavailable: exitUnavailable,
}

// refusals are errors without a kind that mean exitRefused.
var refusals = []error{kpfs.ErrInUse, iofs.ErrPermission}

// usageError is an error in the command line.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// usagef is for what cobra can't check: arguments that don't parse, flags that
// don't go together.
func usagef(format string, args ...any) error {
	return &usageError{fmt.Errorf(format, args...)}
}

// toldError is an error that somebody else has been told, who tells the user.
type toldError struct{ err error }

func (e *toldError) Error() string { return e.err.Error() }
func (e *toldError) Unwrap() error { return e.err }

// exitCode maps an error to the exit code that tells it.
func exitCode(err error) int {
	if err == nil {
		return exitDone
	}
	if _, ok := errors.AsType[*usageError](err); ok {
		return exitUsage
	}
	if worker, ok := errors.AsType[*workerError](err); ok {
		return worker.code
	}
	if child, ok := errors.AsType[*childExit](err); ok {
		return child.code
	}
	if code, ok := exitCodes[store.KindOf(err)]; ok {
		return code
	}
	if slices.ContainsFunc(refusals, func(refusal error) bool { return errors.Is(err, refusal) }) {
		return exitRefused
	}
	return exitFailed
}

// report tells the user of an error and returns the exit code.
func (a *app) report(command *cobra.Command, err error) int {
	code := exitCode(err)
	if _, ok := errors.AsType[*toldError](err); ok {
		return code
	}
	if err != nil {
		fmt.Fprintf(a.stderr, "kingpin: %v\n", err)
	}
	if code == exitUsage {
		fmt.Fprintf(a.stderr, "See '%s --help'.\n", command.CommandPath())
	}
	return code
}
