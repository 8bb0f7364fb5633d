// Package report is how scripts/bench and scripts/soak talk to the person who
// runs them: what is being done on stderr, aligned tables on stdout.
package report

import (
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"
)

// Progress tells what is being done: on a terminal in one line that goes at the
// end, else in a line for each step. It is for one goroutine.
type Progress struct {
	out      io.Writer
	program  string
	terminal bool
	text     string
}

// NewProgress returns a Progress of a program that writes to out.
func NewProgress(program string, out io.Writer) *Progress {
	file, ok := out.(*os.File)
	return &Progress{out: out, program: program, terminal: ok && term.IsTerminal(int(file.Fd()))}
}

// clearLine goes to the line's start and empties it.
const clearLine = "\r\033[K"

// Step says what is being done now.
func (p *Progress) Step(format string, args ...any) {
	p.text = fmt.Sprintf(format, args...)
	if p.terminal {
		fmt.Fprint(p.out, clearLine+p.text+" …")
	} else {
		fmt.Fprintln(p.out, p.program+": "+p.text)
	}
}

// Count says, on a terminal, how far the step is.
func (p *Progress) Count(done, all int) {
	if p.terminal {
		fmt.Fprintf(p.out, "%s%s … %d of %d", clearLine, p.text, done, all)
	}
}

// End takes the line away.
func (p *Progress) End() {
	if p.terminal {
		fmt.Fprint(p.out, clearLine)
	}
}

// Align writes lines of cells, each as many, as columns. Those whose index is in
// numeric are set to the right.
func Align(out io.Writer, lines [][]string, numeric map[int]bool) error {
	widths := make([]int, len(lines[0]))
	for _, line := range lines {
		for i, cell := range line {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	var text strings.Builder
	for _, line := range lines {
		cells := make([]string, len(line))
		for i, cell := range line {
			padding := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if numeric[i] {
				cells[i] = padding + cell
			} else {
				cells[i] = cell + padding
			}
		}
		text.WriteString(strings.TrimRight(strings.Join(cells, "  "), " ") + "\n")
	}
	_, err := io.WriteString(out, text.String())
	return err
}

// ThreeDigits writes a number with three digits that count.
func ThreeDigits(x float64) string {
	switch {
	case x >= 100:
		return fmt.Sprintf("%.0f", x)
	case x >= 10:
		return fmt.Sprintf("%.1f", x)
	default:
		return fmt.Sprintf("%.2f", x)
	}
}
