package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	iofs "io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// literals calls f for every string literal of the project's Go files, but
// those of its tests.
func literals(t *testing.T, f func(path, text string)) {
	t.Helper()
	root := os.DirFS("../..")
	err := iofs.WalkDir(root, ".", func(path string, entry iofs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && strings.HasPrefix(entry.Name(), ".") && path != "." {
			return iofs.SkipDir
		}
		if filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		source, err := iofs.ReadFile(root, path)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, source, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if literal, ok := n.(*ast.BasicLit); ok && literal.Kind == token.STRING {
				text, err := strconv.Unquote(literal.Value)
				if err != nil {
					t.Errorf("%s: %s: %v", path, literal.Value, err)
				}
				f(path, text)
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// advice is what a message tells a user to run: the words up to the first that
// can't be a command's name.
var advice = regexp.MustCompile("(?:`|: )kingpin((?: [a-z][-a-z]+)+)")

// A message that names a command that isn't there helps nobody.
func TestMessagesNameCommandsThatExist(t *testing.T) {
	found := 0
	literals(t, func(path, text string) {
		for _, match := range advice.FindAllStringSubmatch(text, -1) {
			found++
			checkAdvice(t, path, strings.Fields(match[1]))
		}
	})
	if found == 0 {
		t.Error("no message names a command: this test doesn't find them any more")
	}
}

// checkAdvice checks that the words begin with a command that does something.
func checkAdvice(t *testing.T, path string, words []string) {
	t.Helper()
	root := new(app).newRootCommand()
	cmd, _, err := root.Find(words)
	if err != nil || cmd == root || cmd.HasSubCommands() {
		t.Errorf("%s: a message names the command %q, which isn't there", path, "kingpin "+strings.Join(words, " "))
	}
}

var (
	codeSpan = regexp.MustCompile("`([^`]+)`")
	// variable is what stands for the variable parts of a message.
	variable = regexp.MustCompile(`[…":]+|\bN\b`)
)

// The messages that the operations page explains must be those that there are.
func TestOperationsPageQuotesMessages(t *testing.T) {
	page, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, ok := strings.Cut(string(page), "\n| message | meaning | mending |\n|---|---|---|\n")
	if !ok {
		t.Fatal("the page has no table of messages any more")
	}
	table, _, _ = strings.Cut(table, "\n\n")
	var all strings.Builder
	literals(t, func(_, text string) { all.WriteString(text + "\n") })
	for row := range strings.Lines(table) {
		message := strings.Split(row, " | ")[0]
		spans := codeSpan.FindAllStringSubmatch(message, -1)
		if len(spans) == 0 {
			t.Errorf("the row %q quotes no message", row)
		}
		for _, span := range spans {
			for _, part := range variable.Split(span[1], -1) {
				if part = strings.TrimSpace(part); !strings.Contains(all.String(), part) {
					t.Errorf("the page explains %q, but nothing says %q", span[1], part)
				}
			}
		}
	}
}
