package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	kpfs "github.com/kingpinfs/kingpin/fs"
)

// workerCommand is the name of the command that does the monitor's work. It is
// also how a process is known to be a worker.
const workerCommand = "monitor-worker"

func (a *app) newWorkerCommand() *cobra.Command {
	return &cobra.Command{
		Use:    workerCommand,
		Hidden: true,
		Short:  "Do the work of kingpin monitor, which starts it",
		Long: `Serve what "kingpin monitor" holds. It is started by that, with descriptors that
it inherits, and is not for people.

It ends when the monitor says so or is gone, and heeds no signal but SIGKILL,
after which the monitor starts another.`,
		Example: "  kingpin monitor-worker",
		Args:    noArgs,
		RunE: a.runE(func(ctx context.Context, _ *cobra.Command, _ []string) error {
			return a.runWorker(ctx)
		}),
	}
}

// runWorker does what the holder says, whose end of the control socket this
// process must have inherited.
func (a *app) runWorker(ctx context.Context) error {
	control, err := inheritControl()
	if err != nil {
		return &usageError{fmt.Errorf("%s does the work of `kingpin monitor`, which starts it with what it needs: run that instead (%w)", workerCommand, err)}
	}
	defer control.close()
	// Signals go to all processes of a service, or of a terminal. But it is the
	// holder that unmounts, and somebody has to serve meanwhile.
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	ctx = context.WithoutCancel(ctx)
	w, err := a.greet(control)
	if err != nil {
		return err
	}
	ctx, end := w.link.open(ctx)
	defer end()
	err = w.run(ctx)
	if err == nil || ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	if control.send(message{Kind: sayFailed, Error: err.Error(), Code: exitCode(err)}) == nil {
		return &toldError{err}
	}
	return err
}

// inheritControl returns the worker's end of the control socket.
func inheritControl() (*control, error) {
	kind, err := unix.GetsockoptInt(controlNumber, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil || kind != unix.SOCK_SEQPACKET {
		return nil, fmt.Errorf("descriptor %d is no socket of a monitor's", controlNumber)
	}
	return newControl(inherited(controlNumber, "control"))
}

// inherited returns a file that the holder opened. It isn't inherited further.
func inherited(number int, name string) *os.File {
	unix.CloseOnExec(number)
	return os.NewFile(uintptr(number), name)
}

// greetTimeout bounds how long a holder takes to say what there is to do.
const greetTimeout = 10 * time.Second

// greet tells the holder of this process, and learns what to do.
func (a *app) greet(control *control) (*worker, error) {
	if err := control.send(message{Kind: sayStarted, Started: &started{Thread: watchedThread()}}); err != nil {
		return nil, err
	}
	if err := control.conn.SetReadDeadline(time.Now().Add(greetTimeout)); err != nil {
		return nil, err
	}
	m, err := control.receive()
	if err == nil && (m.Kind != sayHello || m.Hello == nil) {
		err = fmt.Errorf("it said %q first", m.Kind)
	}
	if err != nil {
		return nil, fmt.Errorf("learning from the monitor what to do: %w", err)
	}
	if err := control.conn.SetReadDeadline(time.Time{}); err != nil {
		return nil, err
	}
	a.logs = m.Hello.Log
	if a.log, err = a.logs.logger(a.stderr, new(cobra.Command)); err != nil {
		return nil, err
	}
	socket := inherited(listenerNumber, "listener")
	listener, err := net.FileListener(socket)
	if err := errors.Join(err, socket.Close()); err != nil {
		return nil, fmt.Errorf("taking the admin listener over: %w", err)
	}
	return &worker{
		hello: m.Hello, options: &m.Hello.Options, link: newLink(control, a.log),
		log: a.log, started: time.Now(), listener: listener,
	}, nil
}

// inherited returns the descriptors of the volume's holding.
func (v heldVolume) inherited() []kpfs.Descriptor {
	var all []kpfs.Descriptor
	for _, d := range v.Descriptors {
		all = append(all, kpfs.Descriptor{Name: d.Name, File: inherited(d.Number, d.Name)})
	}
	return all
}

// watchedThread starts a thread that does nothing and returns its id. It isn't
// the first one, which counts as living as long as any other does.
func watchedThread() int {
	ids := make(chan int)
	var wait func()
	wait = func() {
		runtime.LockOSThread()
		if id := unix.Gettid(); id != os.Getpid() {
			ids <- id
		} else {
			go wait() // on another thread, since this one is taken
		}
		select {}
	}
	go wait()
	return <-ids
}
