package fs

import (
	"bufio"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// inodes are inode numbers of one filesystem.
type inodes map[uint64]struct{}

func (i inodes) has(id uint64) bool {
	_, ok := i[id]
	return ok
}

// watchedInodes returns the inodes of the filesystem with that device's minor
// number that somebody watches, by inotify or fanotify, as far as this process
// may know; see proc_pid_fdinfo(5). An error means that it may know nothing.
func watchedInodes(device uint32) (inodes, error) {
	proc, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	defer proc.Close()
	names, err := proc.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	found := inodes{}
	for _, pid := range names {
		if pid[0] < '0' || pid[0] > '9' {
			continue
		}
		// Processes come and go, and some may not be looked into.
		fds, _ := os.ReadDir(filepath.Join("/proc", pid, "fd"))
		for _, fd := range fds {
			target, err := os.Readlink(filepath.Join("/proc", pid, "fd", fd.Name()))
			if err == nil && (target == "anon_inode:inotify" || target == "anon_inode:[fanotify]") {
				found.addWatches(filepath.Join("/proc", pid, "fdinfo", fd.Name()), device)
			}
		}
	}
	return found, nil
}

// addWatches adds what one descriptor watches. Its lines are such as
//
//	inotify wd:1 ino:10001 sdev:27 mask:fce ignored_mask:0 fhandle-bytes:8 ...
//
// with numbers in hexadecimal.
func (i inodes) addWatches(fdinfo string, device uint32) {
	f, err := os.Open(fdinfo)
	if err != nil {
		return
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		kind, rest, _ := strings.Cut(lines.Text(), " ")
		if kind != "inotify" && kind != "fanotify" {
			continue
		}
		ino, sdev := uint64(0), uint64(0)
		for field := range strings.FieldsSeq(rest) {
			name, value, _ := strings.Cut(field, ":")
			switch name {
			case "ino":
				ino, _ = strconv.ParseUint(value, 16, 64)
			case "sdev":
				sdev, _ = strconv.ParseUint(value, 16, 64)
			}
		}
		if sdev == uint64(device) && ino != 0 {
			i[ino] = struct{}{}
		}
	}
}
