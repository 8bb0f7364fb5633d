package integration

import (
	"bufio"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"testing"
)

// pythonScript is a script of testdata at work, which says "ready" and then
// answers each line with a line.
type pythonScript struct {
	t       testing.TB
	cmd     *exec.Cmd
	in      io.Writer
	answers *bufio.Scanner
	killed  bool
}

// startPythonScript starts a script with Debian's Python. It ends with the test.
func startPythonScript(t testing.TB, args ...string) *pythonScript {
	t.Helper()
	needProgram(t, systemPython)
	cmd := exec.Command(systemPython, args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := &pythonScript{t: t, cmd: cmd, in: in, answers: bufio.NewScanner(out)}
	t.Cleanup(func() {
		_ = in.Close() // it ends then
		if err := cmd.Wait(); err != nil && !s.killed || t.Failed() {
			t.Errorf("%q ended with %v\n%s", args, err, &stderr)
		}
	})
	if answer, err := s.answer(); answer != "ready" {
		t.Fatalf("%q says %q, %v", args, answer, err)
	}
	return s
}

func (s *pythonScript) answer() (string, error) {
	if !s.answers.Scan() {
		return "", fmt.Errorf("%q says nothing more: %w", s.cmd.Args, s.answers.Err())
	}
	return s.answers.Text(), nil
}

// ask gives a command and returns the answer.
func (s *pythonScript) ask(format string, args ...any) (string, error) {
	if _, err := fmt.Fprintf(s.in, format+"\n", args...); err != nil {
		return "", fmt.Errorf("asking %q: %w", s.cmd.Args, err)
	}
	return s.answer()
}

// do is ask, which must be answered.
func (s *pythonScript) do(format string, args ...any) string {
	s.t.Helper()
	answer, err := s.ask(format, args...)
	if err != nil {
		s.t.Fatal(err)
	}
	return answer
}

// kill ends the script where it stands.
func (s *pythonScript) kill() {
	s.t.Helper()
	s.killed = true
	if err := s.cmd.Process.Kill(); err != nil {
		s.t.Error(err)
	}
}
