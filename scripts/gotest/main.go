// Command gotest runs `go test` with the arguments that it is given and prints
// what a person wants of it: go test's line for every package, and the whole
// output of every test that failed. Unlike go test it fails when a test was
// skipped, because a test that can't run has shown nothing.
//
// Its last line counts tests and subtests: "412 passed, 0 failed, 0 skipped".
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// run returns the exit code: go test's if it failed, 1 if a test was skipped.
func run(args []string, stdout, stderr io.Writer) int {
	// An interrupt from the terminal reaches go test too; what it still says
	// is worth reading.
	interrupts := make(chan os.Signal, 1)
	signal.Notify(interrupts, os.Interrupt)
	defer signal.Stop(interrupts)

	cmd := exec.Command("go", append([]string{"test", "-json"}, args...)...) //nolint:noctx // ended by the interrupt above
	cmd.Stderr = stderr
	events, err := cmd.StdoutPipe()
	if err != nil {
		fmt.Fprintln(stderr, "gotest:", err)
		return 1
	}
	if err := cmd.Start(); err != nil {
		fmt.Fprintf(stderr, "gotest: starting go test: %v\n", err)
		return 1
	}
	r := newReport(stdout)
	readErr := r.read(events)
	if readErr != nil {
		// Without a reader go test would block for ever.
		_, copyErr := io.Copy(stdout, events)
		readErr = errors.Join(readErr, copyErr)
	}
	err = cmd.Wait()
	r.summarize()
	switch exit := (*exec.ExitError)(nil); {
	case errors.As(err, &exit):
		return max(exit.ExitCode(), 1)
	case err != nil || readErr != nil:
		fmt.Fprintf(stderr, "gotest: running go test: %v\n", errors.Join(err, readErr))
		return 1
	case r.skipped > 0:
		fmt.Fprintln(stderr, "gotest: tests were skipped, see above: a test that can't run here has to fail and say what it lacks")
		return 1
	}
	return 0
}
