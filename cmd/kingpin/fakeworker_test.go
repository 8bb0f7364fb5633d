package main

import (
	"context"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	kpfs "github.com/kingpinfs/kingpin/fs"
)

// playVariable makes this binary a worker that does what a test wants of it: a
// play for each worker in a row, separated by ";", the last of which all that
// follow have. A play is steps, separated by spaces:
//
//	serving, loaded, ready, kill   say so
//	shown                    wait for that
//	exit=CODE, fail=TEXT     end
//	die, halt                send oneself SIGKILL, SIGSTOP
//	deaf                     answer nothing any more, and do nothing
//	wake                     have a watcher woken, and say "ready" when that is done
//	work                     answer until the end
const playVariable = "KINGPIN_TEST_WORKER"

func playWorker(plays string) int {
	control, err := inheritControl()
	if err != nil {
		return exitUsage
	}
	a := &app{stderr: os.Stderr}
	w, err := a.greet(control)
	if err != nil {
		return exitFailed
	}
	all := strings.Split(plays, ";")
	play := all[min(int(w.hello.Holder.Restarts), len(all)-1)]
	for step := range strings.FieldsSeq(play) {
		name, argument, _ := strings.Cut(step, "=")
		if code, ended := playStep(w, control, name, argument); ended {
			return code
		}
	}
	return exitDone
}

func playStep(w *worker, control *control, name, argument string) (code int, ended bool) {
	switch name {
	case "exit":
		code, _ = strconv.Atoi(argument)
		return code, true
	case "fail":
		_ = control.send(message{Kind: sayFailed, Error: argument, Code: exitRefused})
		return exitRefused, true
	case "die":
		_ = unix.Kill(os.Getpid(), unix.SIGKILL)
		<-time.After(time.Hour)
	case "halt":
		_ = unix.Kill(os.Getpid(), unix.SIGSTOP)
	case "deaf":
		<-time.After(time.Hour)
	case "shown":
		awaitMessage(control, sayShown)
	case "wake":
		_ = control.send(message{Kind: sayWake, Volume: configVolume, ID: 7, Wakeup: &kpfs.Wakeup{From: "a", To: "b"}})
		m := awaitMessage(control, sayWoken)
		_ = control.send(message{Kind: sayReady, Ready: "woken " + strconv.FormatUint(m.ID, 10) + " " + m.Error})
	case "work":
		ctx, end := w.link.open(context.Background())
		defer end()
		for {
			select {
			case <-w.link.leaving:
				_ = control.send(message{Kind: sayAhead})
			case <-ctx.Done():
				return exitDone, true
			}
		}
	default:
		_ = control.send(message{Kind: messageKind(name), Ready: "pid " + strconv.Itoa(os.Getpid())})
	}
	return 0, false
}

// awaitMessage returns the next message of a kind. Meanwhile it answers as any
// worker does.
func awaitMessage(control *control, kind messageKind) message {
	for {
		m, err := control.receive()
		if err != nil || m.Kind == kind {
			return m
		}
		if m.Kind == sayPing {
			_ = control.send(message{Kind: sayPong})
		}
	}
}
