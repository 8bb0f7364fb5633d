package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// process is a worker, seen from its holder.
type process struct {
	*os.Process

	path    string      // of what it runs
	file    os.FileInfo // what that was; nil for ownImage
	started time.Time
	control *control

	messages chan message  // closed when no more will come
	dead     chan struct{} // closed when it does nothing any more, even if it can't end
	reaped   chan struct{} // closed when it has ended
	left     chan struct{} // closed by leave
	state    *os.ProcessState
}

// The descriptors of a worker, beside the three of every process.
const (
	controlNumber  = 3
	listenerNumber = 4
)

// startProcess runs the program. The worker inherits the files, from
// listenerNumber on, and writes to stderr. leave must be called when it is dead.
func startProcess(p *program, stderr io.Writer, log *slog.Logger, files ...*os.File) (*process, error) {
	control, theirs, err := controlPair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	path, file := p.pick()
	cmd, err := p.start(path, stderr, append([]*os.File{theirs}, files...))
	if err != nil && p.distrust(path, file) {
		log.Warn("what is installed can't be run: the worker runs the build that the holder runs", "path", path, "error", err)
		path, file = ownImage, nil
		cmd, err = p.start(path, stderr, append([]*os.File{theirs}, files...))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("starting a worker: %w", err), control.close())
	}
	w := &process{
		Process: cmd.Process, path: path, file: file, started: time.Now(), control: control,
		messages: make(chan message), dead: make(chan struct{}), reaped: make(chan struct{}), left: make(chan struct{}),
	}
	threadEnded := make(chan struct{})
	go w.reap(cmd)
	go w.listen(threadEnded)
	go w.noticeDeath(threadEnded)
	return w, nil
}

// start runs the file at path. The worker is in a process group of its own: what
// a terminal sends is for the holder.
func (p *program) start(path string, stderr io.Writer, files []*os.File) (*exec.Cmd, error) {
	cmd := &exec.Cmd{
		Path: path, Args: p.args, Env: p.env, Stderr: stderr, ExtraFiles: files,
		SysProcAttr: &syscall.SysProcAttr{Setpgid: true},
	}
	return cmd, cmd.Start()
}

// reap waits for the end of the whole process. Before another worker answers in
// its place, it may be unable to end.
func (w *process) reap(cmd *exec.Cmd) {
	_ = cmd.Wait() // the state says how it ended
	w.state = cmd.ProcessState
	close(w.reaped)
}

// listen receives messages until there will be no more.
func (w *process) listen(threadEnded chan<- struct{}) {
	defer close(w.messages)
	watched := false
	for {
		m, err := w.control.receive()
		if err != nil {
			return
		}
		if m.Kind == sayStarted && m.Started != nil && !watched {
			watched = true
			go w.watchThread(m.Started.Thread, threadEnded)
			continue
		}
		select {
		case w.messages <- m:
		case <-w.left:
			return
		}
	}
}

func (w *process) noticeDeath(threadEnded <-chan struct{}) {
	select {
	case <-w.reaped:
	case <-threadEnded:
	}
	close(w.dead)
}

// pidfdThread is PIDFD_THREAD: the descriptor is of a thread (Linux 6.9).
const pidfdThread = unix.O_EXCL

// watchThread tells when the thread has ended. On a kernel that can't, one must
// wait for the process to be reaped.
func (w *process) watchThread(thread int, ended chan<- struct{}) {
	fd, err := unix.PidfdOpen(thread, pidfdThread|unix.PIDFD_NONBLOCK)
	if errors.Is(err, unix.ESRCH) {
		close(ended)
		return
	}
	if err != nil {
		return
	}
	file := os.NewFile(uintptr(fd), "pidfd")
	defer file.Close()
	if awaitReadable(file, w.left) == nil {
		close(ended)
	}
}

// awaitReadable returns nil when poll(2) says that the file can be read, which
// has to be open in non-blocking mode; it fails when stop is closed.
func awaitReadable(file *os.File, stop <-chan struct{}) error {
	conn, err := file.SyscallConn()
	if err != nil {
		return err
	}
	done := make(chan struct{})
	defer close(done)
	go func() {
		select {
		case <-stop:
			_ = file.SetReadDeadline(time.Now())
		case <-done:
		}
	}()
	return conn.Read(func(fd uintptr) bool {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		return n > 0 && err == nil
	})
}

// kill ends the worker at once, whatever it is doing.
func (w *process) kill() {
	_ = w.Kill() // it may have ended
}

// isStopped tells whether the worker is stopped, as by SIGSTOP.
func (w *process) isStopped() bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(w.Pid) + "/stat")
	if err != nil {
		return false
	}
	// The name before it, in parentheses, may hold anything.
	end := bytes.LastIndexByte(stat, ')')
	return end >= 0 && bytes.HasPrefix(stat[end+1:], []byte(" T"))
}

// exitGrace is how long a dead worker's last words and its exit code are waited
// for, both together. They are there in a few milliseconds, unless a thread of it
// can't end before its successor answers what that waits for.
const exitGrace = 10 * time.Millisecond

// Exit codes of those who haven't exited.
const (
	killed   = -1 // by a signal
	isEnding = -2 // and can't be asked yet
)

// exited tells how a dead worker ended, and its exit code. It waits until grace
// is closed at most.
func (w *process) exited(grace <-chan struct{}) (how string, code int) {
	select {
	case <-w.reaped:
		return w.state.String(), w.state.ExitCode() // killed, if it was
	case <-grace:
		return "it has ended, how can't be told yet", isEnding
	}
}

// leave ends what is known of a dead worker. It is reaped when it can be.
func (w *process) leave() {
	close(w.left)
	_ = w.control.close() // nobody is at the other end
}
