package rig

import (
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Usage is what processes take of the machine. Sizes are in bytes.
type Usage struct {
	RSS int64 // each process's resident memory, added up
	PSS int64 // the same, with pages that several map counted once
	// Shared is the memory files (memfd) that they hold open, mapped or not,
	// each counted once; what is mapped of them is in RSS and PSS too.
	Shared  int64
	FDs     int
	Threads int
	Wakeups map[int]int64 // how often each thread has gone to sleep so far
	CPU     time.Duration // so far
}

// Processes returns the monitor's processes: the one that was started and those
// that it has started.
func (m *Monitor) Processes() ([]int, error) {
	pids := []int{m.PID()}
	children, err := childrenOf(m.PID())
	return append(pids, children...), err
}

// childrenOf returns the processes that a process has started, zombies left out.
func childrenOf(parent int) ([]int, error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	var children []int
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		if s, err := parseStat(string(text)); err == nil && s.parent == parent && s.state != "Z" && s.state != "X" {
			children = append(children, s.pid)
		}
	}
	slices.Sort(children)
	return children, nil
}

// stat is what we look at of /proc/PID/stat.
type stat struct {
	pid, parent int
	state       string
	cpu         time.Duration
}

// clockTick is the unit of /proc's times: 1/100 s on all machines that Go knows.
const clockTick = 10 * time.Millisecond

func parseStat(text string) (stat, error) {
	// The command, in parentheses, may hold anything.
	open, end := strings.IndexByte(text, '('), strings.LastIndexByte(text, ')')
	if open < 0 || end < open {
		return stat{}, fmt.Errorf("no process's stat: %q", text)
	}
	fields := strings.Fields(text[end+1:])
	const state, parent, user, system = 0, 1, 11, 12
	if len(fields) <= system {
		return stat{}, fmt.Errorf("no process's stat: %q", text)
	}
	numbers := []string{text[:open], fields[parent], fields[user], fields[system]}
	var n [4]int
	for i, number := range numbers {
		var err error
		if n[i], err = strconv.Atoi(strings.TrimSpace(number)); err != nil {
			return stat{}, fmt.Errorf("no process's stat: %q: %w", text, err)
		}
	}
	return stat{pid: n[0], parent: n[1], state: fields[state], cpu: time.Duration(n[2]+n[3]) * clockTick}, nil
}

// UsageOf adds up what processes take. All must be alive.
func UsageOf(pids ...int) (Usage, error) {
	u := Usage{Wakeups: map[int]int64{}}
	files := map[uint64]int64{}
	for _, pid := range pids {
		if err := u.add(pid, files); err != nil {
			return u, fmt.Errorf("looking at process %d: %w", pid, err)
		}
	}
	for _, size := range files {
		u.Shared += size
	}
	return u, nil
}

func (u *Usage) add(pid int, files map[uint64]int64) error {
	proc := filepath.Join("/proc", strconv.Itoa(pid))
	memory, err := readFields(filepath.Join(proc, "smaps_rollup"))
	if err != nil {
		return err
	}
	u.RSS += memory["Rss"] << 10
	u.PSS += memory["Pss"] << 10
	text, err := os.ReadFile(filepath.Join(proc, "stat"))
	if err != nil {
		return err
	}
	s, err := parseStat(string(text))
	if err != nil {
		return err
	}
	u.CPU += s.cpu
	if err := u.addThreads(proc); err != nil {
		return err
	}
	return u.addFiles(proc, files)
}

func (u *Usage) addThreads(proc string) error {
	threads, err := os.ReadDir(filepath.Join(proc, "task"))
	if err != nil {
		return err
	}
	for _, thread := range threads {
		tid, err := strconv.Atoi(thread.Name())
		if err != nil {
			return err
		}
		fields, err := readFields(filepath.Join(proc, "task", thread.Name(), "status"))
		if errors.Is(err, iofs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue // it has just ended
		}
		if err != nil {
			return err
		}
		u.Threads++
		u.Wakeups[tid] = fields["voluntary_ctxt_switches"]
	}
	return nil
}

func (u *Usage) addFiles(proc string, files map[uint64]int64) error {
	descriptors, err := os.ReadDir(filepath.Join(proc, "fd"))
	if err != nil {
		return err
	}
	u.FDs += len(descriptors)
	for _, d := range descriptors {
		path := filepath.Join(proc, "fd", d.Name())
		if target, err := os.Readlink(path); err != nil || !strings.HasPrefix(target, "/memfd:") {
			continue // it was closed, or is something else
		}
		var st syscall.Stat_t
		if err := syscall.Stat(path, &st); err == nil {
			const block = 512
			files[st.Ino] = st.Blocks * block
		}
	}
	return nil
}

// WakeupsSince returns how often threads have been woken, and have gone to sleep
// again. Threads that have ended since are left out.
func (u *Usage) WakeupsSince(before *Usage) (wakeups int64) {
	for tid, n := range u.Wakeups {
		wakeups += n - before.Wakeups[tid]
	}
	return wakeups
}

// readFields reads a file of /proc whose lines are "name: number …". Other lines
// are left out.
func readFields(path string) (map[string]int64, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return parseFields(string(text)), nil
}

func parseFields(text string) map[string]int64 {
	fields := map[string]int64{}
	for line := range strings.Lines(text) {
		name, rest, _ := strings.Cut(line, ":")
		if words := strings.Fields(rest); len(words) > 0 {
			if n, err := strconv.ParseInt(words[0], 10, 64); err == nil {
				fields[name] = n
			}
		}
	}
	return fields
}
