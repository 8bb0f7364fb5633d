package fs

import (
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// statusOf returns the /proc/PID/status of a thread or process. Reading it waits for
// nobody, not even for one that executes a program.
func statusOf(id uint32) (string, error) {
	status, err := os.ReadFile("/proc/" + strconv.FormatUint(uint64(id), 10) + "/status")
	return string(status), err
}

// statusField returns a field of a /proc/PID/status.
func statusField(status, name string) (value string, ok bool) {
	for line := range strings.Lines(status) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value), true
		}
	}
	return "", false
}

// processOf returns the process that a thread belongs to, or the thread's own id
// if that can't be seen from here.
func processOf(thread uint32) uint32 {
	status, err := statusOf(thread)
	if err != nil {
		return thread
	}
	id, _ := statusField(status, "Tgid")
	process, err := strconv.ParseUint(id, 10, 32)
	if err != nil {
		return thread
	}
	return uint32(process)
}

// commandOf returns the name of the command that a thread runs; "" if it can't be
// seen from here.
func commandOf(thread uint32) string {
	name, err := os.ReadFile("/proc/" + strconv.FormatUint(uint64(thread), 10) + "/comm")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(name))
}

// fatal are signals that end a process which doesn't handle them, as a set in
// which bit n-1 stands for signal n. Those that dump core aren't told by the
// kernel.
const fatal = 1<<(unix.SIGKILL-1) | 1<<(unix.SIGTERM-1) | 1<<(unix.SIGINT-1) | 1<<(unix.SIGHUP-1) | 1<<(unix.SIGPIPE-1)

// isKilled reports whether a thread's process is being ended by a signal, as far
// as that can be seen.
func isKilled(thread uint32) bool {
	status, err := statusOf(thread)
	return err == nil && tellsKilled(status)
}

// tellsKilled reports whether a /proc/PID/status is of a process that is being
// ended by a signal: one that has no memory any more, and whose signal is still
// pending. One that is in the middle of an execve has memory.
func tellsKilled(status string) bool {
	if _, ok := statusField(status, "VmSize"); ok {
		return false
	}
	return slices.ContainsFunc([]string{"SigPnd", "ShdPnd"}, func(field string) bool {
		value, _ := statusField(status, field)
		pending, err := strconv.ParseUint(value, 16, 64)
		return err == nil && pending&fatal != 0
	})
}

// hasEnded reports whether a process has ended, as far as that can be seen: one
// that can't be seen has. Of one that has ended its parent may not know yet.
func hasEnded(process uint32) bool {
	status, err := statusOf(process)
	return err != nil || tellsEnded(status)
}

// tellsEnded reports whether a /proc/PID/status is of a process that has ended.
func tellsEnded(status string) bool {
	state, _ := statusField(status, "State")
	return strings.HasPrefix(state, "Z") || strings.HasPrefix(state, "X")
}

// replacers are commands that create the file that they write exclusively, under
// its final name, having removed what was there before. Nothing else tells them
// from one that means to remove a file, or to make a temporary one.
var replacers = []string{"mv", "install", "ginstall", "cp", "gcp", "gmv"}

func isReplacer(thread uint32) bool { return slices.Contains(replacers, commandOf(thread)) }

// call is a system call that a thread is in.
type call struct {
	number int
	size   uint64 // its third argument, which of a write is how many bytes
}

// callOf returns the system call that a thread is in; ok is false if it can't be
// seen from here.
func callOf(thread uint32) (c call, ok bool) {
	text, err := os.ReadFile("/proc/" + strconv.FormatUint(uint64(thread), 10) + "/syscall")
	if err != nil {
		return call{}, false
	}
	return parseCall(string(text))
}

// parseCall parses what proc_pid_syscall(5) describes: the call's number and its
// six arguments, in hexadecimal.
func parseCall(text string) (c call, ok bool) {
	fields := strings.Fields(text)
	if len(fields) < 7 {
		return call{}, false
	}
	number, err := strconv.Atoi(fields[0])
	if err != nil {
		return call{}, false
	}
	size, err := strconv.ParseUint(strings.TrimPrefix(fields[3], "0x"), 16, 64)
	return call{number: number, size: size}, err == nil
}

// harmless are calls before which the kernel asks for a file's capabilities as well,
// or which do so themselves, and that don't change an open file's content.
var harmless = append([]int{
	unix.SYS_OPENAT, unix.SYS_OPENAT2, unix.SYS_TRUNCATE, unix.SYS_FCHOWN, unix.SYS_FCHOWNAT,
	unix.SYS_GETXATTR, unix.SYS_LGETXATTR, unix.SYS_FGETXATTR, unix.SYS_GETXATTRAT,
}, legacyCalls...)

// writesInPlace reports whether a call can change an open file's content. One
// that isn't known may.
func (c call) writesInPlace() bool { return !slices.Contains(harmless, c.number) }

// written returns how many bytes a call is to write in all, if it tells.
func (c call) written() (n uint64, ok bool) {
	return c.size, c.number == unix.SYS_WRITE || c.number == unix.SYS_PWRITE64
}
