package main

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	kpfs "github.com/kingpinfs/kingpin/fs"
	"github.com/kingpinfs/kingpin/metaconfig"
	"github.com/kingpinfs/kingpin/store"
)

// monitorOptions are the flags of `kingpin monitor`.
type monitorOptions struct {
	Fleet         fleetOptions `json:"fleet"`
	Dependencies  []string     `json:"dependencies"`
	ConfigDir     string       `json:"config_dir"`
	ServersetDir  string       `json:"serverset_dir"`
	StateDir      string       `json:"state_dir"`
	Mode          kpfs.Mode    `json:"mode"`
	Writers       writers      `json:"writers"`
	AdminAddr     string       `json:"-"` // the holder listens
	adminPort     uint16
	Resync        time.Duration `json:"resync"`
	SessionSpread time.Duration `json:"session_spread"`
	ServersetHold time.Duration `json:"serverset_hold"`
	WriteTimeout  time.Duration `json:"write_timeout"`
	MaxContent    byteSize      `json:"max_content"`
}

func (o *monitorOptions) addFlags(flags *pflag.FlagSet) {
	o.Fleet.addFlags(flags)
	flags.StringSliceVarP(&o.Dependencies, "dependency", "d", nil, "serve what the dependency `NAME.dep` lists; base.dep, where it exists, is added")
	flags.StringVar(&o.ConfigDir, "config-dir", "/var/config", "where configs are served")
	flags.StringVar(&o.ServersetDir, "serverset-dir", "/var/serverset", "where serversets are served")
	flags.StringVar(&o.StateDir, "state-dir", "/var/lib/kingpin", "what is known of the last good contents; survives everything")
	o.Mode = kpfs.Auto
	flags.Var(&o.Mode, "mode", "fuse: mounts; plain: files replaced atomically; auto: fuse, or plain with a warning that says why not fuse")
	flags.Var(&o.Writers, "writers", "who, beside root, may write through the mount of the configs: a `GROUP`, by name or number")
	flags.DurationVar(&o.WriteTimeout, "write-timeout", defaultWriteTimeout, "how long a write through the mount may take, until it fails")
	flags.StringVar(&o.AdminAddr, "admin-addr", defaultAdminAddr, "`HOST:PORT` where health checks, status and metrics are answered")
	flags.Uint16VarP(&o.adminPort, "port", "p", 0, "the port alone of --admin-addr")
	flags.DurationVar(&o.Resync, "resync", 30*time.Minute, "read everything again this often, give or take a tenth")
	flags.DurationVar(&o.SessionSpread, "session-spread", 5*time.Second, "after a lost ZooKeeper session, spread reading everything again over this time")
	flags.DurationVar(&o.ServersetHold, "serverset-hold", 5*time.Minute, "how long a suspicious shrink of a serverset is held back")
	o.MaxContent = store.DefaultMaxContent
	flags.Var(&o.MaxContent, "max-content", "refuse contents over this `SIZE`")
	bindEnvironment(flags, "dependency", "config-dir", "serverset-dir", "state-dir", "mode", "writers", "write-timeout", "admin-addr", "resync", "serverset-hold", "max-content")
	declareAlternatives(flags, "admin-addr", "port")
}

func (a *app) newMonitorCommand() *cobra.Command {
	var options monitorOptions
	cmd := &cobra.Command{
		Use:     "monitor -d NAME.dep",
		GroupID: groupMachine,
		Short:   "Keep this machine's configs and serversets current",
		Long: `Keep /var/config and /var/serverset current: as FUSE mounts, or as plain files
where FUSE is unavailable.

It serves what it served last at once, and then what ZooKeeper and S3 say. When
all is read it prints "ready mode=... configs=N serversets=M" and tells systemd.
It goes on serving while either is away. What this machine gets is said by its
dependency: see "kingpin dependency --help". How it stands: "kingpin status".

Through the mount of the configs root can publish, and the group of --writers:
"echo 50 > /var/config/decider/new_feed" sets a decider for the fleet, and what
is written to a config's file becomes its next version. What the rules refuse is
an error of the program that writes, and changes nothing.

SIGTERM unmounts and ends it. SIGHUP reads everything again now.`,
		Example: `  kingpin monitor -d web.dep -z /etc/kingpin/zookeepers -b fleet-config
  kingpin monitor -d web.dep --zk zk1:2181,zk2:2181 -b fleet-config --mode plain -p 9898`,
		Args:        noArgs,
		Annotations: map[string]string{daemonAnnotation: "true"},
		RunE: a.runE(func(ctx context.Context, cmd *cobra.Command, _ []string) error {
			if err := options.check(cmd.Flags().Changed("port")); err != nil {
				return err
			}
			return a.runMonitor(ctx, &options, func(line, _ string) { fmt.Fprintln(a.stderr, line) })
		}),
	}
	options.addFlags(cmd.Flags())
	return cmd
}

// check refuses what can't work however long one waits.
func (o *monitorOptions) check(portGiven bool) error {
	if len(o.Dependencies) == 0 {
		return usagef("which dependency does this machine have? Give -d NAME.dep")
	}
	for _, name := range o.Dependencies {
		if err := metaconfig.CheckDependency(name); err != nil {
			return usagef("--dependency: %w", err)
		}
	}
	host, _, err := net.SplitHostPort(o.AdminAddr)
	if err != nil {
		return usagef("--admin-addr %q: want HOST:PORT", o.AdminAddr)
	}
	if portGiven {
		o.AdminAddr = net.JoinHostPort(host, strconv.Itoa(int(o.adminPort)))
	}
	for _, d := range []struct {
		flag  string
		value time.Duration
	}{{"resync", o.Resync}, {"session-spread", o.SessionSpread}, {"serverset-hold", o.ServersetHold}, {"write-timeout", o.WriteTimeout}} {
		if d.value <= 0 {
			return usagef("--%s %v: want a time above 0, as 90s, 30m or 24h", d.flag, d.value)
		}
	}
	return o.checkDirs()
}

// checkDirs refuses directories that lie in one that is served: a mount over it
// would hide them.
func (o *monitorOptions) checkDirs() error {
	dirs := []struct{ flag, path string }{
		{"--config-dir", o.ConfigDir}, {"--serverset-dir", o.ServersetDir}, {"--state-dir", o.StateDir},
	}
	for i, outer := range dirs {
		for j, inner := range dirs {
			if i == j {
				continue
			}
			path, err := relative(outer.path, inner.path)
			switch {
			case err != nil:
				return usagef("%s %q: %w", inner.flag, inner.path, err)
			case path == ".":
				return usagef("%s and %s are both %q: they must differ", outer.flag, inner.flag, outer.path)
			case outer.path != o.StateDir && path != ".." && !strings.HasPrefix(path, "../"):
				return usagef("%s %q lies in %s %q: they must lie apart", inner.flag, inner.path, outer.flag, outer.path)
			}
		}
	}
	return nil
}

// relative returns the path that leads from one directory to another.
func relative(from, to string) (string, error) {
	from, err := filepath.Abs(from)
	if err != nil {
		return "", err
	}
	if to, err = filepath.Abs(to); err != nil {
		return "", err
	}
	return filepath.Rel(from, to)
}

// byteSize is a flag's number of bytes: 512, 64KiB, 16MiB, 1GiB.
type byteSize int64

var byteUnits = []struct {
	suffix string
	factor int64
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"", 1}}

// String implements pflag.Value.
func (s *byteSize) String() string {
	for i := len(byteUnits) - 2; i >= 0; i-- {
		if unit := byteUnits[i]; *s != 0 && int64(*s)%unit.factor == 0 {
			return strconv.FormatInt(int64(*s)/unit.factor, 10) + unit.suffix
		}
	}
	return strconv.FormatInt(int64(*s), 10)
}

// Type implements pflag.Value.
func (*byteSize) Type() string { return "SIZE" }

// Set implements pflag.Value.
func (s *byteSize) Set(text string) error {
	for _, unit := range byteUnits {
		number, ok := strings.CutSuffix(text, unit.suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(number, 10, 64)
		if err != nil || n <= 0 || n > (1<<40)/unit.factor {
			break
		}
		*s = byteSize(n * unit.factor)
		return nil
	}
	return fmt.Errorf("want a number of bytes, as 65536, 64KiB or 16MiB")
}
