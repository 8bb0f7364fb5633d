package rig

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kingpinfs/kingpin/internal/devcluster"
	"github.com/kingpinfs/kingpin/internal/zkconn"
)

// Rig is the servers, and a directory for everything that isn't theirs. Its
// methods must not be called concurrently, but for Set, Put and Publish.
type Rig struct {
	// Binary is the kingpin under test.
	Binary string
	// Dir is where monitors serve. It goes with the rig.
	Dir string
	// ZK is a session for the fleet's writers, of the plain client library.
	ZK *ZooKeeper

	server  *devcluster.ZooKeeper
	writer  *zkconn.Conn // for those who go on where ZooKeeper is away
	s3      *s3Server
	objects *objects
}

// putsAtATime is how many objects are written at once.
const putsAtATime = 16

// Start starts the servers. Close must be called if there is no error. All ends
// with ctx at the latest.
func Start(ctx context.Context, binary string, kind S3Kind) (r *Rig, err error) {
	r = &Rig{Binary: binary}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.Close())
		}
	}()
	if err := checkMachine(binary); err != nil {
		return r, err
	}
	if r.Dir, err = os.MkdirTemp("", "kingpin-bench-"); err != nil {
		return r, err
	}
	// A hundred thousand ephemeral znodes don't fit into what development
	// servers get; the last -Xmx counts.
	r.server, err = devcluster.StartZooKeeper(ctx, devcluster.ZooKeeperConfig{JVM: []string{"-Xmx768m", "-XX:TieredStopAtLevel=4"}})
	if err != nil {
		return r, err
	}
	if r.ZK, err = connectZooKeeper(ctx, r.server.Addr()); err != nil {
		return r, err
	}
	r.writer = zkconn.New(zkconn.Config{Servers: []string{r.server.Addr()}, SessionTimeout: writerSession})
	if err := r.writer.Open(); err != nil {
		return r, err
	}
	if r.s3, err = startS3(ctx, kind, r.Dir); err != nil {
		return r, err
	}
	r.objects, err = openObjects(ctx, r.s3.endpoint, r.s3.keyFile)
	return r, err
}

// checkMachine says beforehand what would fail later with less to go by.
func checkMachine(binary string) error {
	if os.Geteuid() != 0 {
		return errors.New("mounting takes root: run this by `make bench` or `make soak`, which use sudo, or as root")
	}
	if err := unix.Access("/dev/fuse", unix.R_OK|unix.W_OK); err != nil {
		return fmt.Errorf("/dev/fuse: %w: run `make deps`, which installs fuse3; in a container add --device /dev/fuse", err)
	}
	if err := unix.Access(binary, unix.X_OK); err != nil {
		return fmt.Errorf("the kingpin under test, %q: %w: run `make build`", binary, err)
	}
	return nil
}

// Close ends the servers and removes the directory. Monitors must be stopped
// before. What is left mounted is taken away by force, which is an error.
func (r *Rig) Close() error {
	var errs []error
	if r.objects != nil {
		r.objects.close()
	}
	if r.s3 != nil {
		errs = append(errs, r.s3.stop())
	}
	if r.server != nil {
		// First the server: else it would delete the session's ephemeral znodes
		// one by one.
		errs = append(errs, r.server.Kill(), r.server.Stop(context.Background()))
	}
	if r.ZK != nil {
		r.ZK.close()
	}
	if r.writer != nil {
		r.writer.Close()
	}
	if r.Dir != "" {
		errs = append(errs, releaseMounts(r.Dir), os.RemoveAll(r.Dir))
	}
	return errors.Join(errs...)
}

// RestartZooKeeper stops the server and starts it again. Sessions survive.
func (r *Rig) RestartZooKeeper(ctx context.Context) error { return r.server.Restart(ctx) }

// Put stores content n of a config, without publishing it.
func (r *Rig) Put(ctx context.Context, c Config, n int) error {
	return r.objects.put(ctx, c.ref().Key(versionOf(n)), Content(n, c.Size))
}

// Set publishes content n of a config, which must have been stored.
func (r *Rig) Set(c Config, n int) error { return r.ZK.Set(c.Path(), string(versionOf(n))) }

// Publish stores and publishes content n of a config.
func (r *Rig) Publish(ctx context.Context, c Config, n int) error {
	if err := r.Put(ctx, c, n); err != nil {
		return err
	}
	return r.Set(c, n)
}

// places are the arguments by which a role finds the servers.
func (r *Rig) places(more ...string) []string {
	return append([]string{r.server.Addr(), r.s3.endpoint, r.s3.keyFile}, more...)
}

// releaseMounts takes away what is mounted below a directory.
func releaseMounts(dir string) error {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	var errs []error
	for line := range strings.Lines(string(mounts)) {
		point := strings.Fields(line)[4]
		if !strings.HasPrefix(point, dir+"/") {
			continue
		}
		errs = append(errs, fmt.Errorf("%s was left mounted", point))
		if err := unix.Unmount(point, unix.MNT_FORCE|unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
			errs = append(errs, fmt.Errorf("unmounting %s: %w", point, err))
		}
	}
	return errors.Join(errs...)
}

// NewDir makes a directory of its own in the rig's.
func (r *Rig) NewDir(name string) (string, error) {
	dir, err := os.MkdirTemp(r.Dir, name+"-")
	if err != nil {
		return "", err
	}
	return filepath.Abs(dir)
}

// Sleep returns after a time, or when ctx is done, with its error.
func Sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
