package devtest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// systemdPatience is how long a service may take to do what it is told, before
// the test fails: long enough for a machine that does much else.
const systemdPatience = 60 * time.Second

// SystemdConfig says what a unit would say of the service.
type SystemdConfig struct {
	// Command makes the command of a start (ExecStart=). What it says of the
	// environment and the output is kept; systemd's variables are added, and the
	// process leads a session of its own, which stands for its control group.
	Command func() *exec.Cmd
	// StoreMax is how many descriptors are kept (FileDescriptorStoreMax=).
	StoreMax int
	// Watchdog is in what time "WATCHDOG=1" must come, once it or "READY=1" came
	// (WatchdogSec=); else the main process gets SIGABRT. 0 is without limit.
	Watchdog time.Duration
}

// SystemdService is a service under a stand-in for systemd's service manager. It
// is of Type=notify, NotifyAccess=main, KillMode=mixed, KillSignal=SIGTERM and
// RestartKillSignal=SIGUSR2, and is started again only by the test. Its methods
// must be called by the test's goroutine.
type SystemdService struct {
	tb     testing.TB
	cfg    SystemdConfig
	socket string
	inbox  inbox

	main  *exec.Cmd     // nil before the first start
	ended chan struct{} // closed when main is gone
}

// Systemd makes a service, which Start starts. When the test ends it is stopped,
// if need be by SIGKILL, and what was stored is closed.
func Systemd(tb testing.TB, cfg SystemdConfig) *SystemdService {
	tb.Helper()
	dir, err := os.MkdirTemp("", "kingpin-systemd-")
	if err != nil {
		tb.Fatal(err)
	}
	s := &SystemdService{tb: tb, cfg: cfg, socket: filepath.Join(dir, "notify")}
	if err := s.inbox.open(tb, s.socket, cfg); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if s.Running() {
			_ = s.main.Process.Signal(unix.SIGTERM)
			_ = s.main.Process.Signal(unix.SIGCONT)
			select {
			case <-s.ended:
			case <-time.After(stopGrace):
			}
		}
		s.sweep()
		s.inbox.close()
		if err := os.RemoveAll(dir); err != nil {
			tb.Error(err)
		}
	})
	return s
}

// stopGrace is how long a service may take to end with its test.
const stopGrace = 10 * time.Second

// Start starts the main process with what is in the store. What is left of the
// processes of an earlier start is killed first.
func (s *SystemdService) Start() {
	s.tb.Helper()
	if s.Running() {
		s.tb.Fatal("the service is started while it runs")
	}
	s.sweep()
	s.inbox.look(s.tb)
	cmd := s.cfg.Command()
	if cmd.Env == nil {
		cmd.Env = os.Environ()
	}
	cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+s.socket)
	if s.cfg.StoreMax > 0 {
		cmd.Env = append(cmd.Env, fmt.Sprint("FDSTORE=", s.cfg.StoreMax))
	}
	// Only the process itself knows its id in time for its own environment.
	script := ""
	if s.cfg.Watchdog > 0 {
		cmd.Env = append(cmd.Env, fmt.Sprint("WATCHDOG_USEC=", s.cfg.Watchdog.Microseconds()))
		script += "export WATCHDOG_PID=$$\n"
	}
	names, files := s.inbox.handOut(s.tb)
	if len(files) > 0 {
		cmd.Env = append(cmd.Env, fmt.Sprint("LISTEN_FDS=", len(files)), "LISTEN_FDNAMES="+strings.Join(names, ":"))
		cmd.ExtraFiles = files
		script += "export LISTEN_PID=$$\n"
	}
	cmd.Args = append([]string{"sh", "-c", script + `exec "$@"`, "sh", cmd.Path}, cmd.Args[1:]...)
	cmd.Path = "/bin/sh"
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = new(syscall.SysProcAttr)
	}
	cmd.SysProcAttr.Setsid = true
	cmd.SysProcAttr.Pdeathsig = syscall.SIGTERM
	s.run(cmd)
	for _, f := range files {
		_ = f.Close() // the copies for the child
	}
}

func (s *SystemdService) run(cmd *exec.Cmd) {
	s.tb.Helper()
	started, ended := make(chan error), make(chan struct{})
	go func() {
		defer close(ended)
		// The death signal is sent when the thread that forked is gone, so that
		// thread is kept; see prctl(2).
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		s.inbox.mu.Lock() // its first message must find it known
		err := cmd.Start()
		if err == nil {
			s.inbox.begin(cmd.Process)
		}
		s.inbox.mu.Unlock()
		started <- err
		if err == nil {
			_ = cmd.Wait() // the outcome is in ProcessState
		}
	}()
	if err := <-started; err != nil {
		s.tb.Fatalf("starting the service: %v", err)
	}
	s.main, s.ended = cmd, ended
}

// Running tells whether the main process hasn't ended.
func (s *SystemdService) Running() bool {
	if s.main == nil {
		return false
	}
	select {
	case <-s.ended:
		return false
	default:
		return true
	}
}

// PID is the process id of the main process, also when it has ended.
func (s *SystemdService) PID() int { return s.main.Process.Pid }

// Signal sends a signal to the main process.
func (s *SystemdService) Signal(sig os.Signal) {
	s.tb.Helper()
	if err := s.main.Process.Signal(sig); err != nil {
		s.tb.Fatalf("sending %v to the main process %d: %v", sig, s.PID(), err)
	}
}

// KillAll ends all processes of the service at once by SIGKILL, and returns
// when the main process is gone. The others may take longer, if they are stuck
// in the kernel.
func (s *SystemdService) KillAll() {
	s.tb.Helper()
	for _, pid := range sessionOf(s.PID()) {
		_ = unix.Kill(pid, unix.SIGKILL) // it may have ended by itself
	}
	s.Wait()
}

// Wait returns how the main process has ended, when it has, and all that it
// said was acted on. The service's other processes are left to go on.
func (s *SystemdService) Wait() *os.ProcessState {
	s.tb.Helper()
	select {
	case <-s.ended:
	case <-time.After(systemdPatience):
		s.tb.Fatalf("the main process %d didn't end within %v", s.PID(), systemdPatience)
	}
	s.inbox.drain(s.tb)
	return s.main.ProcessState
}

// Restart does what `systemctl restart` does: SIGUSR2 ends the main process,
// SIGKILL the rest, and the service starts with what is in the store.
func (s *SystemdService) Restart() *os.ProcessState {
	s.tb.Helper()
	state := s.end(unix.SIGUSR2)
	s.Start()
	return state
}

// Stop does what `systemctl stop` does: SIGTERM ends the main process, SIGKILL
// the rest, and the store is emptied. It returns how the main process ended.
func (s *SystemdService) Stop() *os.ProcessState {
	s.tb.Helper()
	state := s.end(unix.SIGTERM)
	s.inbox.empty()
	return state
}

func (s *SystemdService) end(sig os.Signal) *os.ProcessState {
	s.tb.Helper()
	s.inbox.unwatch()
	s.Signal(sig)
	state := s.Wait()
	s.sweep()
	return state
}

// Await returns the next message with a line, as "READY=1", since the latest
// start and since what Await returned last. The test fails if the main process
// ends first, or if it takes long.
func (s *SystemdService) Await(line string) SystemdMessage {
	s.tb.Helper()
	return s.AwaitMessage(fmt.Sprintf("%q", line), func(m SystemdMessage) bool { return m.Has(line) })
}

// AwaitMessage is Await of a message of the caller's choice, which is what in
// errors.
func (s *SystemdService) AwaitMessage(what string, accept func(SystemdMessage) bool) SystemdMessage {
	s.tb.Helper()
	timeout := time.NewTimer(systemdPatience)
	defer timeout.Stop()
	b := &s.inbox
	for ended := false; ; {
		b.mu.Lock()
		changed := b.changed
		for b.awaited < len(b.messages) {
			m := b.messages[b.awaited]
			b.awaited++
			if accept(m) {
				b.mu.Unlock()
				return m
			}
		}
		said := slices.Clone(b.messages)
		b.mu.Unlock()
		if ended {
			s.tb.Fatalf("the main process %d ended (%v) and didn't say %s; it said %v", s.PID(), s.main.ProcessState, what, said)
		}
		select {
		case <-changed:
		case <-s.ended:
			b.drain(s.tb)
			ended = true
		case <-timeout.C:
			s.tb.Fatalf("the main process %d didn't say %s within %v; it said %v", s.PID(), what, systemdPatience, said)
		}
	}
}

// Messages returns what the main process said since the latest start.
func (s *SystemdService) Messages() []SystemdMessage {
	s.inbox.mu.Lock()
	defer s.inbox.mu.Unlock()
	return slices.Clone(s.inbox.messages)
}

// Stored returns the names of what is in the store, sorted.
func (s *SystemdService) Stored() []string {
	s.inbox.mu.Lock()
	defer s.inbox.mu.Unlock()
	var names []string
	for _, f := range s.inbox.store {
		names = append(names, f.name)
	}
	slices.Sort(names)
	return names
}

// StoredFile returns a copy, which the caller closes, of the descriptor that is
// stored under a name. The test fails if there is none.
func (s *SystemdService) StoredFile(name string) *os.File {
	s.tb.Helper()
	s.inbox.mu.Lock()
	defer s.inbox.mu.Unlock()
	for _, f := range s.inbox.store {
		if f.name == name {
			return duplicate(s.tb, f)
		}
	}
	s.tb.Fatalf("nothing is stored under the name %q", name)
	return nil
}

// sweep kills what is left of the service's processes and waits until they are
// gone.
func (s *SystemdService) sweep() {
	s.tb.Helper()
	if s.main == nil {
		return
	}
	deadline := time.Now().Add(systemdPatience)
	for {
		left := sessionOf(s.PID())
		if len(left) == 0 {
			break
		}
		for _, pid := range left {
			if err := killAndWait(pid, deadline); err != nil {
				s.tb.Fatalf("process %d of the service: %v", pid, err)
			}
		}
	}
	s.Wait()
}

// killAndWait ends a process by SIGKILL.
func killAndWait(pid int, deadline time.Time) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil //nolint:nilerr // it has ended
	}
	defer unix.Close(fd)
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil {
		return nil //nolint:nilerr // it has ended
	}
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(max(0, time.Until(deadline).Milliseconds())))
		switch {
		case err == unix.EINTR:
		case err != nil:
			return err
		case n == 0:
			return fmt.Errorf("is still there after SIGKILL and %v", systemdPatience)
		default:
			return nil
		}
	}
}

// sessionOf returns the processes of a session, but for those that have ended
// and wait for their parent to notice. They keep the session's number taken.
func sessionOf(session int) []int {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		panic(err) // the pattern is right
	}
	var pids []int
	for _, path := range stats {
		content, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended meanwhile
		}
		// proc_pid_stat(5): pid (comm) state ppid pgrp session …; comm is anything.
		text := string(content)
		var pid, parent, group, of int
		var state string
		_, err = fmt.Sscan(text, &pid)
		if _, fieldsErr := fmt.Sscan(text[strings.LastIndexByte(text, ')')+1:], &state, &parent, &group, &of); err != nil || fieldsErr != nil {
			panic(fmt.Sprintf("%s isn't as proc_pid_stat(5) says: %q", path, text))
		}
		if of == session && state != "Z" && state != "X" {
			pids = append(pids, pid)
		}
	}
	return pids
}
