package follow

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// mounts tells when something is mounted or unmounted anywhere in this process's
// mount namespace.
type mounts struct{ file *os.File }

func newMounts() (*mounts, error) {
	const path = "/proc/self/mountinfo"
	// Go leaves it to its poller to wait for a file that was opened so.
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("watching what is mounted: %w", &os.PathError{Op: "open", Path: path, Err: err})
	}
	m := &mounts{os.NewFile(uintptr(fd), path)}
	if err := m.file.SetReadDeadline(time.Time{}); err != nil {
		m.close()
		return nil, fmt.Errorf("watching what is mounted: this system doesn't tell when %s changes: %w", path, err)
	}
	return m, nil
}

// close ends run.
func (m *mounts) close() { _ = m.file.Close() } // it fails only if it is closed

// run makes sure, after each change, that there is something in changed, which
// has room for one, until it is closed. The kernel's signal is an exceptional
// condition of the file, see proc_pid_mountinfo(5), and Go's poller, which waits
// for such conditions too, is told of each once.
func (m *mounts) run(changed chan<- struct{}) {
	conn, err := m.file.SyscallConn()
	if err != nil {
		return
	}
	// It all has to be one read: a condition between two would be lost.
	_ = conn.Read(func(uintptr) bool {
		select {
		case changed <- struct{}{}:
		default:
		}
		return false
	})
}
