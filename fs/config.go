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
	// FileMode and DirMode are permission bits; 0 means 0444 and 0755, or, if there
	// is a Writer, 0644 and 0755, or, if there is a GID as well, 0664 and 0775.
	// If there is a Writer, nobody may write plain files, whatever these say.
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
	// Refresh has the process Holder call Holding.Refresh, soon; it doesn't wait
	// for that. nil means that nobody needs to. It is called by one goroutine only.
	Refresh func()
	// Writer publishes what is written through the mount; nil means that the mount
	// is read-only.
	Writer Writer
	// MaxContent is how large what is written through the mount may be, in bytes; 0
	// means 16 MiB.
	MaxContent int64
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
	file, dir := iofs.FileMode(0o444), iofs.FileMode(0o755)
	switch {
	case c.Writer != nil && c.GID != 0:
		file, dir = 0o664, 0o775
	case c.Writer != nil:
		file = 0o644
	}
	if c.FileMode == 0 {
		c.FileMode = file
	}
	if c.DirMode == 0 {
		c.DirMode = dir
	}
	if c.MaxContent == 0 {
		c.MaxContent = 16 << 20
	}
	if c.Holder == 0 {
		c.Holder = os.Getpid()
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
}
