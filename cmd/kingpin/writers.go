package main

import (
	"fmt"
	"os/user"
	"strconv"

	kpfs "github.com/kingpinfs/kingpin/fs"
)

// writers is a flag's group whose members may write through the mount. Its zero
// value is none: root alone may.
type writers struct {
	Group string `json:"group"` // as it was given; "" for none
	GID   int    `json:"gid"`
}

// String implements pflag.Value.
func (w *writers) String() string { return w.Group }

// Type implements pflag.Value.
func (*writers) Type() string { return "GROUP" }

// Set implements pflag.Value. A number need not be a group that is known here.
func (w *writers) Set(text string) error {
	if gid, err := strconv.ParseUint(text, 10, 32); err == nil && gid < 1<<32-1 {
		*w = writers{text, int(gid)}
		return nil
	}
	group, err := user.LookupGroup(text)
	if err != nil {
		return fmt.Errorf("%w in /etc/group: create it, or give a group's number", err)
	}
	gid, err := strconv.Atoi(group.Gid)
	if err != nil {
		return fmt.Errorf("the group %q has the number %q in /etc/group: %w", text, group.Gid, err)
	}
	*w = writers{text, gid}
	return nil
}

// config says whom the files belong to, and who may write to them.
func (w *writers) config() kpfs.Config {
	if w.Group == "" {
		return kpfs.Config{FileMode: 0o644, DirMode: 0o755}
	}
	return kpfs.Config{FileMode: 0o664, DirMode: 0o775, GID: w.GID}
}

// describe says who may write.
func (w *writers) describe() string {
	switch {
	case w.Group == "":
		return "root"
	case w.Group == strconv.Itoa(w.GID):
		return "root and the group " + w.Group
	}
	return fmt.Sprintf("root and the group %s (%d)", w.Group, w.GID)
}
