package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/kingpinfs/kingpin/examples/thrift/gen/users"
	"github.com/kingpinfs/kingpin/serverset"
	"github.com/kingpinfs/kingpin/thriftpool"
)

type clientOptions struct {
	hosts     string
	serverset string
	duration  time.Duration
}

// client calls the service through a pool.
func client(ctx context.Context, options clientOptions, out io.Writer) (err error) {
	provider, done, err := options.provider(ctx)
	if err != nil {
		return err
	}
	defer done()
	pool, err := thriftpool.New(provider, thriftpool.Options{
		Name: "users",
		// create isn't here: what may have been created is not created again.
		Idempotent: []string{"get"},
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, pool.Close(context.WithoutCancel(ctx))) }()
	if err := pool.Warm(ctx); err != nil {
		return err
	}
	calls := 0
	for begun := time.Now(); ; {
		if err := visit(ctx, pool, out, calls == 0); err != nil {
			return err
		}
		calls++
		if time.Since(begun) >= options.duration || ctx.Err() != nil {
			break
		}
	}
	fmt.Fprintf(out, "%d rounds\n", calls)
	return nil
}

// provider returns what knows the hosts, and what ends it.
func (o *clientOptions) provider(ctx context.Context) (serverset.Provider, func(), error) {
	if o.serverset == "" {
		hosts, err := serverset.NewStatic(strings.Split(o.hosts, ",")...)
		return hosts, func() {}, err
	}
	file := serverset.NewFile(o.serverset, serverset.FileOptions{})
	if err := file.Open(ctx); err != nil {
		return nil, nil, err
	}
	return file, file.Close, nil
}

// visit makes each of the calls once. Users live on the server that made them, so
// with several servers some aren't found.
func visit(ctx context.Context, pool *thriftpool.Pool, out io.Writer, verbose bool) error {
	say := func(format string, args ...any) {
		if verbose {
			fmt.Fprintf(out, format, args...)
		}
	}
	service := users.NewUsersClient(pool) // for this goroutine alone
	id, err := service.Create(ctx, "Ada")
	if failed := new(thriftpool.Error); errors.As(err, &failed) && failed.Sent {
		say("perhaps Ada was created: %v\n", err)
		return nil
	}
	if err != nil {
		return err
	}
	say("Ada is number %d\n", id)
	user, err := service.Get(ctx, id)
	var notFound *users.NotFound
	switch {
	case errors.As(err, &notFound):
		say("this server knows no number %d\n", notFound.ID)
	case err != nil:
		return err
	default:
		say("number %d is %s\n", user.ID, user.Name)
	}
	return service.Visited(ctx, id)
}
