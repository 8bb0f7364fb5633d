package fs

import (
	"bufio"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// inodes are inode numbers of one filesystem; nil is all of them.
type inodes map[uint64]struct{}

func (i inodes) has(id uint64) bool {
	_, ok := i[id]
	return ok || i == nil
}

// watchedInodes returns the inodes of the filesystem with that device's minor
// number that somebody watches, by inotify or fanotify; see proc_pid_fdinfo(5).
// If this process may not look into all others, or can't, any may be watched: all
// are returned.
func watchedInodes(device uint32) inodes {
	found, ok := lookAtAll(func() inodes { return findWatched(device) })
	if !ok {
		return nil
	}
	return found
}

func findWatched(device uint32) inodes {
	if !seesAllProcesses() {
		return nil
	}
	proc, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer proc.Close()
	names, err := proc.Readdirnames(-1)
	if err != nil {
		return nil
	}
	found := inodes{}
	for _, pid := range names {
		if pid[0] < '0' || pid[0] > '9' {
			continue
		}
		fds, err := os.ReadDir(filepath.Join("/proc", pid, "fd"))
		if errors.Is(err, os.ErrPermission) {
			return nil
		}
		for _, fd := range fds {
			// Processes come and go, and close their files.
			target, err := os.Readlink(filepath.Join("/proc", pid, "fd", fd.Name()))
			if err == nil && (target == "anon_inode:inotify" || target == "anon_inode:[fanotify]") {
				found.addWatches(filepath.Join("/proc", pid, "fdinfo", fd.Name()), device)
			}
		}
	}
	return found
}

// firstPIDNamespace is the inode number of the PID namespace that the machine
// starts with: PROC_PID_INIT_INO in the kernel. In another one the processes
// outside of it can't be seen, whose mounts may be ours all the same.
const firstPIDNamespace = 0xEFFFFFFC

// seesAllProcesses reports whether this process is in the PID namespace of all
// others. They were told apart once and for all when it started.
var seesAllProcesses = sync.OnceValue(func() bool {
	var st unix.Stat_t
	err := unix.Stat("/proc/self/ns/pid", &st)
	return err == nil && st.Ino == firstPIDNamespace
})

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
