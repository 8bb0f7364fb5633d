package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
)

// event is what `go test -json` says, one JSON object a line; see
// `go doc test2json`.
type event struct {
	Action  string
	Package string
	Test    string
	Output  string
}

// testID names a test or subtest.
type testID struct{ pkg, test string }

// report turns go test's events into text. It is for one goroutine.
type report struct {
	out                     io.Writer
	passed, failed, skipped int
	running                 map[testID]*bytes.Buffer // what each unfinished test has printed
	order                   []testID                 // the unfinished tests, in the order they began
}

func newReport(out io.Writer) *report {
	return &report{out: out, running: make(map[testID]*bytes.Buffer)}
}

// read consumes events to their end, printing as it goes. A line that is no
// event, such as one of the go command itself, is printed as it is.
func (r *report) read(events io.Reader) error {
	lines := bufio.NewReader(events)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) == nil && e.Action != "" {
				r.add(e)
			} else {
				fmt.Fprintf(r.out, "%s", line)
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading go test's output: %w", err)
		}
	}
}

func (r *report) add(e event) {
	id := testID{e.Package, e.Test}
	switch {
	case e.Action == "build-output":
		fmt.Fprint(r.out, e.Output)
	case e.Action == "output" && e.Test == "":
		if e.Output != "PASS\n" {
			fmt.Fprint(r.out, e.Output)
		}
	case e.Action == "output":
		r.buffer(id).WriteString(e.Output)
	case e.Test == "" && (e.Action == "fail" || e.Action == "pass"):
		r.abandon(e.Package)
	case e.Test == "":
	case e.Action == "pass":
		r.passed++
		r.forget(id)
	case e.Action == "fail":
		r.failed++
		r.show(id)
	case e.Action == "skip":
		r.skipped++
		r.show(id)
	}
}

// summarize prints the count of all tests.
func (r *report) summarize() {
	fmt.Fprintf(r.out, "%d passed, %d failed, %d skipped\n", r.passed, r.failed, r.skipped)
}

func (r *report) buffer(id testID) *bytes.Buffer {
	b, ok := r.running[id]
	if !ok {
		b = new(bytes.Buffer)
		r.running[id] = b
		r.order = append(r.order, id)
	}
	return b
}

func (r *report) forget(id testID) {
	delete(r.running, id)
	r.order = slices.DeleteFunc(r.order, func(other testID) bool { return other == id })
}

// show prints all that a test has said, but for go test's marks of its
// progress.
func (r *report) show(id testID) {
	for line := range strings.Lines(r.buffer(id).String()) {
		if !strings.HasPrefix(line, "=== ") {
			fmt.Fprint(r.out, line)
		}
	}
	r.forget(id)
}

// abandon shows the tests of a package that never ended: it crashed, or ran
// into its timeout. They count as failed.
func (r *report) abandon(pkg string) {
	for _, id := range slices.Clone(r.order) {
		if id.pkg == pkg {
			fmt.Fprintf(r.out, "--- UNFINISHED: %s\n", id.test)
			r.failed++
			r.show(id)
		}
	}
}
