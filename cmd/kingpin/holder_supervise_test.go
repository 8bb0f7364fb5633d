package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	kpfs "github.com/kingpinfs/kingpin/fs"
)

const atWork = "serving loaded shown ready work"

func TestWorkerIsStoppedAtTheEnd(t *testing.T) {
	for _, cause := range []error{nil, errHandOver} {
		t.Run(fmt.Sprint(cause), func(t *testing.T) {
			st := newStage(t, kpfs.FUSE, atWork)
			st.start()
			st.await("ready ")
			st.mustHaveSeen("connect", "show")
			st.cancel(cause)
			if err := st.awaitEnd(); err != nil {
				t.Fatal(err)
			}
			if unmounted := slices.Contains(st.seen, "unmount"); unmounted != (cause == nil) {
				t.Errorf("%q", st.seen)
			}
			st.mustNotHaveSeen("abort")
		})
	}
}

func TestDeadWorkerIsReplaced(t *testing.T) {
	for _, death := range []string{"die", "exit=2"} {
		t.Run(death, func(t *testing.T) {
			st := newStage(t, kpfs.FUSE, "serving loaded shown ready "+death, atWork)
			st.start()
			first := st.await("ready ")
			second := st.await("ready ")
			if first == second {
				t.Errorf("both are process %s", first)
			}
			st.mustNotHaveSeen("abort")
			st.cancel(nil)
			if err := st.awaitEnd(); err != nil {
				t.Fatal(err)
			}
			if facts := st.hello.Holder; facts.Restarts != 1 || facts.LastExit == "" {
				t.Errorf("it remembers %+v", facts)
			}
		})
	}
}

// A worker that dies again and again without doing its work isn't replaced for
// ever while readers wait.
func TestWorkersThatFailInARow(t *testing.T) {
	for _, play := range []string{"die", "exit=1", "fail=torn", "serving exit=1"} {
		t.Run(play, func(t *testing.T) {
			// More than enough: how one ended may not be known at once.
			plays := append([]string{"serving loaded shown ready die"}, slices.Repeat(strings.Split(play, ";"), 16)...)
			st := newStage(t, kpfs.FUSE, append(plays, atWork)...)
			st.start()
			st.await("ready ")
			st.await("abort")
			why := st.await("stand in: ")
			if !strings.Contains(why, "3 workers in a row have failed") {
				t.Errorf("it says %q", why)
			}
			st.await("ready ")
			st.mustHaveSeen("abort", "connect", "stand down", "show")
		})
	}
}

func TestFirstWorkerThatCantWork(t *testing.T) {
	st := newStage(t, kpfs.FUSE, "fail=no-such-thing")
	st.start()
	err := st.awaitEnd()
	failure, ok := errors.AsType[*workerError](err)
	if !ok || failure.text != "no-such-thing" || exitCode(err) != exitRefused {
		t.Errorf("the error is %v", err)
	}
	st.mustNotHaveSeen("show")

	st = newStage(t, kpfs.Plain, "exit=7")
	st.start()
	if err := st.awaitEnd(); err == nil || !strings.Contains(err.Error(), "exit status 7") || exitCode(err) != exitFailed {
		t.Errorf("the error is %v", err)
	}
}

func TestWorkerThatNeverServes(t *testing.T) {
	st := newStage(t, kpfs.FUSE, "serving loaded shown ready die", "deaf", atWork)
	st.pace.serve = 100 * time.Millisecond
	st.start()
	st.await("ready ")
	st.await("abort")
	if why := st.await("stand in: "); !strings.Contains(why, "no worker has served for") {
		t.Errorf("it says %q", why)
	}
	// From now on there is nothing that readers wait for.
	st.await("ready ")
}

func TestStoppedWorkerIsReplaced(t *testing.T) {
	st := newStage(t, kpfs.FUSE, "serving loaded shown ready halt work", atWork)
	st.start()
	first := st.await("ready ")
	if second := st.await("ready "); first == second {
		t.Errorf("both are process %s", first)
	}
	st.mustNotHaveSeen("abort")
}

func TestWorkerThatGoesOnInTimeIsLeftAlone(t *testing.T) {
	st := newStage(t, kpfs.FUSE, atWork)
	st.pace.stopped = time.Hour
	st.start()
	var pid int
	if _, err := fmt.Sscan(st.await("ready "), &pid); err != nil {
		t.Fatal(err)
	}
	for _, signal := range []syscall.Signal{unix.SIGSTOP, unix.SIGCONT} {
		if err := unix.Kill(pid, signal); err != nil {
			t.Fatal(err)
		}
	}
	st.cancel(nil)
	if err := st.awaitEnd(); err != nil || st.hello.Holder.Restarts != 0 {
		t.Errorf("%v, %d restarts", err, st.hello.Holder.Restarts)
	}
}

// A worker that doesn't answer on the mount is replaced; if the next one doesn't
// either, the mount goes.
func TestWorkerThatDoesntAnswer(t *testing.T) {
	st := newStage(t, kpfs.FUSE, atWork)
	st.pace.beat = 50 * time.Millisecond
	st.start()
	first := st.await("ready ")
	st.holding.set(func() { st.holding.probeErr = context.DeadlineExceeded })
	st.await("abort")
	if why := st.await("stand in: "); !strings.Contains(why, "two workers in a row have ceased to answer") {
		t.Errorf("it says %q", why)
	}
	st.holding.set(func() { st.holding.probeErr = nil })
	st.await("connect")
	if last := st.await("ready "); last == first {
		t.Errorf("both are process %s", first)
	}
	st.cancel(nil)
	if err := st.awaitEnd(); err != nil {
		t.Fatal(err)
	}
	if how := st.hello.Holder.LastExit; !strings.Contains(how, "it hasn't answered on the mount") {
		t.Errorf("it says %q", how)
	}
}

// Without a mount it is the worker itself that has to answer.
func TestDeafWorkerIsReplaced(t *testing.T) {
	st := newStage(t, kpfs.Plain, "serving loaded shown ready deaf", atWork)
	st.pace.beat, st.pace.answer = 200*time.Millisecond, 5*time.Second
	st.start()
	first := st.await("ready ")
	if second := st.await("ready "); first == second {
		t.Errorf("both are process %s", first)
	}
}

func TestMountThatIsTakenAwayComesBack(t *testing.T) {
	st := newStage(t, kpfs.FUSE, atWork)
	st.start()
	first := st.await("ready ")
	st.holding.set(func() {
		st.holding.connects = []error{errors.New("no memory"), nil}
		close(st.holding.gone)
	})
	st.await("abandon")
	st.await("connect")
	st.await("show")
	if second := st.await("ready "); first == second {
		t.Errorf("both are process %s", first)
	}
}

func TestMountThatCantBeShown(t *testing.T) {
	st := newStage(t, kpfs.FUSE, atWork)
	st.pace.stop = 100 * time.Millisecond // it waits for the mount to be shown
	st.holding.showErr = errors.New("it is covered")
	st.start()
	if err := st.awaitEnd(); err == nil || !strings.Contains(err.Error(), "it is covered") {
		t.Errorf("the error is %v", err)
	}

	st = newStage(t, kpfs.Auto, atWork)
	st.holding.showErr = errors.New("it is covered")
	st.start()
	st.await("abort")
	st.holding.set(func() { st.holding.showErr = nil })
	st.await("show")
}

func TestWatchersAreWoken(t *testing.T) {
	st := newStage(t, kpfs.FUSE, "serving loaded shown wake work")
	st.holding.wakeErr = errors.New("asleep")
	st.start()
	st.await("wake a b")
	st.await("ready woken 7 asleep")
}

// A change that nobody can be told of doesn't keep the monitor from ending.
func TestMonitorEndsDuringAWakeup(t *testing.T) {
	for _, cause := range []error{nil, errHandOver} {
		st := newStage(t, kpfs.FUSE, "serving loaded shown wake work")
		st.holding.asleep = make(chan struct{})
		st.pace.stop = 100 * time.Millisecond // it waits for the wakeup
		st.start()
		st.await("wake a b")
		st.cancel(cause)
		if err := st.awaitEnd(); err != nil {
			t.Error(err)
		}
		close(st.holding.asleep)
	}
}

func TestWorkerIsHidden(t *testing.T) {
	for _, args := range [][]string{{"--help"}, {"__complete", ""}, {"__complete", "mon"}} {
		var stdout strings.Builder
		if code := run(t.Context(), args, strings.NewReader(""), &stdout, io.Discard); code != exitDone {
			t.Errorf("%q exits with %d", args, code)
		}
		if strings.Contains(stdout.String(), workerCommand) || !strings.Contains(stdout.String(), "monitor") {
			t.Errorf("%q shows\n%s", args, &stdout)
		}
	}
	var stderr strings.Builder
	if code := run(t.Context(), []string{workerCommand}, strings.NewReader(""), io.Discard, &stderr); code != exitUsage || !strings.Contains(stderr.String(), "run that instead") {
		t.Errorf("by itself it exits with %d and says %s", code, &stderr)
	}
}

func TestWorkerMayStopTheMonitor(t *testing.T) {
	st := newStage(t, kpfs.FUSE, "serving loaded shown kill work")
	st.start()
	if err := st.awaitEnd(); err != nil {
		t.Fatal(err)
	}
	st.mustHaveSeen("show", "unmount")
}

// What is installed is what the next worker runs, unless it can't serve: then
// the holder's own build does, until something else is installed.
func TestBrokenBuildIsNotRun(t *testing.T) {
	for name, content := range map[string]string{
		"no program":          "\x7fELF and nothing",
		"ends at once":        "#!/bin/sh\nexit 1\n",
		"doesn't serve":       "#!/bin/sh\nexec sleep 3600\n",
		"not there":           "",
		"can't be executed":   "#!/bin/no-such-shell\n",
		"killed by a signal":  "#!/bin/sh\nkill -9 $$\n",
		"answers other words": "#!/bin/sh\necho hello >&3\n",
	} {
		t.Run(name, func(t *testing.T) {
			st := newStage(t, kpfs.FUSE, "no play for it", "serving loaded shown ready die", atWork)
			st.pace.attempt = time.Second
			st.worked = true
			own, err := os.ReadFile(ownImage)
			if err != nil {
				t.Fatal(err)
			}
			path := t.TempDir() + "/kingpin"
			install := func(content []byte) {
				t.Helper()
				if err := os.WriteFile(path+".new", content, 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.Rename(path+".new", path); err != nil {
					t.Fatal(err)
				}
			}
			if content != "" {
				install([]byte(content))
			}
			st.program.path = path
			st.holding.shown = true
			st.start()
			st.await("ready ")
			st.await("ready ")
			st.mustNotHaveSeen("abort")

			st.cancel(nil)
			if err := st.awaitEnd(); err != nil {
				t.Fatal(err)
			}
			install(own)
			if picked, _ := st.program.pick(); picked != path {
				t.Errorf("after another was installed %q is run", picked)
			}
		})
	}
}

func TestBackoff(t *testing.T) {
	b := backoff{least: time.Second, most: time.Minute}
	now := time.Unix(0, 0)
	for _, want := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60} {
		if got := b.next(now); got != want*time.Second {
			t.Errorf("delay %v, want %v", got, want*time.Second)
		}
		now = now.Add(b.delay)
	}
	if got := b.next(now.Add(10 * time.Minute)); got != time.Second {
		t.Errorf("long after a failure the delay is %v", got)
	}
}

// A process of which a thread can't end is known to be dead all the same.
func TestDeathIsToldByAThread(t *testing.T) {
	control, theirs, err := controlPair()
	if err != nil {
		t.Fatal(err)
	}
	if err := theirs.Close(); err != nil {
		t.Fatal(err)
	}
	w := &process{control: control, left: make(chan struct{})}
	for _, living := range []bool{true, false} {
		id, end := startThread()
		if !living {
			end()
		}
		ended := make(chan struct{})
		go w.watchThread(id, ended)
		if living {
			end()
		}
		select {
		case <-ended:
		case <-time.After(stagePatience):
			t.Fatal("the end of a thread isn't noticed")
		}
	}
	w.leave()
	if _, err := control.receive(); !errors.Is(err, net.ErrClosed) && !errors.Is(err, io.EOF) {
		t.Errorf("after leave: %v", err)
	}
}

// startThread starts a thread, which ends when end is called.
func startThread() (id int, end func()) {
	ids, done := make(chan int), make(chan struct{})
	var run func()
	run = func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		if id := unix.Gettid(); id != os.Getpid() {
			ids <- id
			<-done
			return
		}
		// The first thread doesn't end.
		defer runtime.UnlockOSThread()
		go run()
		<-done
	}
	go run()
	return <-ids, sync.OnceFunc(func() { close(done) })
}
