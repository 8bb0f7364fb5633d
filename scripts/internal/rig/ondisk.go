package rig

import (
	iofs "io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// OnDisk is what a monitor has outside its processes.
type OnDisk struct {
	Mounts     int   // below its directories
	PlainFiles int   // beneath the mounts, directories and what is hidden too
	StateBytes int64 // of the files in the state directory
}

// OnDisk looks beneath the mounts too: by a copy of the mount that they stand
// on, which doesn't have them.
func (m *Monitor) OnDisk() (OnDisk, error) {
	var d OnDisk
	dir := filepath.Dir(m.ConfigDir)
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return d, err
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.HasPrefix(strings.Fields(line)[4], dir+"/") {
			d.Mounts++
		}
	}
	err = filepath.WalkDir(filepath.Join(dir, "state"), func(_ string, entry iofs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err == nil && info.Mode().IsRegular() {
			d.StateBytes += info.Size()
		}
		return err
	})
	if err != nil {
		return d, err
	}
	beneath, err := unix.OpenTree(unix.AT_FDCWD, dir, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return d, err
	}
	root := os.NewFile(uintptr(beneath), dir)
	defer func() { _ = root.Close() }()
	for _, served := range []string{m.ConfigDir, m.ServersetDir} {
		path := filepath.Join("/proc/self/fd", strconv.Itoa(beneath), filepath.Base(served))
		err := filepath.WalkDir(path, func(string, iofs.DirEntry, error) error {
			d.PlainFiles++
			return nil
		})
		if err != nil {
			return d, err
		}
	}
	return d, nil
}
