package fs

import (
	iofs "io/fs"
	"log/slog"
	"os"
)

// Config is what a Volume is made of. Dir is required.
type Config struct {
	// Dir is the directory to serve, such as /var/config. It is created if it
	// doesn't exist.
	Dir string
	// Subdirs are directories in it, such as "decider". They always exist.
	Subdirs []string
	// Mode says by which face to serve; "" means Auto.
	Mode Mode
	// FSName is what /proc/mounts shows as the mount's source; "" means
	// kingpin.
	FSName string
	// FileMode and DirMode are permission bits; 0 means 0444 and 0755.
	FileMode, DirMode iofs.FileMode
	// GID is the group that files belong to, if it isn't this process's; 0
	// means it is.
	GID int
	// Holding is what a process that outlives this one holds of the directory; Dir
	// and FSName are then its own, and Mode is not looked at: the face is FUSE if
	// it has a session. It must stay open for as long as the Volume is. nil means
	// that the Volume holds all by itself.
	Holding *Holding
	// WhyPlain says why a Holding has no session.
	WhyPlain string
	// Wake has the process Holder, which has the Holding, call Holding.Wake. nil
	// means that this process does. It is called by one goroutine only.
	Wake   func(Wakeup) error
	Holder int
	// Writer publishes what is written through the mount; nil means that the mount
	// is read-only.
	Writer Writer
	// Logger gets what an administrator should know; nil means slog's default.
	Logger *slog.Logger
}

func (c *Config) setDefaults() {
	if c.Mode == "" {
		c.Mode = Auto
	}
	if c.FSName == "" {
		c.FSName = "kingpin"
	}
	if c.FileMode == 0 {
		c.FileMode = 0o444
	}
	if c.DirMode == 0 {
		c.DirMode = 0o755
	}
	if c.Holder == 0 {
		c.Holder = os.Getpid()
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
}
