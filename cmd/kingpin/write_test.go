package main

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/kingpinfs/kingpin/store"
)

func TestReadContentRefusesATerminal(t *testing.T) {
	// The master's end of a pseudoterminal is a terminal too.
	terminal, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer terminal.Close()
	a := &app{stdin: terminal}
	for _, file := range []string{"", "-"} {
		_, err := a.readContent(file)
		if exitCode(err) != exitUsage || !strings.Contains(err.Error(), "name a FILE") {
			t.Errorf("readContent(%q): %v", file, err)
		}
	}
}

// The store says that a content is too large; reading mustn't hide it by
// cutting it off.
func TestReadContentKeepsTooMuch(t *testing.T) {
	a := &app{stdin: bytes.NewReader(make([]byte, 2*store.DefaultMaxContent))}
	content, err := a.readContent("-")
	if err != nil || len(content) <= store.DefaultMaxContent {
		t.Errorf("got %d bytes, error %v", len(content), err)
	}
}
