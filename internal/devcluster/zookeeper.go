package devcluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// JarEnv is the environment variable that names ZooKeeper's jar.
const JarEnv = "KINGPIN_ZOOKEEPER_JAR"

// debianJar is where Debian's package zookeeper installs it.
const debianJar = "/usr/share/java/zookeeper.jar"

const (
	// zkReadyLimit is how long a server may take to answer: 0.6 s on an idle
	// machine, many times that on a busy one.
	zkReadyLimit = 60 * time.Second
	// zkStartTries is how often a server is started anew, on other ports, if
	// it ended before it was ready, which is what a port just taken looks like.
	zkStartTries = 3
	// zkDefaultTick is ZooKeeper's own default.
	zkDefaultTick = 2 * time.Second
	// zkMaxSession lets clients have long sessions whatever the tick is
	// (ZooKeeper's default is 20 ticks).
	zkMaxSession = 10 * time.Minute
)

// ZooKeeperConfig says how to run a ZooKeeper server.
type ZooKeeperConfig struct {
	// Dir holds its configuration, data and log; it is created if missing. An
	// existing one is continued. Empty: a temporary one, which Stop removes.
	Dir string
	// Jar is ZooKeeper's jar. Empty: FindZooKeeperJar.
	Jar string
	// TickTime is ZooKeeper's unit of time, to which session expiry is
	// rounded up. 0: 2 s. Tests of expiry take 200 ms.
	TickTime time.Duration
	// MinSessionTimeout is the shortest session that a client may ask for.
	// 0: two ticks.
	MinSessionTimeout time.Duration
	// Settings are further lines of zoo.cfg, by name. They win over ours.
	Settings map[string]string
	// JVM are further arguments of java, such as -Djute.maxbuffer=8192.
	JVM []string
	// Logger hears of starts. nil: nobody does.
	Logger *slog.Logger
}

// FindZooKeeperJar returns the jar named by KINGPIN_ZOOKEEPER_JAR, or else the
// one of Debian's package.
func FindZooKeeperJar() (string, error) {
	jar, from := os.Getenv(JarEnv), "$"+JarEnv
	if jar == "" {
		jar, from = debianJar, "Debian's package"
	}
	info, err := os.Stat(jar)
	if err == nil && info.IsDir() {
		err = errors.New("it is a directory")
	}
	if err != nil {
		return "", fmt.Errorf("finding ZooKeeper's jar (%s): %w: run `apt-get install zookeeper` or `make deps`, "+
			"or set %s to the path of zookeeper.jar", from, err, JarEnv)
	}
	return jar, nil
}

// ZooKeeper is a ZooKeeper server on this machine: a single one, or a member
// of an Ensemble. Its methods must not be called concurrently, but for Addr
// and Dir.
type ZooKeeper struct {
	cfg       ZooKeeperConfig
	java      string
	dir       string
	temporary bool
	port      int
	proc      *Process
}

// StartZooKeeper starts a server and returns when it answers, when ctx is
// done, or after a minute. The caller must call Stop.
func StartZooKeeper(ctx context.Context, cfg ZooKeeperConfig) (*ZooKeeper, error) {
	var err error
	for range zkStartTries {
		var z *ZooKeeper
		if z, err = newZooKeeper(cfg); err != nil {
			break
		}
		if err = z.writeConfig(nil); err == nil {
			err = z.start(ctx)
		}
		if err == nil {
			return z, nil
		}
		ended := z.proc != nil && isDone(z.proc)
		err = errors.Join(err, z.Stop(context.Background()))
		if !ended || ctx.Err() != nil {
			break
		}
	}
	return nil, fmt.Errorf("starting ZooKeeper: %w", err)
}

// newZooKeeper prepares the directory and picks the client port.
func newZooKeeper(cfg ZooKeeperConfig) (*ZooKeeper, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.TickTime == 0 {
		cfg.TickTime = zkDefaultTick
	}
	if cfg.MinSessionTimeout == 0 {
		cfg.MinSessionTimeout = 2 * cfg.TickTime
	}
	if cfg.Jar == "" {
		jar, err := FindZooKeeperJar()
		if err != nil {
			return nil, err
		}
		cfg.Jar = jar
	}
	java, err := exec.LookPath("java")
	if err != nil {
		return nil, fmt.Errorf("finding a Java runtime: %w: run `apt-get install zookeeper` or `make deps`", err)
	}
	port, err := FreePort()
	if err != nil {
		return nil, err
	}
	dir, temporary, err := serverDir(cfg.Dir, "kingpin-zookeeper-")
	if err != nil {
		return nil, err
	}
	return &ZooKeeper{cfg: cfg, java: java, dir: dir, temporary: temporary, port: port}, nil
}

// writeConfig writes zoo.cfg; extra are the lines of an ensemble.
func (z *ZooKeeper) writeConfig(extra map[string]string) error {
	data := filepath.Join(z.dir, "data")
	if err := os.MkdirAll(data, 0o755); err != nil {
		return err
	}
	settings := map[string]string{
		"tickTime":                fmt.Sprint(z.cfg.TickTime.Milliseconds()),
		"minSessionTimeout":       fmt.Sprint(z.cfg.MinSessionTimeout.Milliseconds()),
		"maxSessionTimeout":       fmt.Sprint(zkMaxSession.Milliseconds()),
		"dataDir":                 data,
		"clientPort":              fmt.Sprint(z.port),
		"clientPortAddress":       "127.0.0.1",
		"admin.enableServer":      "false",
		"4lw.commands.whitelist":  "*",
		"maxClientCnxns":          "0",
		"forceSync":               "no", // what survives kill -9 is enough here
		"autopurge.purgeInterval": "0",
	}
	for _, more := range []map[string]string{extra, z.cfg.Settings} {
		for name, value := range more {
			settings[name] = value
		}
	}
	var lines []string
	for name, value := range settings {
		lines = append(lines, name+"="+value+"\n")
	}
	slices.Sort(lines)
	return os.WriteFile(z.configFile(), []byte(strings.Join(lines, "")), 0o644)
}

func (z *ZooKeeper) configFile() string { return filepath.Join(z.dir, "zoo.cfg") }

// start runs the server and waits until it serves requests.
func (z *ZooKeeper) start(ctx context.Context) error {
	if err := z.launch(); err != nil {
		return err
	}
	return z.awaitServing(ctx)
}

// launch runs the server.
func (z *ZooKeeper) launch() error {
	// The jar names what else it needs, but for what writes its log and for
	// part of what TLS takes. Java doesn't mind if these aren't there.
	classes := []string{z.cfg.Jar}
	for _, jar := range []string{"slf4j-simple.jar", "netty-codec.jar", "netty-resolver.jar"} {
		classes = append(classes, filepath.Join(filepath.Dir(z.cfg.Jar), jar))
	}
	args := []string{
		"-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
		"-XX:-UsePerfData", // else a kill -9 leaves a file in /tmp
		"-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
	}
	args = append(args, z.cfg.JVM...)
	args = append(args, "-cp", strings.Join(classes, ":"), "org.apache.zookeeper.server.quorum.QuorumPeerMain", z.configFile())
	proc, err := StartProcess(ProcessConfig{
		Name:    "zookeeper",
		Path:    z.java,
		Args:    args,
		Dir:     z.dir,
		LogFile: filepath.Join(z.dir, "zookeeper.log"),
	})
	if err != nil {
		return err
	}
	z.proc = proc
	return nil
}

// awaitServing waits until the server serves requests; a member of an ensemble
// does so when a majority runs.
func (z *ZooKeeper) awaitServing(ctx context.Context) error {
	if err := z.proc.awaitReady(ctx, zkReadyLimit, z.serving); err != nil {
		return err
	}
	z.cfg.Logger.Info("ZooKeeper is running", "addr", z.Addr(), "dir", z.dir, "pid", z.proc.Pid())
	return nil
}

// serving asks the server, by the four-letter word srvr, whether it serves
// requests. (It says imok to ruok even when it doesn't.)
func (z *ZooKeeper) serving(ctx context.Context) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", z.Addr())
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(2 * time.Second)); err != nil {
		return err
	}
	if _, err := io.WriteString(conn, "srvr"); err != nil {
		return err
	}
	answer, err := io.ReadAll(conn)
	if err != nil {
		return err
	}
	if !strings.HasPrefix(string(answer), "Zookeeper version") {
		return fmt.Errorf("%s answers %q", z.Addr(), answer)
	}
	return nil
}

// Addr returns "127.0.0.1:port". It stays the same over restarts.
func (z *ZooKeeper) Addr() string { return hostPort(z.port) }

// Dir returns the absolute path of the directory that holds zoo.cfg, data and
// zookeeper.log.
func (z *ZooKeeper) Dir() string { return z.dir }

// Stop ends the server, and removes its directory if that is a temporary one.
// Stopping a stopped server does nothing.
func (z *ZooKeeper) Stop(ctx context.Context) error {
	if z.proc != nil {
		if err := z.proc.Stop(ctx); err != nil {
			return err
		}
	}
	if z.temporary {
		return os.RemoveAll(z.dir)
	}
	return nil
}

// Kill ends the server by SIGKILL. Its directory stays, for Restart; Stop must
// still be called.
func (z *ZooKeeper) Kill() error { return z.proc.Kill() }

// Restart starts the server again, on the same port and with the same data,
// after stopping it if it is running. It returns when it answers. A server in
// a temporary directory can't be restarted after Stop.
func (z *ZooKeeper) Restart(ctx context.Context) error {
	if err := z.proc.Stop(ctx); err != nil {
		return fmt.Errorf("restarting ZooKeeper: %w", err)
	}
	if _, err := os.Stat(z.configFile()); errors.Is(err, iofs.ErrNotExist) {
		return fmt.Errorf("restarting ZooKeeper: %q was removed by Stop; use Kill to end it for a while", z.dir)
	}
	if err := z.start(ctx); err != nil {
		return fmt.Errorf("restarting ZooKeeper: %w", err)
	}
	return nil
}

// Pause freezes the server: connections stay open, nothing is answered.
func (z *ZooKeeper) Pause() error { return z.proc.Pause() }

// Resume lets a paused server run on.
func (z *ZooKeeper) Resume() error { return z.proc.Resume() }

// isDone says whether the process is gone.
func isDone(p *Process) bool {
	select {
	case <-p.Done():
		return true
	default:
		return false
	}
}
