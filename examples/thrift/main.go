// An example of package thriftpool: a Thrift service, and a client that calls it
// through a pool.
//
//	go run ./examples/thrift server --listen 127.0.0.1:9090
//	go run ./examples/thrift client --hosts 127.0.0.1:9090
//
// Start several servers and give the client all of them; or a serverset's file,
// which may change while the client runs:
//
//	go run ./examples/thrift client --serverset /var/serverset/discovery.users.prod --for 1m
package main

//go:generate thrift -strict -out gen --gen go:skip_remote,package_prefix=github.com/kingpinfs/kingpin/examples/thrift/gen/ users.thrift
//go:generate gofmt -w gen/users

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) == 0 {
		return errors.New("want a command: server, or client")
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	flags.SetOutput(out)
	switch args[0] {
	case "server":
		listen := flags.String("listen", "127.0.0.1:0", "where to listen, as host:port")
		if err := flags.Parse(args[1:]); err != nil {
			return err
		}
		return server(ctx, *listen, out)
	case "client":
		var options clientOptions
		flags.StringVar(&options.hosts, "hosts", "", "the servers, as host:port, with commas between")
		flags.StringVar(&options.serverset, "serverset", "", "a file that lists the servers, instead of --hosts")
		flags.DurationVar(&options.duration, "for", 0, "call for so long; 0 makes each call once")
		if err := flags.Parse(args[1:]); err != nil {
			return err
		}
		return client(ctx, options, out)
	default:
		return fmt.Errorf("there is no command %q: want server, or client", args[0])
	}
}
