package devtest_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kingpinfs/kingpin/internal/devcluster/devtest"
	"github.com/kingpinfs/kingpin/internal/sdnotify"
)

// serviceVariable makes the test binary a service that does what the lines of
// its standard input say; see obey.
const serviceVariable = "DEVTEST_SERVICE"

func TestMain(m *testing.M) {
	if os.Getenv(serviceVariable) != "" {
		if err := runService(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	devtest.Main(m)
}

// runService obeys until it is signalled: SIGUSR2 ends it well.
func runService() error {
	ends := make(chan os.Signal, 1)
	signal.Notify(ends, unix.SIGUSR2)
	stored := sdnotify.Stored()
	lines := make(chan string)
	go func() {
		for in := bufio.NewScanner(os.Stdin); in.Scan(); {
			lines <- in.Text()
		}
	}()
	for {
		select {
		case <-ends:
			return sdnotify.Notify("STOPPING=1")
		case line := <-lines:
			if err := obey(line, stored); err != nil {
				return fmt.Errorf("%s: %w", line, err)
			}
		}
	}
}

func obey(line string, stored map[string]*os.File) error {
	verb, argument, _ := strings.Cut(line, " ")
	switch verb {
	case "say":
		return sdnotify.Notify(argument)
	case "environment": // says the value of a variable
		return sdnotify.Notify("STATUS=" + os.Getenv(argument))
	case "interval":
		return sdnotify.Notify("STATUS=" + sdnotify.WatchdogInterval().String())
	case "store": // NAME FILE
		name, path, _ := strings.Cut(argument, " ")
		f, err := os.OpenFile(path, unix.O_PATH, 0)
		if err != nil {
			return err
		}
		return sdnotify.Store(name, f)
	case "unstore":
		return sdnotify.Unstore(argument)
	case "stored": // says the files behind the names
		var all []string
		for name, f := range stored {
			path, err := os.Readlink(fmt.Sprint("/proc/self/fd/", f.Fd()))
			if err != nil {
				return err
			}
			all = append(all, name+"="+path)
		}
		slices.Sort(all)
		return sdnotify.Notify("STATUS=" + strings.Join(all, " "))
	case "child": // starts one in a process group of its own, and says its id
		child := exec.Command("sleep", "1000")
		child.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		if err := child.Start(); err != nil {
			return err
		}
		return sdnotify.Notify(fmt.Sprint("STATUS=", child.Process.Pid))
	default:
		return fmt.Errorf("what is %q?", verb)
	}
}

// commanded is a service with a way to tell it what to do.
type commanded struct {
	*devtest.SystemdService
	t     *testing.T
	stdin io.WriteCloser // of the latest start
}

func newService(t *testing.T, cfg devtest.SystemdConfig) *commanded {
	t.Helper()
	c := &commanded{t: t}
	cfg.Command = func() *exec.Cmd {
		exe, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(exe)
		cmd.Env = append(os.Environ(), serviceVariable+"=1")
		cmd.Stderr = t.Output()
		if c.stdin, err = cmd.StdinPipe(); err != nil {
			t.Fatal(err)
		}
		return cmd
	}
	c.SystemdService = devtest.Systemd(t, cfg)
	return c
}

// tell has the service do something.
func (c *commanded) tell(format string, arguments ...any) {
	c.t.Helper()
	if _, err := fmt.Fprintf(c.stdin, format+"\n", arguments...); err != nil {
		c.t.Fatal(err)
	}
}

// ask has the service do something and returns the status that it says then.
func (c *commanded) ask(format string, arguments ...any) string {
	c.t.Helper()
	c.tell(format, arguments...)
	m := c.AwaitMessage("a status", func(m devtest.SystemdMessage) bool { return strings.HasPrefix(m.Lines[0], "STATUS=") })
	return m.Value("STATUS")
}

func TestSystemdHearsTheService(t *testing.T) {
	s := newService(t, devtest.SystemdConfig{StoreMax: 7, Watchdog: time.Hour})
	s.Start()
	s.tell("say READY=1")
	s.tell("say RELOADING=1")
	if m := s.Await("READY=1"); m.PID != s.PID() {
		t.Fatalf("READY=1 came from process %d, the main process is %d", m.PID, s.PID())
	}
	s.Await("RELOADING=1")
	if got := s.ask("interval"); got != "1h0m0s" {
		t.Errorf("the service takes the watchdog's interval for %s", got)
	}
	if got := s.ask("environment FDSTORE"); got != "7" {
		t.Errorf("FDSTORE is %q", got)
	}
	if state := s.Stop(); state.Sys().(syscall.WaitStatus).Signal() != unix.SIGTERM { //nolint:errcheck // it is one on Linux
		t.Errorf("Stop ended it by %v", state)
	}
	if s.Running() {
		t.Error("it runs on after Stop")
	}
}

func TestSystemdHandsOutWhatItStores(t *testing.T) {
	a, b := t.TempDir(), t.TempDir()
	s := newService(t, devtest.SystemdConfig{StoreMax: 4})
	s.Start()
	if got := s.ask("stored"); got != "" {
		t.Fatalf("the first start was given %s", got)
	}
	s.tell("store one %s", a)
	s.tell("store two %s", a)
	s.tell("store two %s", b) // in place of the first
	s.tell("store three %s", os.DevNull)
	s.tell("unstore three")
	s.tell("say READY=1")
	s.Await("READY=1")
	state := s.Restart()
	if !state.Success() {
		t.Fatalf("a restart ended it with %v", state)
	}
	if got, want := s.Stored(), []string{"one", "two"}; !reflect.DeepEqual(got, want) {
		t.Fatalf("stored are %v, want %v", got, want)
	}
	// Killed, it is given the same again.
	for range 2 {
		if got, want := s.ask("stored"), "one="+a+" two="+b; got != want {
			t.Fatalf("the next start was given %q, want %q", got, want)
		}
		s.Signal(unix.SIGKILL)
		s.Wait()
		s.Start()
	}
	f := s.StoredFile("two")
	defer f.Close()
	if path, err := os.Readlink(fmt.Sprint("/proc/self/fd/", f.Fd())); err != nil || path != b {
		t.Fatalf("StoredFile is of %q (%v), want %q", path, err, b)
	}
	s.Stop()
	if got := s.Stored(); len(got) != 0 {
		t.Fatalf("a stopped service still has %v in the store", got)
	}
}

func TestSystemdStoresNoMoreThanItSays(t *testing.T) {
	s := newService(t, devtest.SystemdConfig{StoreMax: 1})
	s.Start()
	s.tell("store one %s", t.TempDir())
	s.tell("store two %s", t.TempDir())
	s.tell("say READY=1")
	s.Await("READY=1")
	if got, want := s.Stored(), []string{"one"}; !reflect.DeepEqual(got, want) {
		t.Fatalf("stored are %v, want %v", got, want)
	}
}

func gone(pid int) bool {
	state, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || strings.Contains(string(state), ") Z ")
}

func TestSystemdKillsWhatTheMainProcessLeaves(t *testing.T) {
	s := newService(t, devtest.SystemdConfig{})
	for name, end := range map[string]func(){
		"stop":    func() { s.Stop() },
		"restart": func() { s.Restart(); s.KillAll() },
		"start":   func() { s.Signal(unix.SIGKILL); s.Wait(); s.Start(); s.KillAll() },
	} {
		s.Start()
		var child int
		if _, err := fmt.Sscan(s.ask("child"), &child); err != nil {
			t.Fatal(err)
		}
		if gone(child) {
			t.Fatalf("%s: the child %d is gone before", name, child)
		}
		end()
		if !gone(child) {
			t.Errorf("%s: the child %d goes on", name, child)
		}
	}
}

func TestSystemdAbortsAServiceThatHangs(t *testing.T) {
	s := newService(t, devtest.SystemdConfig{Watchdog: time.Millisecond})
	s.Start()
	s.tell("say WATCHDOG=1")
	// Go's runtime exits with 2 on SIGABRT.
	if state := s.Wait(); state.ExitCode() != 2 {
		t.Fatalf("the service ended with %v", state)
	}
}
