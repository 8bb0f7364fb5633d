package main

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/term"
)

// progress tells the person what is being done: on a terminal in one line that
// goes at the end, else in a line for each step.
type progress struct {
	out      io.Writer
	terminal bool
	text     string
}

func newProgress(out io.Writer) *progress {
	file, ok := out.(*os.File)
	return &progress{out: out, terminal: ok && term.IsTerminal(int(file.Fd()))}
}

// clearLine goes to the line's start and empties it.
const clearLine = "\r\033[K"

func (p *progress) step(format string, args ...any) {
	p.text = fmt.Sprintf(format, args...)
	if p.terminal {
		fmt.Fprint(p.out, clearLine+p.text+" …")
	} else {
		fmt.Fprintln(p.out, "bench: "+p.text)
	}
}

// count tells how far the step is.
func (p *progress) count(done, all int) {
	if p.terminal {
		fmt.Fprintf(p.out, "%s%s … %d of %d", clearLine, p.text, done, all)
	}
}

func (p *progress) end() {
	if p.terminal {
		fmt.Fprint(p.out, clearLine)
	}
}
