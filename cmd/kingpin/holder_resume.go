package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	kpfs "github.com/kingpinfs/kingpin/fs"
	"github.com/kingpinfs/kingpin/internal/sdnotify"
)

// resume takes over what the service manager kept of a volume, which it takes out
// of stored. It returns nil if there is nothing that can be used.
func (h *holder) resume(v *held, config kpfs.HoldingConfig, stored map[string]*os.File) (*kpfs.Holding, error) {
	var descriptors []kpfs.Descriptor
	for name, file := range stored {
		if volume, descriptor := volumeOf(name); volume == v.name {
			descriptors = append(descriptors, kpfs.Descriptor{Name: descriptor, File: file})
			v.stored = append(v.stored, name)
			delete(stored, name)
		}
	}
	if len(descriptors) == 0 {
		return nil, nil
	}
	config.Orphaned = true
	holding, err := kpfs.ResumeHolding(config, descriptors)
	if err != nil {
		h.log.Warn("the mount that the service manager kept can't be taken over: a new one is made", "dir", v.dir, "error", err)
		v.unstore()
		return nil, nil
	}
	v.holding = holding
	if pid := holding.Server(); pid != 0 {
		if err := endWorker(pid); err != nil {
			return nil, fmt.Errorf("ending the worker of an earlier monitor: %w", err)
		}
	}
	if !v.wanted {
		v.abort("plain files were asked for")
	}
	h.log.Info("taking over what the service manager kept", "dir", v.dir, "mounted", holding.Shown())
	return holding, nil
}

// forget closes descriptors that the service manager keeps of something that
// isn't held any more.
func (h *holder) forget(stored map[string]*os.File) {
	for name := range stored {
		if err := sdnotify.Unstore(name); err != nil {
			h.log.Warn("the service manager can't be told to forget a descriptor", "name", name, "error", err)
		}
	}
	if err := closeFiles(stored); err != nil {
		h.log.Warn("closing what the service manager kept", "error", err)
	}
}

// endPatience is how long the threads of a killed worker are waited for. One may
// be unable to end before the next worker answers what it waits for.
const (
	endPatience = 200 * time.Millisecond
	endPoll     = time.Millisecond
)

// endWorker kills the worker of a monitor that is gone, if that is what the
// process is. When it returns the worker answers nothing any more.
func endWorker(pid int) error {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	command, err := os.ReadFile(filepath.Join(dir, "cmdline"))
	if err != nil || !isWorker(command) {
		return nil
	}
	if err := unix.Kill(pid, unix.SIGKILL); err != nil && err != unix.ESRCH {
		return os.NewSyscallError("kill", err)
	}
	for end := time.Now().Add(endPatience); time.Now().Before(end); time.Sleep(endPoll) {
		threads, err := os.ReadDir(filepath.Join(dir, "task"))
		if err != nil || len(threads) <= 1 {
			return nil // the first thread is a zombie until the process is reaped
		}
	}
	return nil
}

// isWorker tells from a process's arguments whether it is a worker.
func isWorker(command []byte) bool {
	args := bytes.Split(command, []byte{0})
	return len(args) > 1 && string(args[1]) == workerCommand
}
