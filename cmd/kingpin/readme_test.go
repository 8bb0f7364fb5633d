package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/kingpinfs/kingpin/internal/devcluster"
)

// block is a fenced block of a Markdown page.
type block struct {
	language string
	lines    []string
}

func readBlocks(t *testing.T, path string) []block {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var blocks []block
	inside := false
	for line := range strings.Lines(string(content)) {
		line = strings.TrimSuffix(line, "\n")
		language, fence := strings.CutPrefix(line, "```")
		switch {
		case fence && !inside:
			inside = true
			blocks = append(blocks, block{language: language})
		case fence:
			inside = false
		case inside:
			last := &blocks[len(blocks)-1]
			last.lines = append(last.lines, line)
		}
	}
	return blocks
}

// step is a command of the README's console, and what it shows of its output.
type step struct {
	command string
	output  []string
}

func steps(blocks []block) []step {
	var all []step
	for _, b := range blocks {
		if b.language != "console" {
			continue
		}
		for _, line := range b.lines {
			if command, ok := strings.CutPrefix(line, "$ "); ok {
				all = append(all, step{command: command})
			} else {
				last := &all[len(all)-1]
				last.output = append(last.output, line)
			}
		}
	}
	return all
}

// TestReadme does what the README shows and compares what it sees.
func TestReadme(t *testing.T) {
	blocks := readBlocks(t, "../../README.md")
	dir := filepath.Join(t.TempDir(), "kingpin")
	const shownDir, shownPort = "/tmp/kingpin", "8099"
	var dev []string
	for _, b := range blocks {
		if b.language != "sh" {
			continue
		}
		for _, line := range b.lines {
			if args, ok := strings.CutPrefix(line, "bin/kingpin "); ok {
				dev = strings.Fields(strings.ReplaceAll(args, shownDir, dir))
			} else {
				checkShellLine(t, line)
			}
		}
	}
	if dev == nil {
		t.Fatal("the README doesn't start a fleet any more")
	}
	startDev(t, dir, dev)

	shown := steps(blocks)
	if len(shown) == 0 {
		t.Fatal("the README shows no commands any more")
	}
	var script strings.Builder
	const mark = "=== end of a step"
	port, err := devcluster.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	fitted := strings.NewReplacer(shownDir, dir, shownPort, strconv.Itoa(port))
	for _, s := range shown {
		fmt.Fprintf(&script, "%s\nprintf '%s\\n'\n", fitted.Replace(s.command), mark)
	}
	path := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(path, []byte(script.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	shell := exec.CommandContext(t.Context(), "bash", "-O", "expand_aliases", path)
	shell.Dir = t.TempDir()
	output, err := shell.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	got := strings.Split(string(output), mark+"\n")
	if len(got) != len(shown)+1 {
		t.Fatalf("the script ended early:\n%s", output)
	}
	for i, s := range shown {
		want := fitted.Replace(strings.Join(s.output, "\n"))
		if got := strings.TrimSuffix(got[i], "\n"); normalize(got) != normalize(want) {
			t.Errorf("$ %s\nprints\n%s\nthe README shows\n%s", s.command, got, want)
		}
	}
}

var versions = regexp.MustCompile(`\d{10}\.\d{6}`)

// normalize makes equal what differs from run to run.
func normalize(output string) string { return versions.ReplaceAllString(output, "VERSION") }

// checkShellLine checks a line that is run elsewhere: by .ci/run, or on a
// machine of a fleet.
func checkShellLine(t *testing.T, line string) {
	t.Helper()
	if strings.HasPrefix(line, "make ") {
		ci, err := os.ReadFile("../../.ci/run")
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(strings.Split(string(ci), "\n"), func(l string) bool { return strings.HasPrefix(l+" ", line+" ") }) {
			t.Errorf("the README says %q, which .ci/run doesn't run", line)
		}
		return
	}
	args := exampleArgs(t, line)
	cmd, rest, err := new(app).newRootCommand().Find(args)
	if err == nil {
		err = cmd.ParseFlags(rest)
	}
	if err != nil {
		t.Errorf("the README says %q: %v", line, err)
	}
}

// startDev runs `kingpin dev` until the test ends, and then checks that it
// leaves nothing behind.
func startDev(t *testing.T, dir string, args []string) {
	t.Helper()
	dev := exec.CommandContext(t.Context(), "kingpin", args...)
	dev.Cancel = func() error { return dev.Process.Signal(syscall.SIGINT) }
	var stderr strings.Builder
	dev.Stderr = &stderr
	stdout, err := dev.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := dev.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stdout)
	up := false
	for !up && lines.Scan() {
		up = strings.Contains(lines.Text(), "is up")
	}
	t.Cleanup(func() {
		// The test's context has ended, and so sent the interrupt.
		_, _ = io.Copy(io.Discard, stdout) // so that it isn't blocked
		_ = dev.Wait()                     // says that the context ended
		if code := dev.ProcessState.ExitCode(); code != exitDone {
			t.Errorf("kingpin dev exited with %d:\n%s", code, &stderr)
		}
		if _, err := os.Lstat(dir); !os.IsNotExist(err) {
			t.Errorf("kingpin dev left %s behind", dir)
		}
	})
	if !up {
		t.Fatal("kingpin dev didn't come up")
	}
}
