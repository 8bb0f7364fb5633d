package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	kpfs "github.com/kingpinfs/kingpin/fs"
)

// devOptions are the flags of `kingpin dev`.
type devOptions struct {
	dir  string
	mode kpfs.Mode
	walk bool
}

func (a *app) newDevCommand() *cobra.Command {
	options := devOptions{mode: kpfs.Auto}
	cmd := &cobra.Command{
		Use:     "dev",
		GroupID: groupMachine,
		Short:   "Run a whole fleet of one on this machine, with sample data",
		Long: `Start ZooKeeper, S3 and a monitor on this machine, with a little sample data,
and print what to try next. Ctrl-C ends it all and leaves nothing behind.

ZooKeeper is the real one: Debian's package, or the jar that
KINGPIN_ZOOKEEPER_JAR names. S3 is built in and forgets everything at the end.
As root the files are served by FUSE; as anybody else they are plain files.

With --walk it first shows the main job, step by step, and checks each step. On
a terminal it then stays up to be tried; else it exits, 0 if all steps held.`,
		Example: `  kingpin dev
  kingpin dev --walk
  kingpin dev --dir /tmp/kingpin --mode plain`,
		Args: noArgs,
		RunE: a.runE(func(ctx context.Context, _ *cobra.Command, _ []string) error {
			return a.runDev(ctx, &options)
		}),
	}
	flags := cmd.Flags()
	flags.StringVar(&options.dir, "dir", "", "where everything lives while it runs (default a temporary directory); what it makes there is removed at the end")
	flags.Var(&options.mode, "mode", "fuse, plain or auto, as for kingpin monitor")
	flags.BoolVar(&options.walk, "walk", false, "show the main job, step by step")
	return cmd
}

// runDev keeps a fleet of one up until ctx is done, or the walk is.
func (a *app) runDev(ctx context.Context, options *devOptions) (err error) {
	fleet := &devFleet{app: a}
	defer func() { err = errors.Join(err, fleet.close(context.WithoutCancel(ctx))) }()
	if err := fleet.start(ctx, options); err != nil {
		return orInterrupted(ctx, err)
	}
	monitorCtx, stopMonitor := context.WithCancel(ctx)
	defer stopMonitor()
	ready := make(chan string, 1)
	ended := make(chan error, 1)
	go func() {
		ended <- a.runMonitor(monitorCtx, &fleet.options, func(line, adminAddr string) {
			a.progress("%s", line)
			fleet.writable = strings.HasPrefix(line, "ready mode=fuse ")
			ready <- adminAddr
		})
	}()
	select {
	case err := <-ended:
		if err == nil {
			err = orInterrupted(ctx, nil)
		}
		return err
	case adminAddr := <-ready:
		err = fleet.setEnvironment(adminAddr)
	}
	if err == nil {
		err = a.useDev(ctx, fleet, options, ended)
	}
	stopMonitor()
	return errors.Join(err, <-ended)
}

// useDev is what happens while the fleet is up. It ends when ctx is done, and
// when the monitor ends by itself.
func (a *app) useDev(ctx context.Context, fleet *devFleet, options *devOptions, ended chan error) error {
	if options.walk {
		if err := a.walk(ctx, fleet); err != nil {
			return orInterrupted(ctx, err)
		}
		if !isTerminal(a.stdin) {
			return nil
		}
	}
	fmt.Fprint(a.stdout, fleet.hints())
	select {
	case <-ctx.Done():
	case err := <-ended:
		ended <- err
	}
	a.progress("stopping")
	return nil
}

// orInterrupted returns err, unless the person has interrupted what it is of:
// whatever failed then need not be explained.
func orInterrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return errors.New("interrupted")
	}
	return err
}

// progress tells the person what is going on.
func (a *app) progress(format string, args ...any) {
	fmt.Fprintf(a.stderr, "kingpin dev: "+format+"\n", args...)
}

// hints says what can be tried.
func (f *devFleet) hints() string {
	write := ""
	if f.writable {
		write = "\n  echo 20 > $CONFIGS/decider/new_feed              # sets it for the fleet"
	}
	replace := strings.NewReplacer("DIR", f.dir, "WRITE", write)
	return replace.Replace(`
A fleet of one is up. In another terminal:

  . DIR/env                                    # tells kingpin where it is
  kingpin status                               # what this machine serves
  ls -l $CONFIGS $SERVERSETS
  cat $CONFIGS/config.manageddata.spam.grey_list
  cat $CONFIGS/decider/new_feed $SERVERSETS/discovery.demo.prodWRITE

  echo '["10.0.0.9"]' | kingpin config put config.manageddata.spam.grey_list
  cat $CONFIGS/config.manageddata.spam.grey_list
  kingpin config history config.manageddata.spam.grey_list

  kingpin metaconfig create-config demo colors     # a new config
  kingpin dependency add dev.dep config.manageddata.demo.colors
  echo '{"sky": "blue"}' | kingpin config put config.manageddata.demo.colors
  kingpin dependency show dev.dep --recursive

Ctrl-C ends it and leaves nothing behind.
`)
}
