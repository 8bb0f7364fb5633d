package devcluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// VersityGWEnv is the environment variable that names the versitygw program.
const VersityGWEnv = "KINGPIN_VERSITYGW"

const (
	// vgwReadyLimit is how long versitygw may take to answer: 0.1 s on an idle
	// machine, many times that on a busy one.
	vgwReadyLimit = 30 * time.Second
	// vgwStartTries is how often it is started anew, on another port, if it
	// ended before it was ready, which is what a port just taken looks like.
	vgwStartTries = 3
	vgwRegion     = "us-east-1"
	vgwHealthPath = "/.kingpin-health" // no bucket can have this name
)

// VersityGWConfig says how to run versitygw.
type VersityGWConfig struct {
	// Binary is the program. Empty: FindVersityGW.
	Binary string
	// Dir holds its objects and log; it is created if missing. An existing one
	// is continued. Its filesystem must know extended attributes (user.*).
	// Empty: a temporary one, which Stop removes.
	Dir string
	// Buckets are created, those that are missing, before the server answers.
	Buckets []string
	// AccessKey and SecretKey are the only credentials that the server
	// accepts. Empty: some.
	AccessKey, SecretKey string
	// Logger hears of starts. nil: nobody does.
	Logger *slog.Logger
}

// FindVersityGW returns the program named by KINGPIN_VERSITYGW, or else the one
// that `make deps` installs in .tools/bin of the module around the working
// directory, or else the one in $PATH.
func FindVersityGW() (string, error) {
	if path := os.Getenv(VersityGWEnv); path != "" {
		if err := unix.Access(path, unix.X_OK); err != nil {
			return "", fmt.Errorf("finding versitygw ($%s): %q: %w", VersityGWEnv, path, err)
		}
		return path, nil
	}
	if root, err := moduleRoot(); err == nil {
		path := filepath.Join(root, ".tools", "bin", "versitygw")
		if unix.Access(path, unix.X_OK) == nil {
			return path, nil
		}
	}
	path, err := exec.LookPath("versitygw")
	if err != nil {
		return "", fmt.Errorf("finding versitygw: %w: run `make deps`, or set %s to the program's path", err, VersityGWEnv)
	}
	return filepath.Abs(path)
}

// moduleRoot returns the directory of the go.mod nearest to the working
// directory, upwards.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("no go.mod in the working directory or above")
		}
		dir = parent
	}
}

// VersityGW is a versitygw server on this machine: S3 over a directory, which
// checks Signature Version 4. It can't hold both a key and one beneath it
// ("a" and "a/b"). Its methods must not be called concurrently, but for those
// that return what the server was started with, and CreateBucket.
type VersityGW struct {
	cfg       VersityGWConfig
	dir       string
	temporary bool
	port      int
	proc      *Process
}

// StartVersityGW starts a server and returns when it answers, when ctx is
// done, or after half a minute. The caller must call Stop.
func StartVersityGW(ctx context.Context, cfg VersityGWConfig) (*VersityGW, error) {
	var err error
	for range vgwStartTries {
		var v *VersityGW
		if v, err = newVersityGW(cfg); err != nil {
			break
		}
		if err = v.prepare(); err == nil {
			err = v.start(ctx)
		}
		if err == nil {
			return v, nil
		}
		lost := v.proc == nil || !isDone(v.proc) // not a port that was taken
		err = errors.Join(err, v.Stop(context.Background()))
		if lost || ctx.Err() != nil {
			break
		}
	}
	return nil, fmt.Errorf("starting versitygw: %w", err)
}

// newVersityGW fills in what cfg leaves open.
func newVersityGW(cfg VersityGWConfig) (*VersityGW, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.AccessKey == "" {
		cfg.AccessKey = "kingpin-access-key"
	}
	if cfg.SecretKey == "" {
		cfg.SecretKey = "kingpin-secret-key"
	}
	if cfg.Binary == "" {
		binary, err := FindVersityGW()
		if err != nil {
			return nil, err
		}
		cfg.Binary = binary
	}
	port, err := FreePort()
	if err != nil {
		return nil, err
	}
	dir, temporary, err := serverDir(cfg.Dir, "kingpin-versitygw-")
	if err != nil {
		return nil, err
	}
	return &VersityGW{cfg: cfg, dir: dir, temporary: temporary, port: port}, nil
}

// prepare makes the directories.
func (v *VersityGW) prepare() error {
	if err := os.MkdirAll(v.data(), 0o755); err != nil {
		return err
	}
	// The server keeps metadata and ETags in extended attributes.
	const probe = "user.kingpin.probe"
	if err := unix.Setxattr(v.data(), probe, []byte("1"), 0); err != nil {
		return fmt.Errorf("setting an extended attribute of %q: %w: use a directory on a filesystem "+
			"that keeps extended attributes of users (set TMPDIR)", v.data(), err)
	}
	if err := unix.Removexattr(v.data(), probe); err != nil {
		return fmt.Errorf("removing an extended attribute of %q: %w", v.data(), err)
	}
	for _, bucket := range v.cfg.Buckets {
		if err := v.CreateBucket(bucket); err != nil {
			return err
		}
	}
	return nil
}

// start runs the server and waits until it answers.
func (v *VersityGW) start(ctx context.Context) error {
	proc, err := StartProcess(ProcessConfig{
		Name: "versitygw",
		Path: v.cfg.Binary,
		Args: []string{
			"--port", hostPort(v.port), "--region", vgwRegion, "--health", vgwHealthPath,
			"--keep-alive", "--quiet", // its log lines are of requests
			"posix", v.data(),
		},
		// Not as arguments, which everybody on the machine can read.
		Env:     []string{"ROOT_ACCESS_KEY_ID=" + v.cfg.AccessKey, "ROOT_SECRET_ACCESS_KEY=" + v.cfg.SecretKey},
		Dir:     v.dir,
		LogFile: filepath.Join(v.dir, "versitygw.log"),
	})
	if err != nil {
		return err
	}
	v.proc = proc
	if err := proc.awaitReady(ctx, vgwReadyLimit, v.healthy); err != nil {
		return err
	}
	v.cfg.Logger.Info("versitygw is running", "endpoint", v.Endpoint(), "dir", v.dir, "pid", proc.Pid())
	return nil
}

// healthy asks the server, by a connection of its own, whether it answers.
func (v *VersityGW) healthy(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, v.Endpoint()+vgwHealthPath, nil)
	if err != nil {
		return err
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	if err := resp.Body.Close(); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", v.Endpoint(), resp.Status)
	}
	return nil
}

// Endpoint returns "http://127.0.0.1:port". It stays the same over restarts.
func (v *VersityGW) Endpoint() string { return "http://" + hostPort(v.port) }

// AccessKey returns the access key id that the server accepts.
func (v *VersityGW) AccessKey() string { return v.cfg.AccessKey }

// SecretKey returns the secret that belongs to AccessKey.
func (v *VersityGW) SecretKey() string { return v.cfg.SecretKey }

// Region returns the region that requests must be signed for.
func (v *VersityGW) Region() string { return vgwRegion }

// Dir returns the absolute path of the directory that holds the objects, in
// data/<bucket>/<key>, and versitygw.log.
func (v *VersityGW) Dir() string { return v.dir }

func (v *VersityGW) data() string { return filepath.Join(v.dir, "data") }

// CreateBucket creates a bucket if there is none of that name, also while the
// server is stopped.
func (v *VersityGW) CreateBucket(name string) error {
	if name == "" || name != filepath.Base(name) || name[0] == '.' {
		return fmt.Errorf("creating bucket %q: the name is not allowed", name)
	}
	// To versitygw a bucket is a directory.
	if err := os.Mkdir(filepath.Join(v.data(), name), 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("creating bucket %q: %w", name, err)
	}
	return nil
}

// Stop ends the server, and removes its directory if that is a temporary one.
// Stopping a stopped server does nothing.
func (v *VersityGW) Stop(ctx context.Context) error {
	if v.proc != nil {
		if err := v.proc.Stop(ctx); err != nil {
			return err
		}
	}
	if v.temporary {
		return os.RemoveAll(v.dir)
	}
	return nil
}

// Kill ends the server by SIGKILL. Its directory stays, for Restart; Stop must
// still be called.
func (v *VersityGW) Kill() error { return v.proc.Kill() }

// Pause freezes the server: connections stay open, nothing is answered.
func (v *VersityGW) Pause() error { return v.proc.Pause() }

// Resume lets a paused server run on.
func (v *VersityGW) Resume() error { return v.proc.Resume() }

// Restart starts the server again, on the same port and with the same objects,
// after stopping it if it is running. It returns when it answers. A server in
// a temporary directory can't be restarted after Stop.
func (v *VersityGW) Restart(ctx context.Context) error {
	if err := v.proc.Stop(ctx); err != nil {
		return fmt.Errorf("restarting versitygw: %w", err)
	}
	if _, err := os.Stat(v.data()); errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("restarting versitygw: %q was removed by Stop; use Kill to end it for a while", v.dir)
	}
	if err := v.start(ctx); err != nil {
		return fmt.Errorf("restarting versitygw: %w", err)
	}
	return nil
}
