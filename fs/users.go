package fs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// users are those who have a file open.
type users struct {
	readers int // for reading alone, or mapped
	writers int // for writing, too
}

// usersOf finds out who has the file of that inode number open, in the filesystem
// whose device has that minor number. It asks the filesystem nothing. If this
// process may not look into all others, that is an error.
func usersOf(device uint32, ino uint64) (users, error) {
	var u users
	if !seesAllProcesses() {
		return u, errors.New("there may be processes that can't be seen from the monitor's PID namespace")
	}
	proc, err := os.Open("/proc")
	if err != nil {
		return u, err
	}
	defer proc.Close()
	names, err := proc.Readdirnames(-1)
	if err != nil {
		return u, err
	}
	for _, pid := range names {
		if pid[0] < '0' || pid[0] > '9' {
			continue
		}
		if err := u.add("/proc/"+pid, device, ino); err != nil {
			return u, err
		}
	}
	return u, nil
}

// add adds what one process has. Processes and their files come and go; only that
// one may not look is an error.
func (u *users) add(proc string, device uint32, ino uint64) error {
	fds, err := os.Open(proc + "/fd")
	if errors.Is(err, os.ErrPermission) {
		return err
	}
	if err != nil {
		return nil
	}
	defer fds.Close()
	names, err := fds.Readdirnames(-1)
	if errors.Is(err, os.ErrPermission) {
		return err
	}
	writers := 0
	for _, fd := range names {
		if !isFile(proc+"/fd/"+fd, device, ino) {
			continue
		}
		flags, err := fdInfo(proc+"/fdinfo/"+fd, "flags")
		if err != nil {
			continue
		}
		mode, err := strconv.ParseUint(flags, 8, 64)
		switch {
		case err != nil:
			return fmt.Errorf("flags of an open file: %w", err)
		case mode&unix.O_PATH != 0:
		case mode&unix.O_ACCMODE == unix.O_RDONLY:
			u.readers++
		default:
			writers++
		}
	}
	u.writers += writers
	if maps, err := os.ReadFile(proc + "/maps"); err == nil && writers == 0 && isMapped(maps, device, ino) {
		u.readers++
	}
	return nil
}

// isFile reports whether a path leads to that inode, as the kernel remembers it.
func isFile(path string, device uint32, ino uint64) bool {
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, path, unix.AT_STATX_DONT_SYNC|unix.AT_NO_AUTOMOUNT, unix.STATX_INO, &st)
	return err == nil && st.Dev_major == 0 && st.Dev_minor == device && st.Ino == ino
}

// isMapped reports whether a /proc/PID/maps has the inode.
func isMapped(maps []byte, device uint32, ino uint64) bool {
	return bytes.Contains(maps, fmt.Appendf(nil, " 00:%02x %d ", device, ino))
}
