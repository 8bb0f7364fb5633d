package fs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// users are those who have a file open.
type users struct {
	readers int // for reading alone, or mapped
	reader  int // the process that is one of them
	writers int // for writing, too
	// changers are those of the writers that can read as well, so that what they
	// write may come of what they have read.
	changers []openFile
}

// openFile is a descriptor of a process.
type openFile struct{ process, fd int }

// sharedWith reports whether two descriptors are of one open file, as they are
// after a fork. If that can't be told, they aren't.
func (f openFile) sharedWith(g openFile) bool {
	const kcmpFile = 0
	different, _, errno := unix.Syscall6(unix.SYS_KCMP, uintptr(f.process), uintptr(g.process), kcmpFile, uintptr(f.fd), uintptr(g.fd), 0)
	return errno == 0 && different == 0
}

// usersOf finds out who has the file of that inode number open, in the filesystem
// whose device has that minor number. It asks the filesystem nothing. If this
// process may not look into all others, or can't, that is an error.
func usersOf(device uint32, ino uint64) (users, error) { return usersBeside(0, device, ino) }

// usersBeside is usersOf for a process that is about to change the file. Among the
// readers are those as well who have it open to read and write, unless it is the
// process itself that has, or it has the same open file.
func usersBeside(process, device uint32, ino uint64) (users, error) {
	type result struct {
		users users
		err   error
	}
	found, ok := lookAtAll(func() result {
		u, err := findUsers(device, ino)
		if process != 0 {
			u.addRivals(int(process))
		}
		return result{u, err}
	})
	if !ok {
		return users{}, errors.New("a process can't be looked into")
	}
	return found.users, found.err
}

func findUsers(device uint32, ino uint64) (users, error) {
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

// addRivals takes those of the changers for readers that have nothing to do with a
// process.
func (u *users) addRivals(process int) {
	var own, others []openFile
	for _, f := range u.changers {
		if f.process == process {
			own = append(own, f)
		} else {
			others = append(others, f)
		}
	}
	for _, f := range others {
		if !slices.ContainsFunc(own, f.sharedWith) {
			u.readers++
			u.reader = f.process
		}
	}
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
	process, _ := strconv.Atoi(filepath.Base(proc)) // it is a number
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
			u.reader = process
		default:
			writers++
			if mode&unix.O_ACCMODE == unix.O_RDWR {
				n, _ := strconv.Atoi(fd) // it is a number
				u.changers = append(u.changers, openFile{process, n})
			}
		}
	}
	u.writers += writers
	if maps, err := os.ReadFile(proc + "/maps"); err == nil && writers == 0 && isMapped(maps, device, ino) {
		u.readers++
		u.reader = process
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
