package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/pflag"

	"github.com/kingpinfs/kingpin/admin"
	"github.com/kingpinfs/kingpin/store"
)

// waitPoll is how often the monitor is asked while a command waits for it.
const waitPoll = 50 * time.Millisecond

// waitOptions are the flags of commands that can wait for the local monitor.
type waitOptions struct {
	wait    bool
	timeout time.Duration
	admin   adminOptions
}

func (o *waitOptions) addFlags(flags *pflag.FlagSet) {
	flags.BoolVar(&o.wait, "wait", false, "return when this machine's monitor serves the new version")
	flags.DurationVar(&o.timeout, "wait-timeout", 30*time.Second, "how long to wait for the monitor")
	o.admin.addFlags(flags)
}

// waitServed returns when the local monitor serves that version of a config,
// or a newer one. It does nothing unless --wait was given.
func (a *app) waitServed(ctx context.Context, o waitOptions, name string, version store.Version) error {
	if !o.wait {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	var last error
	for {
		served, err := o.admin.servedConfig(ctx, name)
		if err == nil && store.Version(served.Version).Compare(version) >= 0 {
			return nil
		}
		switch {
		case err == nil && served.Error != "":
			last = fmt.Errorf("it serves %q: %s", served.Version, served.Error)
		case err == nil:
			last = fmt.Errorf("it serves %q", served.Version)
		case ctx.Err() == nil:
			last = err
		}
		if store.KindOf(err) == store.Unavailable && ctx.Err() == nil {
			return fmt.Errorf("version %s of config %q is published, but the monitor can't be asked whether it serves it: %w", version, name, err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("version %s of config %q is published, but the monitor didn't serve it within %v: %w",
				version, name, o.timeout, errors.Join(last, context.Cause(ctx)))
		case <-time.After(waitPoll):
		}
	}
}

// servedConfig asks for one config. It is NotFound if this machine doesn't
// subscribe to it.
func (o *adminOptions) servedConfig(ctx context.Context, name string) (admin.FileStatus, error) {
	var status admin.Status
	if err := o.get(ctx, "/admin/status", &status); err != nil {
		return admin.FileStatus{}, err
	}
	for _, config := range status.Configs {
		if config.Name == name {
			return config, nil
		}
	}
	return admin.FileStatus{}, &store.Error{Op: "looking for config", Subject: name, Kind: store.NotFound,
		Err: errors.New("this machine doesn't subscribe to it: add it to the machine's dependency with `kingpin dependency add`")}
}
