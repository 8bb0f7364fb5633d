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

// advice is what a message tells a user to run: the words up to the first that
// can't be a command's name.
var advice = regexp.MustCompile("(?:`|: )kingpin((?: [a-z][-a-z]+)+)")

// A message that names a command that isn't there helps nobody.
func TestMessagesNameCommandsThatExist(t *testing.T) {
	root := os.DirFS("../..")
	found := 0
	err := iofs.WalkDir(root, ".", func(path string, entry iofs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && strings.HasPrefix(entry.Name(), ".") && path != "." {
			return iofs.SkipDir
		}
		if filepath.Ext(path) != ".go" {
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
			literal, ok := n.(*ast.BasicLit)
			if !ok || literal.Kind != token.STRING {
				return true
			}
			text, err := strconv.Unquote(literal.Value)
			if err != nil {
				t.Errorf("%s: %s: %v", path, literal.Value, err)
				return true
			}
			for _, match := range advice.FindAllStringSubmatch(text, -1) {
				found++
				checkAdvice(t, path, strings.Fields(match[1]))
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
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
