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
	program string // the executable's path; "" if that isn't known
}

// identify looks a caller up at once: it may be gone soon.
func identify(c kpfs.Caller) caller {
	id := caller{Caller: c, user: "uid:" + strconv.FormatUint(uint64(c.UID), 10)}
	if c.PID != 0 {
		dir := "/proc/" + strconv.FormatUint(uint64(c.PID), 10)
		if name, err := os.ReadFile(dir + "/comm"); err == nil {
			id.command = strings.TrimSuffix(string(name), "\n")
		}
		if path, err := os.Readlink(dir + "/exe"); err == nil {
			id.program = path
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
		slog.Uint64("pid", uint64(c.PID)), slog.String("command", c.command), slog.String("program", c.program),
	}
}
