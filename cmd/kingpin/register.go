package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/kingpinfs/kingpin/admin"
	"github.com/kingpinfs/kingpin/register"
)

// registerOptions are the flags of `kingpin register`.
type registerOptions struct {
	zookeeper   zookeeperOptions
	service     string
	environment string
	host        string
	port        uint16
	checks      []string
	interval    time.Duration
	timeout     time.Duration
	rise, fall  int
	session     time.Duration
	drain       time.Duration
	adminAddr   string
}

func (o *registerOptions) addFlags(flags *pflag.FlagSet) {
	o.zookeeper.addFlags(flags)
	flags.StringVarP(&o.service, "service", "s", "", "the `NAME` of the service")
	flags.StringVarP(&o.environment, "environment", "e", "", "the `NAME` of its environment, such as prod")
	flags.StringVar(&o.host, "host", "", "the `HOST` under which others reach the service\n(default the address from which this machine reaches ZooKeeper)")
	flags.Uint16VarP(&o.port, "port", "p", 0, "the `PORT` of the service")
	flags.StringArrayVar(&o.checks, "check", nil, "a `CHECK` that must pass; may be given several times (default tcp)")
	flags.DurationVar(&o.interval, "interval", register.DefaultInterval, "check this often")
	flags.DurationVar(&o.timeout, "timeout", register.DefaultTimeout, "a check that takes longer has failed")
	flags.IntVar(&o.rise, "rise", register.DefaultRise, "register when checks have passed so many times in a row")
	flags.IntVar(&o.fall, "fall", register.DefaultFall, "deregister when checks have failed so many times in a row")
	flags.DurationVar(&o.session, "session-timeout", register.DefaultSessionTimeout, "how long the registration stays if this process is killed,\nor can't reach ZooKeeper")
	flags.DurationVar(&o.drain, "drain", 5*time.Second, "how long callers are given to notice, between the end of the\nregistration and that of COMMAND, or of this process")
	flags.StringVar(&o.adminAddr, "admin-addr", "", "answer health checks, status and metrics on this `HOST:PORT`\n(default nowhere)")
}

func (a *app) newRegisterCommand() *cobra.Command {
	var options registerOptions
	cmd := &cobra.Command{
		Use:     "register -s SERVICE -e ENVIRONMENT -p PORT [-- COMMAND ARG...]",
		GroupID: groupMachine,
		Short:   "Register a service of this machine while it is healthy",
		Long: `Make HOST:PORT a member of the serverset discovery.SERVICE.ENVIRONMENT while its
checks pass: all of them, --rise times in a row to come in, and until they fail
--fall times in a row. CHECK is

  tcp                   a connection to HOST:PORT is accepted; also tcp:PORT and
                        tcp:HOST:PORT. Without any --check this one is made
  http://HOST:PORT/PATH GET is answered with a 2xx. HOST and PORT, if left out,
                        are the service's: http:///health
  thrift:METHOD         a call of METHOD, without arguments, is answered, and by
                        no exception. Framed and buffered transport are told
                        apart, or said: thrift:ping,framed  thrift:ping,compact
  exec:COMMAND          a command exits with 0. It is run without a shell

With COMMAND it runs that, registers it while it is healthy, and passes signals
on. SIGTERM and SIGINT deregister at once, wait for --drain, and only then end
COMMAND, by the same signal; a second one doesn't wait. It waits for COMMAND
however long that takes, and exits as COMMAND did, or with 128 and the number of
the signal that ended it. If this process is killed, COMMAND is killed, and the
registration ends with --session-timeout.

Whoever else has registered HOST:PORT stays registered: that is logged, and
tried again when they have gone. Under systemd it is ready when the service has
been registered.`,
		Example: `  kingpin register -s search -e prod -p 8080 -z /etc/kingpin/zookeepers --check http:///health
  kingpin register -s search -e prod -p 9090 --zk zk1:2181 --check thrift:ping -- search-server --port 9090`,
		Args:        registerArgs,
		Annotations: map[string]string{daemonAnnotation: "true"},
		RunE: a.runE(func(ctx context.Context, cmd *cobra.Command, args []string) error {
			return a.register(ctx, &options, args)
		}),
	}
	options.addFlags(cmd.Flags())
	return cmd
}

// registerArgs requires "--" before a command, so that its flags aren't taken for
// ours.
func registerArgs(cmd *cobra.Command, args []string) error {
	if dash := cmd.ArgsLenAtDash(); len(args) > 0 && dash != 0 {
		return fmt.Errorf("%s takes a COMMAND after --, but was given %q", cmd.CommandPath(), args)
	}
	return nil
}

// config makes the library's configuration. Its errors are of usage.
func (o *registerOptions) config(a *app) (register.Config, error) {
	for _, needed := range []struct{ flag, value string }{{"-s SERVICE", o.service}, {"-e ENVIRONMENT", o.environment}} {
		if needed.value == "" {
			return register.Config{}, usagef("what is to be registered? Give -s SERVICE, -e ENVIRONMENT and -p PORT: %s is missing", needed.flag)
		}
	}
	zookeeper, err := o.zookeeper.config(a.log)
	if err != nil {
		return register.Config{}, err
	}
	cfg := register.Config{
		Service: o.service, Environment: o.environment, Host: o.host, Port: int(o.port),
		Interval: o.interval, Timeout: o.timeout, Rise: o.rise, Fall: o.fall,
		ZooKeeper: strings.Join(zookeeper.Servers, ",") + zookeeper.Chroot, ZooKeeperAuth: zookeeper.Auth, ZooKeeperTLS: zookeeper.TLS,
		SessionTimeout: o.session, Logger: a.log,
	}
	for _, text := range o.checks {
		check, err := register.ParseCheck(text)
		if err != nil {
			return cfg, &usageError{err}
		}
		cfg.Checks = append(cfg.Checks, check)
	}
	if o.drain < 0 {
		return cfg, usagef("--drain %v: want no time below 0", o.drain)
	}
	// What is 0 is the default for the library, and a mistake here.
	for flag, missing := range map[string]bool{
		"interval": o.interval == 0, "timeout": o.timeout == 0, "session-timeout": o.session == 0, "rise": o.rise == 0, "fall": o.fall == 0,
	} {
		if missing {
			return cfg, usagef("--%s 0: want more than 0", flag)
		}
	}
	if err := cfg.Validate(); err != nil {
		return cfg, &usageError{err}
	}
	return cfg, nil
}

// register keeps a service registered, and runs its command if there is one.
func (a *app) register(ctx context.Context, o *registerOptions, command []string) error {
	cfg, err := o.config(a)
	if err != nil {
		return err
	}
	if len(command) > 0 {
		if _, err := exec.LookPath(command[0]); err != nil {
			return usagef("the COMMAND can't be run: %w", err)
		}
	}
	manager := newManagerNews(o.interval, o.timeout)
	cfg.Changed = manager.changed
	registration := register.New(cfg)
	defer manager.follow(registration, a.log)()
	end, err := a.answerAdmin(ctx, o.adminAddr, registration.Handler())
	if err != nil {
		return err
	}
	defer end()
	if len(command) > 0 {
		return a.superviseRegistered(ctx, registration, o.drain, command)
	}
	stop := func() {}
	if !signal.Ignored(syscall.SIGHUP) { // as by nohup
		ctx, stop = signal.NotifyContext(ctx, syscall.SIGHUP)
	}
	err = registration.Run(ctx)
	ending := ctx.Err() != nil
	stop() // from now on a signal ends this process
	if ending {
		a.drain(registration, o.drain, nil)
	}
	return err
}

// drain waits until callers had the time to notice that the service is no member
// any more, or until hurry.
func (a *app) drain(registration *register.Registration, limit time.Duration, hurry <-chan struct{}) {
	left := registration.Status().LeftAt
	wait := time.Until(left.Add(limit))
	if left.IsZero() || wait <= 0 {
		return
	}
	a.log.Info("waiting until callers have noticed", "drain", wait.Round(time.Millisecond))
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-hurry:
	}
}

// answerAdmin answers requests on an address, unless that is empty, until end is
// called.
func (a *app) answerAdmin(ctx context.Context, addr string, handler http.Handler) (end func(), err error) {
	if addr == "" {
		return func() {}, nil
	}
	if _, _, err := net.SplitHostPort(addr); err != nil {
		return nil, usagef("--admin-addr %q: want HOST:PORT", addr)
	}
	listener, err := admin.Listen(ctx, addr)
	if err != nil {
		return nil, err
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: time.Minute}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			a.log.Error("answering admin requests", "error", err)
		}
	}()
	return func() {
		_ = server.Close() // what is being answered is cut off
		<-done
	}, nil
}
