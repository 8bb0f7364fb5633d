package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// ownImage is this process's program, even if its file has been removed.
const ownImage = "/proc/self/exe"

// program is what a holder's workers run: what is installed now where the
// holder was started from, so that a new build needs no new holder. If that
// can't serve, the holder's own build does.
type program struct {
	path string // "" if it can't be told
	args []string
	env  []string

	mu sync.Mutex // guards failed
	// failed is a file at path that couldn't serve. It isn't tried again
	// before it is replaced; nil if there is none.
	failed os.FileInfo
}

// newProgram returns the program that this process runs, as a command.
func newProgram(command string) *program {
	return &program{
		path: startedFrom(os.Args[0]),
		args: []string{os.Args[0], command},
		env:  slices.DeleteFunc(os.Environ(), isManagers),
	}
}

// startedFrom returns the path by which this process was started, symbolic links
// included: an installation may replace the link and not the file.
func startedFrom(name string) string {
	if path, err := exec.LookPath(name); err == nil && isOwnImage(path) {
		if path, err = filepath.Abs(path); err == nil {
			return path
		}
	}
	if path, err := os.Executable(); err == nil && isOwnImage(path) {
		return path
	}
	return ""
}

func isOwnImage(path string) bool {
	file, err := os.Stat(path)
	if err != nil {
		return false
	}
	own, err := os.Stat(ownImage)
	return err == nil && os.SameFile(file, own)
}

// isManagers reports whether a variable is what the service manager tells its
// service. A worker must not answer in the holder's name.
func isManagers(variable string) bool {
	name, _, _ := strings.Cut(variable, "=")
	switch name {
	case "NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "FDSTORE":
		return true
	}
	return false
}

// pick returns the path of what the next worker runs, and what lies there.
func (p *program) pick() (string, os.FileInfo) {
	if p.path == "" {
		return ownImage, nil
	}
	found, err := os.Stat(p.path)
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil || p.failed != nil && isSameVersion(found, p.failed) {
		return ownImage, nil
	}
	return p.path, found
}

// distrust avoids what was picked, which couldn't serve, as long as there is
// something else to run. It reports whether there is.
func (p *program) distrust(path string, picked os.FileInfo) bool {
	if path == ownImage || isOwnImage(path) {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failed = picked
	return true
}

// trust forgets what couldn't serve: nothing else could either.
func (p *program) trust() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failed = nil
}

func isSameVersion(a, b os.FileInfo) bool {
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}
