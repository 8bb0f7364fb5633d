package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/kingpinfs/kingpin/admin"
	kpfs "github.com/kingpinfs/kingpin/fs"
	"github.com/kingpinfs/kingpin/internal/s3blob"
	"github.com/kingpinfs/kingpin/internal/zkconn"
	"github.com/kingpinfs/kingpin/store"
	kpsync "github.com/kingpinfs/kingpin/sync"
)

// worker is the parts of what does the monitor's work: it serves what its holder
// holds.
type worker struct {
	hello   *hello
	options *monitorOptions // the hello's
	link    *link
	log     *slog.Logger
	started time.Time

	configs    *served
	serversets *served
	writer     *configWriter
	listener   net.Listener
	sink       *fileSink
	zk         *zkconn.Conn
	s3         *s3blob.Client
	engine     *kpsync.Engine
	memory     tidier
	admin      *admin.Server
}

// served is one of the two directories.
type served struct {
	*kpfs.Volume
	dir     string
	holding *kpfs.Holding
	shown   bool // readers saw the mount before this worker was started
}

// run serves until ctx is done. Readers of mounts that can be seen already wait
// meanwhile, so those are served before anything else is done.
func (w *worker) run(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, w.closeVolumes()) }()
	if err := w.openVolumes(ctx); err != nil {
		return err
	}
	if err := w.mount(ctx, true); err != nil {
		return err
	}
	if err := w.connect(ctx); err != nil {
		return err
	}
	defer w.disconnect()
	if err := w.mount(ctx, false); err != nil {
		return err
	}
	if err := w.link.awaitShown(ctx); err != nil {
		return err
	}
	w.announceFaces()
	if err := w.zk.Open(); err != nil {
		return err
	}
	return w.serve(ctx)
}

func (w *worker) volumes() []*served { return []*served{w.configs, w.serversets} }

// openVolumes takes both directories over from the holder.
func (w *worker) openVolumes(ctx context.Context) error {
	w.configs = &served{dir: w.options.ConfigDir}
	w.serversets = &served{dir: w.options.ServersetDir}
	w.writer = newConfigWriter(w.options.ConfigDir, w.options.WriteTimeout, w.log)
	configs := w.options.Writers.config()
	configs.Subdirs, configs.Writer, configs.MaxContent = []string{deciderDir}, w.writer, int64(w.options.MaxContent)
	return errors.Join(
		w.openVolume(ctx, w.configs, configVolume, configs),
		w.openVolume(ctx, w.serversets, serversetVolume, kpfs.Config{}),
	)
}

func (w *worker) openVolume(ctx context.Context, v *served, name string, config kpfs.Config) error {
	held := w.hello.Volumes[name]
	v.shown = held.Shown
	var err error
	v.holding, err = kpfs.ResumeHolding(kpfs.HoldingConfig{Dir: v.dir, Logger: w.log}, held.inherited())
	if err != nil {
		return fmt.Errorf("taking %q over from the holder: %w", v.dir, err)
	}
	config.Dir, config.Logger = v.dir, w.log
	config.Holding, config.WhyPlain = v.holding, held.WhyPlain
	config.Holder = w.hello.Holder.PID
	config.Wake = func(wakeup kpfs.Wakeup) error { return w.link.wake(ctx, name, wakeup) }
	config.Refresh = func() { w.link.tell(message{Kind: sayRefresh, Volume: name}) }
	volume := kpfs.New(config)
	if err := volume.Open(ctx); err != nil {
		return err
	}
	v.Volume = volume
	return nil
}

// mount serves the volumes whose mounts readers see already, or the others.
func (w *worker) mount(ctx context.Context, shown bool) error {
	mounted := 0
	for _, v := range w.volumes() {
		if v.shown != shown {
			continue
		}
		if err := v.Mount(ctx); err != nil {
			return err
		}
		mounted++
	}
	if shown && mounted > 0 || !shown && mounted == len(w.volumes()) {
		if err := w.link.control.send(message{Kind: sayServing}); err != nil {
			return err
		}
	}
	if shown {
		return nil
	}
	return w.link.control.send(message{Kind: sayLoaded})
}

// announceFaces logs what is served, and how.
func (w *worker) announceFaces() {
	for _, v := range w.volumes() {
		face, why := v.Face()
		w.log.Info("serving", "dir", v.dir, "mode", face.String(), "reason", why)
		if foreign := v.Foreign(); len(foreign) > 0 {
			w.log.Warn("the directory holds files that aren't the monitor's; they are left alone, and hidden while a FUSE mount covers them: move them away, unless they belong there",
				"dir", v.dir, "files", abbreviate(foreign))
		}
	}
}

// closeVolumes ends serving them. The mounts stay, for the next worker, unless
// the holder died and nobody else keeps them.
func (w *worker) closeVolumes() error {
	var errs []error
	orphaned := w.link.isOrphaned() && !w.hello.KeptElsewhere
	for _, v := range w.volumes() {
		if v == nil {
			continue
		}
		if orphaned && v.holding != nil {
			errs = append(errs, v.unmount())
		}
		if v.Volume != nil {
			errs = append(errs, v.Close())
		}
	}
	return errors.Join(errs...)
}

// unmount takes the mount away, in the place of a holder that is dead.
func (v *served) unmount() error {
	if v.Volume != nil {
		v.CopyFirst()
	}
	return v.holding.Unmount(context.Background())
}

// s3Silence is how long a download waits for a server that sends nothing. When
// S3 is back after it was away, a request from before may never be answered:
// this is how long it can delay the newest content.
const s3Silence = 10 * time.Second

// connect makes the parts that lead from the backends to the volumes, and
// restores what was served last. It waits for no backend.
func (w *worker) connect(ctx context.Context) error {
	limitGarbage(garbageWhileLoading)
	zkConfig, err := w.options.Fleet.ZooKeeper.config(w.log)
	if err != nil {
		return err
	}
	zkConfig.Observer = observer{w}
	w.zk = zkconn.New(zkConfig)
	w.s3, err = w.options.Fleet.S3.open(ctx, s3Silence, w.log)
	if err != nil {
		return err
	}
	w.sink = newFileSink(w.configs.Volume, w.serversets.Volume, w.log)
	w.sink.worked = w.memory.worked
	w.engine = kpsync.New(kpsync.Config{
		Dependencies:  w.options.Dependencies,
		ZooKeeper:     w.zk,
		Contents:      store.New(w.zk, w.s3, store.Options{MaxContent: int64(w.options.MaxContent)}),
		Sink:          w.sink,
		StateDir:      w.options.StateDir,
		Resync:        w.options.Resync,
		SessionSpread: w.options.SessionSpread,
		ServersetHold: w.options.ServersetHold,
		Logger:        w.log,
	})
	w.engine.Restore()
	w.writer.start(writerParts{
		engine:    w.engine,
		values:    store.New(w.zk, markedBlobs{w.s3}, store.Options{MaxContent: int64(w.options.MaxContent)}),
		served:    w.configs.Get,
		wrote:     w.sink.deciders.note,
		zookeeper: w.zookeeper,
	})
	w.admin = admin.New(admin.Config{Engine: w.engine, Describe: w.describe, Kill: w.link.kill, Logger: w.log})
	return nil
}

// zookeeper says whether there is a session, and, if it is known that there can't
// be one now, why.
func (w *worker) zookeeper() (connected bool, away error) {
	status := w.zk.Status()
	if status.LastError != "" {
		away = errors.New(status.LastError)
	}
	return status.Connected, away
}

func (w *worker) disconnect() {
	w.memory.close()
	w.zk.Close()
	w.s3.Close()
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
func (w *worker) serve(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return w.engine.Run(ctx) })
	group.Go(func() error { return w.admin.Run(ctx, w.listener) })
	group.Go(func() error { w.resyncWhenTold(ctx); return nil })
	group.Go(func() error { w.tellOfEnd(ctx, configVolume, w.configs); return nil })
	group.Go(func() error { w.tellOfEnd(ctx, serversetVolume, w.serversets); return nil })
	group.Go(func() error { w.copyFirstWhenTold(ctx); return nil })
	group.Go(func() error { w.checkBucket(ctx); return nil })
	group.Go(func() error { return w.announce(ctx) })
	return group.Wait()
}

// bucketCheckTimeout bounds the one look at the bucket.
const bucketCheckTimeout = 10 * time.Second

// checkBucket says at the start, once and clearly, what is wrong with the bucket
// or the credentials, before every file's own error does.
func (w *worker) checkBucket(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, bucketCheckTimeout)
	defer cancel()
	if err := w.s3.CheckBucket(ctx); err != nil && !errors.Is(ctx.Err(), context.Canceled) {
		w.log.Warn("S3 isn't as it should be; what was served before stays", "error", err)
	}
}

// tellOfEnd tells the holder if somebody takes the mount of a volume away.
func (w *worker) tellOfEnd(ctx context.Context, name string, v *served) {
	select {
	case <-ctx.Done():
	case <-v.Ended():
		w.link.tell(message{Kind: sayEnded, Volume: name})
	}
}

// resyncWhenTold reads everything again whenever the holder says so.
func (w *worker) resyncWhenTold(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.link.resyncs:
			w.engine.Resync(0)
		}
	}
}

// copyFirstWhenTold keeps the plain files ahead of the mounts once the holder says
// that it is about to take those away.
func (w *worker) copyFirstWhenTold(ctx context.Context) {
	select {
	case <-ctx.Done():
		return
	case <-w.link.leaving:
	}
	for _, v := range w.volumes() {
		v.CopyFirst()
	}
	w.link.tell(message{Kind: sayAhead})
}

// observer tells the engine what the ZooKeeper client hears.
type observer struct{ *worker }

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
