package integration

import (
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// process is a child process. Its methods must be called by the test's
// goroutine.
type process struct {
	t      testing.TB
	cmd    *exec.Cmd
	stdout *transcript
	stderr *transcript
	done   chan struct{} // closed when it is gone and its output read
}

// startProcess runs a program without standard input, unless cmd has one. If
// this process dies, it gets SIGTERM. It is killed when the test ends, if it is
// still there; its output is logged if the test failed.
func startProcess(t testing.TB, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{t: t, cmd: cmd, stdout: newTranscript(), stderr: newTranscript(), done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = p.stdout, p.stderr
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = new(syscall.SysProcAttr)
	}
	cmd.SysProcAttr.Setpgid = true
	cmd.SysProcAttr.Pdeathsig = syscall.SIGTERM
	started := make(chan error)
	go func() {
		defer close(p.done)
		// The death signal is sent when the thread that forked is gone, so
		// that thread is kept; see prctl(2).
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // the exit code is in ProcessState
		}
	}()
	if err := <-started; err != nil {
		t.Fatalf("starting %q: %v", cmd.Args, err)
	}
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("stdout of %q (pid %d):\n%s", cmd.Args, p.pid(), p.stdout.tail(50))
			t.Logf("stderr of %q (pid %d):\n%s", cmd.Args, p.pid(), p.stderr.tail(200))
		}
	})
	return p
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// running tells whether the process hasn't ended.
func (p *process) running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// signal signals the process.
func (p *process) signal(sig syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		p.t.Fatalf("sending %v to pid %d: %v", sig, p.pid(), err)
	}
}

// kill ends the process by SIGKILL, if it is there, and returns when it is gone.
func (p *process) kill() {
	p.t.Helper()
	_ = p.cmd.Process.Kill() // it may be gone
	p.wait()
}

// wait returns the exit code, -1 if it was ended by a signal, when the process
// is gone. The test fails if that takes long.
func (p *process) wait() int {
	p.t.Helper()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	select {
	case <-p.done:
	case <-timeout.C:
		p.t.Fatalf("pid %d (%q) didn't end within %v", p.pid(), p.cmd.Args, patience)
	}
	return p.cmd.ProcessState.ExitCode()
}

// awaitLine returns the first line of stderr, after the first skip bytes, that
// matches, as soon as it is there. The test fails if the process ends before.
func (p *process) awaitLine(skip int, pattern string) string {
	p.t.Helper()
	return p.awaitOutput(p.stderr, skip, pattern)
}

// awaitOutput is awaitLine of stdout or stderr.
func (p *process) awaitOutput(from *transcript, skip int, pattern string) string {
	p.t.Helper()
	wanted := regexp.MustCompile(pattern)
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for ended := false; ; {
		text, changed := from.read()
		for line := range strings.Lines(text[min(skip, len(text)):]) {
			if strings.HasSuffix(line, "\n") && wanted.MatchString(line) {
				return strings.TrimSuffix(line, "\n")
			}
		}
		if ended {
			p.t.Fatalf("pid %d (%q) ended, with %d, and printed no line like %q", p.pid(), p.cmd.Args, p.cmd.ProcessState.ExitCode(), pattern)
		}
		select {
		case <-changed:
		case <-p.done:
			ended = true
		case <-timeout.C:
			p.t.Fatalf("pid %d (%q) printed no line like %q within %v", p.pid(), p.cmd.Args, pattern, patience)
		}
	}
}

// transcript keeps what a process prints.
type transcript struct {
	mu      sync.Mutex // guards the rest
	text    strings.Builder
	changed chan struct{} // closed at the next write
}

func newTranscript() *transcript { return &transcript{changed: make(chan struct{})} }

// Write implements io.Writer.
func (tr *transcript) Write(p []byte) (int, error) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	close(tr.changed)
	tr.changed = make(chan struct{})
	return tr.text.Write(p)
}

// read returns all that was printed, and what is closed when there is more.
func (tr *transcript) read() (text string, changed <-chan struct{}) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return tr.text.String(), tr.changed
}

// String returns all that was printed.
func (tr *transcript) String() string {
	text, _ := tr.read()
	return text
}

// tail returns the last lines.
func (tr *transcript) tail(lines int) string {
	all := strings.SplitAfter(tr.String(), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "")
}
