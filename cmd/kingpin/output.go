package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/pflag"
)

// outputFormat is the value of --output.
type outputFormat string

const (
	outputTable outputFormat = "table"
	outputJSON  outputFormat = "json"
)

// addFlag declares --output.
func (f *outputFormat) addFlag(flags *pflag.FlagSet) {
	*f = outputTable
	flags.Var(f, "output", "table, for people, or json, for programs")
}

// String implements pflag.Value.
func (f *outputFormat) String() string { return string(*f) }

// Type implements pflag.Value.
func (f *outputFormat) Type() string { return "FORMAT" }

// Set implements pflag.Value.
func (f *outputFormat) Set(text string) error {
	switch value := outputFormat(text); value {
	case outputTable, outputJSON:
		*f = value
		return nil
	}
	return fmt.Errorf("it is neither %s nor %s", outputTable, outputJSON)
}

// printJSON prints a value as indented JSON. Names and types of its fields are
// what programs rely on: add to them, never change them.
func printJSON(out io.Writer, value any) error {
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(value); err != nil {
		return fmt.Errorf("printing JSON: %w", err)
	}
	return nil
}

// printedContent is a content in JSON: one of the two is there.
type printedContent struct {
	Content       *string `json:"content,omitempty"`
	ContentBase64 []byte  `json:"content_base64,omitempty"` // of what isn't UTF-8
}

func printContent(content []byte) printedContent {
	if !utf8.Valid(content) {
		return printedContent{ContentBase64: content}
	}
	text := string(content)
	return printedContent{Content: &text}
}

// printTable prints aligned columns under their titles. It prints no titles if
// there are no rows.
func printTable(out io.Writer, titles []string, rows [][]string) error {
	if len(rows) == 0 {
		return nil
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, row := range append([][]string{titles}, rows...) {
		cells := make([]string, len(row))
		for i, cell := range row {
			cells[i] = cellText(cell)
		}
		fmt.Fprintln(table, strings.TrimRight(strings.Join(cells, "\t"), "\t"))
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("printing a table: %w", err)
	}
	return nil
}

// cellText keeps a cell to one line and shows an empty one as such.
func cellText(cell string) string {
	if cell == "" {
		return "-"
	}
	return strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f {
			return ' '
		}
		return c
	}, cell)
}

// printNames prints one name a line, and no title: scripts read it.
func (a *app) printNames(names []string, output outputFormat) error {
	if output == outputJSON {
		return printJSON(a.stdout, append([]string{}, names...))
	}
	for _, name := range names {
		if _, err := fmt.Fprintln(a.stdout, name); err != nil {
			return err
		}
	}
	return nil
}

// lineText is a text as it is, or its JSON if it wouldn't stay on its line, or
// would do something to a terminal.
func lineText(text string) string {
	if !strings.ContainsFunc(text, unicode.IsControl) {
		return text
	}
	var literal strings.Builder
	encoder := json.NewEncoder(&literal)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(text); err != nil {
		return cellText(text)
	}
	return strings.TrimSuffix(literal.String(), "\n")
}
