package fs

import (
	"bufio"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A killed monitor may be unable to end. One of its threads, in a notification,
// waits for the lock of a directory, which is held by somebody's lookup, which
// waits for an answer of the monitor's; and as long as that thread lives, so
// does the descriptor whose closing would fail the lookup. Aborting the mount
// ends it.

// areDying reports whether there are processes and all of them have been killed
// and are on their way out.
func areDying(pids []int) bool {
	for _, pid := range pids {
		if !isDying(pid) {
			return false
		}
	}
	return len(pids) > 0
}

// isDying reports whether a process has been killed, or has ended and only
// isn't gone yet.
func isDying(pid int) bool {
	f, err := os.Open("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return os.IsNotExist(err)
	}
	defer f.Close()
	const killed = 1 << (unix.SIGKILL - 1)
	for lines := bufio.NewScanner(f); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), ":")
		value = strings.TrimSpace(value)
		switch name {
		case "State":
			if strings.HasPrefix(value, "Z") || strings.HasPrefix(value, "X") {
				return true
			}
		case "SigPnd", "ShdPnd":
			if pending, err := strconv.ParseUint(value, 16, 64); err == nil && pending&killed != 0 {
				return true
			}
		}
	}
	return false
}
