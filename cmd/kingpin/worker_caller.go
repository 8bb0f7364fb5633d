package main

import (
	"log/slog"
	"os"
	"os/user"
	"strconv"
	"strings"

	kpfs "github.com/kingpinfs/kingpin/fs"
)

// caller is who changes a file through the mount, as far as /proc tells.
type caller struct {
	kpfs.Caller

	user    string // the name, or uid:N
	command string // the thread's name; "" if that isn't known
}

// identify looks a caller up at once: it may be gone soon. Of what /proc tells it
// reads only what can be read of any process at any time. The caller may be in the
// middle of an execve, which closes files and waits for us to answer that; nobody
// can read where its executable is meanwhile, nor its descriptors or its stat.
func identify(c kpfs.Caller) caller {
	id := caller{Caller: c, user: "uid:" + strconv.FormatUint(uint64(c.UID), 10)}
	if c.PID != 0 {
		if name, err := os.ReadFile("/proc/" + strconv.FormatUint(uint64(c.PID), 10) + "/comm"); err == nil {
			id.command = strings.TrimSuffix(string(name), "\n")
		}
	}
	if known, err := user.LookupId(strconv.FormatUint(uint64(c.UID), 10)); err == nil {
		id.user = known.Username
	}
	return id
}

// attributes are what logs say of a caller.
func (c *caller) attributes() []any {
	return []any{
		slog.String("user", c.user), slog.Uint64("uid", uint64(c.UID)), slog.Uint64("gid", uint64(c.GID)),
		slog.Uint64("pid", uint64(c.PID)), slog.String("command", c.command),
	}
}
