package integration

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// writerHelper is the helper that does single steps of writing a file, as it is
// told on standard input, and answers each with "ok" or the error's name:
//
//	open FLAGS PATH
//	write LENGTH FILL   FILL, repeated
//	lines LENGTH LINE   LINE, with a line's end, repeated
//	truncate LENGTH
//	close
//	spawn               another program, which inherits nothing
const writerHelper = "step-writer"

func init() { helpers[writerHelper] = writeBySteps }

func writeBySteps([]string) int {
	fd := -1
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		var err error
		verb, rest, _ := strings.Cut(lines.Text(), " ")
		number, text, _ := strings.Cut(rest, " ")
		n, _ := strconv.Atoi(number) // 0 where there is none
		switch verb {
		case "open":
			fd, err = openTo(text, n)
		case "write":
			err = writeFD(fd, strings.Repeat(text, n/max(len(text), 1)))
		case "lines":
			err = writeFD(fd, strings.Repeat(text+"\n", n/(len(text)+1)))
		case "truncate":
			err = unix.Ftruncate(fd, int64(n))
		case "close":
			err = closeFD(fd)
		case "spawn":
			err = exec.Command("true").Run()
		default:
			return 2
		}
		fmt.Println(errnoName(err)) //nolint:forbidigo // a helper's output
	}
	return 0
}

// errnoName is "ok" for no error.
func errnoName(err error) string {
	var errno unix.Errno
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &errno):
		return unix.ErrnoName(errno)
	default:
		return err.Error()
	}
}

// stepWriter is a process that writes a file step by step.
type stepWriter struct {
	*process

	in    *os.File
	steps int
}

// startWriter starts a process that has a file of a path open for writing.
func startWriter(t testing.TB, flags int, path string) *stepWriter {
	t.Helper()
	w := newStepWriter(t)
	w.must(fmt.Sprintf("open %d %s", flags, path))
	return w
}

// newStepWriter starts a process that has nothing open.
func newStepWriter(t testing.TB) *stepWriter {
	t.Helper()
	cmd := helperCommand(t, writerHelper)
	read, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdin = read
	w := &stepWriter{process: startProcess(t, cmd), in: in}
	t.Cleanup(func() {
		_ = in.Close()
		_ = read.Close()
	})
	return w
}

// ask gives the writer something to do, without waiting for it.
func (w *stepWriter) ask(format string, args ...any) {
	w.t.Helper()
	if _, err := fmt.Fprintf(w.in, format+"\n", args...); err != nil {
		w.t.Fatal(err)
	}
	w.steps++
}

// do gives the writer something to do and returns what came of it: "ok", or the
// error's name.
func (w *stepWriter) do(format string, args ...any) string {
	w.t.Helper()
	w.ask(format, args...)
	return w.answer()
}

// answer waits for what came of the last step.
func (w *stepWriter) answer() string {
	w.t.Helper()
	w.awaitOutput(w.stdout, 0, ".") // it hasn't ended
	var answers []string
	await(w.t, "the writer's answer", func() error {
		if answers = strings.Split(w.stdout.String(), "\n"); len(answers) <= w.steps {
			return errNotYet
		}
		return nil
	})
	return answers[w.steps-1]
}

// must does steps that must succeed.
func (w *stepWriter) must(steps ...string) {
	w.t.Helper()
	for _, step := range steps {
		if answer := w.do("%s", step); answer != "ok" {
			w.t.Fatalf("%q: %s", step, answer)
		}
	}
}
