package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sync/errgroup"

	"github.com/kingpinfs/kingpin/admin"
	kpfs "github.com/kingpinfs/kingpin/fs"
	"github.com/kingpinfs/kingpin/internal/s3blob"
	"github.com/kingpinfs/kingpin/internal/zkconn"
	"github.com/kingpinfs/kingpin/store"
	kpsync "github.com/kingpinfs/kingpin/sync"
)

// monitor is the parts of a running monitor.
type monitor struct {
	app     *app
	options *monitorOptions
	log     *slog.Logger
	started time.Time

	configs    *kpfs.Volume
	serversets *kpfs.Volume
	sink       *fileSink
	zk         *zkconn.Conn
	s3         *s3blob.Client
	engine     *kpsync.Engine
	admin      *admin.Server
	stop       context.CancelFunc // ends the monitor cleanly
}

// runMonitor serves until ctx is done. When everything that can be served is
// served it calls ready.
func (a *app) runMonitor(ctx context.Context, options *monitorOptions, ready func(*monitor)) (err error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	m := &monitor{app: a, options: options, log: a.log, started: time.Now(), stop: stop}
	lock, err := lockDir(options.stateDir)
	if errors.Is(err, store.Conflict) {
		return err
	}
	if err != nil {
		// Serving matters more than what the next start will know.
		m.log.Warn("the state directory can't be locked; mend it, or give another with --state-dir", "error", err)
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	if err := m.openVolumes(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.closeVolumes()) }()
	if err := m.connect(ctx); err != nil {
		return err
	}
	defer m.disconnect()
	if err := m.admin.Listen(ctx); err != nil {
		return err
	}
	if err := m.mount(ctx); err != nil {
		return err
	}
	if err := m.zk.Open(); err != nil {
		return err
	}
	return m.serve(ctx, ready)
}

// openVolumes prepares both directories, so that a directory that can't be used
// is found out before anything is served.
func (m *monitor) openVolumes(ctx context.Context) error {
	m.configs = kpfs.New(kpfs.Config{
		Dir: m.options.configDir, Subdirs: []string{deciderDir}, Mode: m.options.mode,
		FSName: "kingpin-config", Logger: m.log,
	})
	m.serversets = kpfs.New(kpfs.Config{
		Dir: m.options.serversetDir, Mode: m.options.mode,
		FSName: "kingpin-serverset", Logger: m.log,
	})
	if err := m.configs.Open(ctx); err != nil {
		return err
	}
	if err := m.serversets.Open(ctx); err != nil {
		return errors.Join(err, m.configs.Close())
	}
	return nil
}

func (m *monitor) dirOf(volume *kpfs.Volume) string {
	if volume == m.configs {
		return m.options.configDir
	}
	return m.options.serversetDir
}

func (m *monitor) closeVolumes() error {
	return errors.Join(m.configs.Close(), m.serversets.Close())
}

// s3Silence is how long a download waits for a server that sends nothing. When
// S3 is back after it was away, a request from before may never be answered:
// this is how long it can delay the newest content.
const s3Silence = 10 * time.Second

// connect makes the parts that lead from the backends to the volumes, and
// restores what was served last. It waits for no backend.
func (m *monitor) connect(ctx context.Context) error {
	zkConfig, err := m.options.fleet.zookeeper.config(m.log)
	if err != nil {
		return err
	}
	zkConfig.Observer = observer{m}
	m.zk = zkconn.New(zkConfig)
	m.s3, err = m.options.fleet.s3.open(ctx, s3Silence, m.log)
	if err != nil {
		return err
	}
	m.sink = newFileSink(m.configs, m.serversets, m.log)
	m.engine = kpsync.New(kpsync.Config{
		Dependencies:  m.options.dependencies,
		ZooKeeper:     m.zk,
		Contents:      store.New(m.zk, m.s3, store.Options{MaxContent: int64(m.options.maxContent)}),
		Sink:          m.sink,
		StateDir:      m.options.stateDir,
		Resync:        m.options.resync,
		SessionSpread: m.options.sessionSpread,
		ServersetHold: m.options.serversetHold,
		Logger:        m.log,
	})
	m.admin = admin.New(admin.Config{
		Addr: m.options.adminAddr, Engine: m.engine, Describe: m.describe, Kill: m.stop, Logger: m.log,
	})
	m.engine.Restore()
	return nil
}

func (m *monitor) disconnect() {
	m.zk.Close()
	m.s3.Close()
}

// mount makes both volumes visible, with all that has been restored.
func (m *monitor) mount(ctx context.Context) error {
	for _, volume := range []*kpfs.Volume{m.configs, m.serversets} {
		if err := volume.Mount(ctx); err != nil {
			return err
		}
		face, why := volume.Face()
		m.log.Info("serving", "dir", m.dirOf(volume), "mode", face.String(), "reason", why)
		if foreign := volume.Foreign(); len(foreign) > 0 {
			m.log.Warn("the directory holds files that aren't the monitor's; they are left alone, and hidden while a FUSE mount covers them: move them away, unless they belong there",
				"dir", m.dirOf(volume), "files", abbreviate(foreign))
		}
	}
	return nil
}

// abbreviate keeps a warning readable.
func abbreviate(names []string) []string {
	const most = 10
	if len(names) <= most {
		return names
	}
	return append(names[:most:most], fmt.Sprintf("… and %d more", len(names)-most))
}

// serve runs until ctx is done or a part fails.
func (m *monitor) serve(ctx context.Context, ready func(*monitor)) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return m.engine.Run(ctx) })
	group.Go(func() error { return m.admin.Run(ctx) })
	group.Go(func() error { m.handleHangups(ctx); return nil })
	group.Go(func() error { m.checkBucket(ctx); return nil })
	group.Go(func() error { m.announce(ctx, ready); return nil })
	err := group.Wait()
	m.notifySystemd(daemon.SdNotifyStopping)
	return err
}

// bucketCheckTimeout bounds the one look at the bucket.
const bucketCheckTimeout = 10 * time.Second

// checkBucket says at the start, once and clearly, what is wrong with the bucket
// or the credentials, before every file's own error does.
func (m *monitor) checkBucket(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, bucketCheckTimeout)
	defer cancel()
	if err := m.s3.CheckBucket(ctx); err != nil && !errors.Is(ctx.Err(), context.Canceled) {
		m.log.Warn("S3 isn't as it should be; what was served before stays", "error", err)
	}
}

// announce says when everything that can be served is served.
func (m *monitor) announce(ctx context.Context, ready func(*monitor)) {
	select {
	case <-ctx.Done():
		return
	case <-m.engine.Ready():
	}
	ready(m)
	m.notifySystemd(daemon.SdNotifyReady + "\nSTATUS=" + m.readyLine())
}

func (m *monitor) readyLine() string {
	snapshot := m.engine.Snapshot()
	face, why := m.face()
	line := fmt.Sprintf("ready mode=%s configs=%d serversets=%d", face, served(snapshot.Configs), served(snapshot.Serversets))
	if why != "" && m.options.mode != kpfs.Plain {
		line += " reason=" + strconv.Quote(why)
	}
	return line
}

func served(files []kpsync.FileStatus) int {
	n := 0
	for i := range files {
		if files[i].State != kpsync.Absent {
			n++
		}
	}
	return n
}

// face tells which face serves, and why it isn't FUSE. The volumes may differ
// after something happened to one of them; then the worse counts.
func (m *monitor) face() (kpfs.Mode, string) {
	face, why := m.configs.Face()
	if other, otherWhy := m.serversets.Face(); face == kpfs.FUSE {
		return other, otherWhy
	}
	return face, why
}

func (m *monitor) notifySystemd(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		m.log.Warn("systemd can't be told how the monitor stands", "error", err)
	}
}

// handleHangups reads everything again at each SIGHUP.
func (m *monitor) handleHangups(ctx context.Context) {
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangups:
			m.log.Info("SIGHUP: reading everything again")
			m.engine.Resync(0)
		}
	}
}

// describe returns what the engine doesn't know.
func (m *monitor) describe() admin.Status {
	face, why := m.face()
	zk := m.zk.Status()
	status := admin.Status{
		Mode: face.String(), ModeReason: why, Version: version,
		// A part that dies takes the process with it (see serve), and for a dead
		// mount the plain files stand in: who can answer is healthy.
		Healthy:   true,
		HolderPID: os.Getpid(), WorkerPID: os.Getpid(), StartedAt: m.started,
		ConfigDir: m.options.configDir, ServersetDir: m.options.serversetDir,
		ZooKeeper:    admin.ZooKeeperStatus{Connected: zk.Connected, Session: zk.Session, Server: zk.Server, Error: zk.LastError},
		FUSERequests: map[string]int64{},
	}
	for _, volume := range []*kpfs.Volume{m.configs, m.serversets} {
		for operation, n := range volume.Requests() {
			status.FUSERequests[operation] += int64(n)
		}
		if err := volume.CopyErr(); err != nil {
			status.Warnings = append(status.Warnings, err.Error())
		}
		if foreign := volume.Foreign(); len(foreign) > 0 {
			status.Warnings = append(status.Warnings, fmt.Sprintf(
				"%s holds files that aren't the monitor's: %q; they are left alone, move them away unless they belong there", m.dirOf(volume), abbreviate(foreign)))
		}
	}
	if warning := m.sink.deciders.warning(); warning != "" {
		status.Warnings = append(status.Warnings, warning)
	}
	return status
}

// observer tells the engine what the ZooKeeper client hears.
type observer struct{ *monitor }

// ZnodeChanged implements zkconn.Observer.
func (o observer) ZnodeChanged(path string) { o.engine.ZnodeChanged(path) }

// SessionChanged implements zkconn.Observer. The client has logged it.
func (o observer) SessionChanged(state zkconn.SessionState) {
	switch state.Event {
	case zkconn.Connected:
		o.engine.Connected(state.New)
	case zkconn.Disconnected:
		o.engine.Disconnected()
	case zkconn.Expired:
		o.engine.SessionExpired()
	}
}
