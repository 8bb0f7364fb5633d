package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kingpinfs/kingpin/admin"
	kpfs "github.com/kingpinfs/kingpin/fs"
	"github.com/kingpinfs/kingpin/internal/sdnotify"
	"github.com/kingpinfs/kingpin/store"
)

// holder is the process that `kingpin monitor` is: it keeps what must outlive
// the process that does the work, and sees to it that there is one.
type holder struct {
	app     *app
	options *monitorOptions
	log     *slog.Logger
	started time.Time

	holdings []*kpfs.Holding // of the volumes, in their order
	volumes  []*held
	lock     *dirLock
	listener *net.TCPListener
	stop     context.CancelCauseFunc // ends the monitor
	isReady  bool                    // has been told to the service manager
}

// runMonitor serves until ctx is done. When everything that can be served is
// served for the first time it calls ready, with the line that says so and the
// address of the admin endpoints.
func (a *app) runMonitor(ctx context.Context, options *monitorOptions, ready func(line, adminAddr string)) (err error) {
	stored := sdnotify.Stored()
	h := &holder{app: a, options: options, log: a.log, started: time.Now()}
	handedOver := false
	defer func() { err = errors.Join(err, h.close(handedOver)) }()
	if err := h.open(ctx, stored); err != nil {
		return err
	}
	ctx, h.stop = context.WithCancelCause(ctx)
	defer h.stop(nil)
	s, err := h.newSupervisor(ctx, ready)
	if err != nil {
		return err
	}
	defer h.handleSignals(s)()
	defer h.feedWatchdog(s)()
	context.AfterFunc(ctx, func() { s.tell(sdStopping) })
	err = s.run(ctx)
	handedOver = errors.Is(context.Cause(ctx), errHandOver)
	return err
}

// What the service manager is told.
const (
	sdReady    = "READY=1"
	sdStopping = "STOPPING=1"
	sdAlive    = "WATCHDOG=1"
)

// open takes everything that the holder keeps, so that what can't be had is
// found out before anything is served.
func (h *holder) open(ctx context.Context, stored map[string]*os.File) error {
	if err := h.options.Fleet.check(); err != nil {
		return errors.Join(err, closeFiles(stored))
	}
	// First the directories: a monitor that was killed may be unable to end, and
	// to give its other locks back, until its mounts are taken away.
	for _, v := range []struct {
		name, dir, fsName string
		writable          bool
	}{
		{configVolume, h.options.ConfigDir, "kingpin-config", true},
		{serversetVolume, h.options.ServersetDir, "kingpin-serverset", false},
	} {
		config := kpfs.HoldingConfig{Dir: v.dir, FSName: v.fsName, Writable: v.writable, Logger: h.log}
		held := &held{
			name: v.name, dir: v.dir, log: h.log, wanted: h.options.Mode != kpfs.Plain,
			retries: backoff{least: defaultPace().backoff[0], most: defaultPace().backoff[1]},
		}
		if !held.wanted {
			held.why = "plain files were asked for"
		}
		holding, err := h.resume(held, config, stored)
		if err != nil {
			return errors.Join(err, closeFiles(stored))
		}
		if holding == nil {
			holding = kpfs.NewHolding(config)
			if err := holding.Open(ctx); err != nil {
				return errors.Join(err, closeFiles(stored))
			}
		}
		held.holding = holding
		h.holdings, h.volumes = append(h.holdings, holding), append(h.volumes, held)
	}
	h.forget(stored)
	if err := h.lockState(ctx); err != nil {
		return err
	}
	listener, err := admin.Listen(ctx, h.options.AdminAddr)
	if err != nil {
		return err
	}
	h.listener = listener
	return h.connect(ctx)
}

// lockState locks the state directory, if possible.
func (h *holder) lockState(ctx context.Context) error {
	lock, err := lockDir(ctx, h.options.StateDir)
	if errors.Is(err, store.Conflict) {
		return err
	}
	if err != nil {
		// Serving matters more than what the next start will know.
		h.log.Warn("the state directory can't be locked; mend it, or give another with --state-dir", "error", err)
	}
	h.lock = lock
	return nil
}

// connect starts the FUSE sessions. Where FUSE can't be had, plain files serve
// for good, unless FUSE was demanded.
func (h *holder) connect(ctx context.Context) error {
	for _, v := range h.volumes {
		err := v.connect(ctx)
		if err != nil && (h.options.Mode == kpfs.FUSE || ctx.Err() != nil) {
			return err
		}
		if err != nil {
			v.wanted = false
			h.log.Warn("serving plain files instead of a FUSE mount", "dir", v.dir, "reason", err)
		}
	}
	return nil
}

func (h *holder) newSupervisor(ctx context.Context, ready func(line, adminAddr string)) (*supervisor, error) {
	socket, err := h.listener.File()
	if err != nil {
		return nil, fmt.Errorf("sharing the admin listener: %w", err)
	}
	context.AfterFunc(ctx, func() { _ = socket.Close() })
	s := &supervisor{
		volumes: h.volumes, program: newProgram(workerCommand), listener: socket, stderr: h.app.stderr,
		log: h.log, pace: defaultPace(), required: h.options.Mode == kpfs.FUSE,
		hello: hello{
			Options: *h.options, Log: h.app.logs,
			Holder:        holderFacts{PID: os.Getpid(), Version: version, StartedAt: h.started},
			KeptElsewhere: h.isKeptElsewhere(),
		},
		stop:      func() { h.stop(nil) },
		reloading: h.reloading,
		standIn:   h.standIn,
	}
	s.ready = func(line string) {
		s.tell(sdReady + "\nSTATUS=" + line)
		if h.isReady {
			h.log.Info("the worker is ready", "line", line)
			return
		}
		h.isReady = true
		ready(line, h.listener.Addr().String())
	}
	return s, nil
}

// descriptorsKept is how many descriptors of a volume the service manager has to
// keep at most.
const descriptorsKept = 5

// isKeptElsewhere tells whether the service manager keeps the mounts beside us.
func (h *holder) isKeptElsewhere() bool {
	return sdnotify.StoreLimit() >= descriptorsKept*len(h.volumes)
}

// handleSignals has SIGHUP read everything again, and SIGUSR2 end the holder
// without taking the mounts away, if the service manager keeps them for the next
// one. The function that it returns ends that.
func (h *holder) handleSignals(s *supervisor) (end func()) {
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	s.reload = hangups
	restarts := make(chan os.Signal, 1)
	signal.Notify(restarts, syscall.SIGUSR2)
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case <-done:
		case <-restarts:
			if h.isKeptElsewhere() {
				h.log.Info("SIGUSR2: ending, the mounts stay for the next monitor")
				h.stop(errHandOver)
				return
			}
			h.log.Info("SIGUSR2: ending; nobody keeps the mounts meanwhile, so they are taken away")
			h.stop(nil)
		}
	}()
	return func() {
		signal.Stop(hangups)
		signal.Stop(restarts)
		close(done)
		<-ended
	}
}

// reloading tells the service manager that everything is read again, and at the
// function's call that this is under way.
func (h *holder) reloading() (done func()) {
	if !h.isReady {
		return func() {} // "ready" would be wrong
	}
	tell := func(state string) {
		if err := sdnotify.Notify(state); err != nil {
			h.log.Warn("the service manager can't be told of a reload", "error", err)
		}
	}
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		h.log.Warn("reading the clock", "error", err)
	}
	tell(fmt.Sprintf("RELOADING=1\nMONOTONIC_USEC=%d", now.Nano()/int64(time.Microsecond)))
	return func() { tell(sdReady) }
}

// feedWatchdog tells the service manager's watchdog again and again that the
// supervisor isn't stuck. A worker that is stuck is the supervisor's matter, and
// so is that plain files serve meanwhile. The function that it returns ends it.
func (h *holder) feedWatchdog(s *supervisor) (end func()) {
	interval := sdnotify.WatchdogInterval()
	if interval <= 0 {
		return func() {}
	}
	alive := make(chan struct{})
	s.alive = alive
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(interval / 2)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
			}
			select {
			case <-done:
				return
			case alive <- struct{}{}:
				s.tell(sdAlive)
			}
		}
	}()
	return func() {
		close(done)
		<-ended
	}
}

// close gives back what open took. Mounts that are still there are taken away,
// unless somebody else keeps them.
func (h *holder) close(handedOver bool) error {
	var errs []error
	for _, v := range h.volumes {
		if !handedOver {
			v.abort("the monitor has ended")
		}
	}
	for _, holding := range h.holdings {
		errs = append(errs, holding.Close())
	}
	if h.listener != nil {
		errs = append(errs, h.listener.Close())
	}
	return errors.Join(append(errs, h.lock.Close())...)
}

// closeFiles closes what is left of the service manager's descriptors.
func closeFiles(files map[string]*os.File) error {
	var errs []error
	for name, file := range files {
		errs = append(errs, file.Close())
		delete(files, name)
	}
	return errors.Join(errs...)
}

// volumeOf splits the name by which the service manager keeps a descriptor.
func volumeOf(stored string) (volume, descriptor string) {
	volume, descriptor, _ = strings.Cut(stored, "-")
	return volume, descriptor
}
