package fs

import (
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"
)

func TestIsDying(t *testing.T) {
	if isDying(os.Getpid()) || areDying(nil) || areDying([]int{os.Getpid()}) {
		t.Error("a living process is dying")
	}
	cmd := exec.Command("cat")
	input, err := cmd.StdinPipe()
	check(t, err)
	defer input.Close()
	check(t, cmd.Start())
	pid := cmd.Process.Pid
	if isDying(pid) {
		t.Error("a living process is dying")
	}
	check(t, cmd.Process.Kill())
	// It has ended, and waits to be waited for.
	check(t, unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil))
	if !isDying(pid) || areDying([]int{pid, os.Getpid()}) || !areDying([]int{pid}) {
		t.Error("a zombie is not dying")
	}
	if cmd.Wait() == nil {
		t.Error("it wasn't killed")
	}
	if !isDying(pid) {
		t.Error("a process that is gone is not dying")
	}
}
