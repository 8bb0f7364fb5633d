package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/rogpeppe/go-internal/diff"

	"github.com/kingpinfs/kingpin/managed"
)

// unifiedDiff returns what changed, "" if nothing did. JSON that a program wrote
// is made readable first, unless it shall be raw.
func unifiedDiff(oldTitle, newTitle string, before, after []byte, raw bool) string {
	if bytes.Equal(before, after) {
		return ""
	}
	if isBinary(before) || isBinary(after) {
		return fmt.Sprintf("--- %s\n+++ %s\nThe contents of %d and %d bytes are no texts, and differ.\n", oldTitle, newTitle, len(before), len(after))
	}
	if !raw {
		prettyBefore, prettyAfter := managed.Prettify(before).Text, managed.Prettify(after).Text
		if !bytes.Equal(prettyBefore, prettyAfter) {
			before, after = prettyBefore, prettyAfter
		}
	}
	text := string(diff.Diff(oldTitle, before, newTitle, after))
	_, text, _ = strings.Cut(text, "\n") // "diff old new"
	return text
}

func isBinary(content []byte) bool {
	return !utf8.Valid(content) || bytes.IndexByte(content, 0) >= 0
}

// The colours of a diff.
const (
	colourRemoved = "\x1b[31m"
	colourAdded   = "\x1b[32m"
	colourPlace   = "\x1b[36m"
	colourTitle   = "\x1b[1m"
	colourEnd     = "\x1b[0m"
)

// printDiff prints a diff: on a terminal in colours, and so that its text can do
// nothing to the terminal.
func printDiff(out io.Writer, text string) error {
	if isTerminal(out) {
		text = terminalDiff(text, os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb")
	}
	_, err := io.WriteString(out, text)
	return err
}

func terminalDiff(text string, coloured bool) string {
	var shown strings.Builder
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		colour := ""
		switch {
		case strings.HasPrefix(line, "---"), strings.HasPrefix(line, "+++"):
			colour = colourTitle
		case strings.HasPrefix(line, "@@"):
			colour = colourPlace
		case strings.HasPrefix(line, "-"):
			colour = colourRemoved
		case strings.HasPrefix(line, "+"):
			colour = colourAdded
		}
		line = harmless(line)
		if coloured && colour != "" {
			line = colour + line + colourEnd
		}
		shown.WriteString(line + "\n")
	}
	return shown.String()
}

// harmless replaces what can't be seen, and what does something to a terminal.
func harmless(line string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t', unicode.IsPrint(r):
			return r
		case r < ' ':
			return '\u2400' + r // the symbol of the character
		}
		return unicode.ReplacementChar
	}, line)
}
