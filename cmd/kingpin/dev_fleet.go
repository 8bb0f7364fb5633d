package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/kingpinfs/kingpin/internal/devcluster"
	"github.com/kingpinfs/kingpin/internal/zkconn"
	"github.com/kingpinfs/kingpin/serverset"
	"github.com/kingpinfs/kingpin/store"
)

// The names of the sample fleet.
const (
	devBucket     = "kingpin-dev"
	devDependency = "dev.dep"
	devServerset  = "/discovery/demo/prod"
)

// devFleet is the servers and the sample data of `kingpin dev`.
type devFleet struct {
	app       *app
	dir       string
	made      []string // what close removes
	zookeeper *devcluster.ZooKeeper
	s3        *devcluster.S3
	members   *zkconn.Conn // its session keeps the sample serverset's members
	options   monitorOptions
}

// start starts the servers and fills them. close must be called, whatever the
// result.
func (f *devFleet) start(ctx context.Context, options *devOptions) error {
	if err := f.makeDir(options.dir); err != nil {
		return err
	}
	f.app.progress("starting ZooKeeper and S3")
	var err error
	f.zookeeper, err = devcluster.StartZooKeeper(ctx, devcluster.ZooKeeperConfig{Dir: f.path("zookeeper"), Logger: f.app.log})
	if err != nil {
		return err
	}
	f.s3, err = devcluster.StartS3(ctx, devcluster.S3Config{Buckets: []string{devBucket}, Logger: f.app.log})
	if err != nil {
		return err
	}
	f.options = monitorOptions{
		Fleet: fleetOptions{
			ZooKeeper: zookeeperOptions{Servers: f.zookeeper.Addr()},
			S3:        s3Options{Bucket: devBucket, Endpoint: f.s3.Endpoint()},
		},
		Dependencies: []string{devDependency},
		ConfigDir:    f.path("config"),
		ServersetDir: f.path("serverset"),
		StateDir:     f.path("state"),
		Mode:         options.mode,
		AdminAddr:    "127.0.0.1:0",
		WriteTimeout: defaultWriteTimeout,
		MaxContent:   store.DefaultMaxContent,
	}
	return f.fill(ctx)
}

func (f *devFleet) path(name string) string { return filepath.Join(f.dir, name) }

// makeDir makes the directory for everything. One that the user names may hold
// other things, but not ours: they would be taken for an earlier fleet's.
func (f *devFleet) makeDir(dir string) error {
	if dir == "" {
		temporary, err := os.MkdirTemp("", "kingpin-dev-")
		if err != nil {
			return fmt.Errorf("making a directory for the fleet (another place can be given with --dir): %w", err)
		}
		f.dir, f.made = temporary, []string{temporary}
		// Others than root may read what is served.
		return os.Chmod(temporary, 0o755)
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	f.dir = dir
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		f.made = []string{dir}
	} else {
		for _, name := range []string{"zookeeper", "config", "serverset", "state", "env"} {
			if _, err := os.Lstat(f.path(name)); err == nil {
				f.made = nil
				return usagef("--dir %q holds something named %q: name a directory that is empty or new", dir, name)
			}
			f.made = append(f.made, f.path(name))
		}
	}
	return os.MkdirAll(dir, 0o755)
}

// setEnvironment makes the other commands find the fleet: in this process, and
// in a shell that sources the file DIR/env.
func (f *devFleet) setEnvironment(adminAddr string) error {
	variables := [][2]string{
		{"KINGPIN_ZK", f.zookeeper.Addr()},
		{"KINGPIN_S3_BUCKET", devBucket},
		{"KINGPIN_S3_ENDPOINT", f.s3.Endpoint()},
		{"KINGPIN_ADMIN_ADDR", adminAddr},
		{"KINGPIN_CONFIG_DIR", f.options.ConfigDir},
		{"KINGPIN_SERVERSET_DIR", f.options.ServersetDir},
	}
	var script strings.Builder
	for _, v := range variables {
		if err := os.Setenv(v[0], v[1]); err != nil {
			return err
		}
		fmt.Fprintf(&script, "export %s=%s\n", v[0], v[1])
	}
	fmt.Fprintf(&script, "CONFIGS=%s\nSERVERSETS=%s\n", shellQuote(f.options.ConfigDir), shellQuote(f.options.ServersetDir))
	if executable, err := os.Executable(); err == nil {
		fmt.Fprintf(&script, "alias kingpin=%s\n", shellQuote(shellQuote(executable)))
	}
	return os.WriteFile(f.path("env"), []byte(script.String()), 0o644)
}

func shellQuote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

// fill writes the sample data.
func (f *devFleet) fill(ctx context.Context) error {
	connected, err := f.app.openFleet(ctx, &f.options.Fleet)
	if err != nil {
		return err
	}
	defer connected.close()
	metaconfigs := connected.metaconfigs()
	write := store.Write{Author: "kingpin dev", Comment: "sample data"}
	if _, err := metaconfigs.CreateDependency(ctx, devDependency); err != nil {
		return err
	}
	for _, sample := range []struct{ domain, key, content string }{
		{"spam", "grey_list", `["10.0.0.7", "10.0.0.8"]`},
		{"feed", "ranking", `{"boost": 2, "window": 30}`},
		{"admin", "decider", `{"new_feed": 50, "old_search": 0}`},
	} {
		created, err := metaconfigs.CreateConfig(ctx, sample.domain, sample.key, write)
		if err != nil {
			return err
		}
		if _, err := metaconfigs.AddMember(ctx, devDependency, created.Subscription.Metaconfig); err != nil {
			return err
		}
		ref := store.Ref{Path: "/config/manageddata/" + sample.domain + "/" + sample.key}
		if _, err := connected.store.Put(ctx, ref, []byte(sample.content), write); err != nil {
			return err
		}
	}
	created, err := metaconfigs.CreateServerset(ctx, "demo", "prod", write)
	if err != nil {
		return err
	}
	if _, err := metaconfigs.AddMember(ctx, devDependency, created.Subscription.Metaconfig); err != nil {
		return err
	}
	return f.register(ctx, "127.0.0.1:8001", "127.0.0.1:8002")
}

// register adds endpoints to the sample serverset, for as long as the fleet is
// up.
func (f *devFleet) register(ctx context.Context, endpoints ...string) error {
	if f.members == nil {
		config, err := f.options.Fleet.ZooKeeper.config(f.app.log)
		if err != nil {
			return err
		}
		f.members = zkconn.New(config)
		if err := f.members.Open(); err != nil {
			return err
		}
	}
	for _, endpoint := range endpoints {
		if err := f.members.CreateEphemeral(ctx, devServerset+"/"+serverset.MemberName(endpoint), []byte(endpoint)); err != nil {
			return err
		}
	}
	return nil
}

// close ends the servers and removes what start made.
func (f *devFleet) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var errs []error
	if f.members != nil {
		f.members.Close()
	}
	if f.s3 != nil {
		errs = append(errs, f.s3.Stop())
	}
	if f.zookeeper != nil {
		errs = append(errs, f.zookeeper.Stop(ctx))
	}
	for _, path := range f.made {
		errs = append(errs, os.RemoveAll(path))
	}
	return errors.Join(errs...)
}
