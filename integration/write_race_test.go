package integration

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// racingSizes are those of contents that follow each other: what grows, shrinks,
// and is replaced by as much.
var racingSizes = []int{3 << 20, 3 << 20, 64 << 10, 5 << 20, 1 << 20, 3 << 20, 16}

func racingContent(n int) string { return numbered(n, racingSizes[n%len(racingSizes)]) }

// race is readers of a config that is written through the mount.
type race struct {
	*writeScene
	path    string
	readers *readerGroup
	n       int // the content that is there
}

func newRace(t *testing.T) *race {
	t.Helper()
	r := &race{writeScene: newWriteScene(t, newFleet(t, gofakes3), writeConfig), n: 1}
	r.path = r.m.config(textName)
	r.publish(textPath, racingContent(r.n))
	r.readers = startReadersOf(t, "numbered", r.path, "quick", "quick", "slow large", "slow large")
	return r
}

// written checks that the next content is there at once, and lets a reader see
// it.
func (r *race) written(what string) {
	r.t.Helper()
	r.n++
	if err := has(r.path, racingContent(r.n)); err != nil {
		r.t.Errorf("%s of content %d: %v", what, r.n, err)
	}
	r.readers.await(r.n)
}

// stop ends the readers, who must have had no trouble.
func (r *race) stop() {
	r.t.Helper()
	r.other.awaitConfig(textName, racingContent(r.n))
	for _, report := range r.readers.stop() {
		r.t.Logf("a %s reader: %d reads, %d versions", report.Kind, report.Reads, report.Versions)
		if len(report.Problems) > 0 || report.Versions < 2 {
			r.t.Errorf("a reader reports %+v", report)
		}
	}
}

// While a large config is written through the mount, in whatever way, nobody reads
// a torn one, a part of one, or an older one than somebody has read.
func TestReadersWhileOthersWrite(t *testing.T) {
	needTools(t)
	r := newRace(t)
	source := filepath.Join(r.work, "source")
	tools := slices.DeleteFunc(slices.Clone(wholeTools), func(tool tool) bool {
		return !slices.Contains([]string{"cat", "cp", "tee", "python w", "mv in the directory", "rsync"}, tool.name)
	})
	for range 2 {
		for i, tool := range tools {
			mustWrite(t, source, racingContent(r.n+1))
			p := []person{superuser, member}[i%2]
			env := []string{"F=" + r.path, "D=" + filepath.Dir(r.path), "W=" + r.work, "SRC=" + source}
			if ran := r.as(p, tool.script, env...); ran.code != 0 {
				t.Fatalf("%s of content %d exited with %d and said %q", tool.name, r.n+1, ran.code, ran.stderr)
			}
			r.written(tool.name)
		}
	}
	r.stop()
}

// The same while the worker is killed at each step of a write: whoever writes gets
// an error at worst, and can do it again.
func TestReadersWhileWritingWorkersAreKilled(t *testing.T) {
	r := newRace(t)
	const rounds = 2
	// When the worker is killed: before a step, or while the last one is under way.
	moments := []string{"open", "write", "write more", "close", "during the close"}
	failed := map[string]int{}
	for range rounds {
		for _, moment := range moments {
			if err := r.writeKilling(moment); err != "ok" {
				failed[moment+": "+err]++
				if err := rewrite(r.path, racingContent(r.n+1)); err != nil {
					t.Errorf("again, after a kill before %s: %v", moment, err)
				}
			}
			r.written("a write with a kill: " + moment)
		}
	}
	t.Logf("of %d of each kind of kill the writer was told: %v", rounds, failed)
	if s := r.m.mustBeAtWork(); s.Mode != "fuse" || s.Restarts != rounds*len(moments) {
		t.Errorf("after %d kills the status is %+v", rounds*len(moments), s)
	}
	r.stop()
}

// writeKilling writes the next content step by step, kills the worker at one of
// them, and returns the first error, or "ok".
func (r *race) writeKilling(moment string) string {
	r.t.Helper()
	content := racingContent(r.n + 1)
	line := content[:len(fmt.Sprintf(numberedLine, 0, 0))]
	half := len(content) / len(line) / 2 * len(line)
	line = strings.TrimSuffix(line, "\n")
	worker := r.m.workerPID()
	defer r.m.awaitOtherWorker(worker)
	w := newStepWriter(r.t)
	defer w.kill()
	first := "ok"
	for _, step := range []struct{ name, line string }{
		{"open", fmt.Sprintf("open %d %s", unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC, r.path)},
		{"write", fmt.Sprintf("lines %d %s", half, line)},
		{"write more", fmt.Sprintf("lines %d %s", len(content)-half, line)},
		{"close", "close"},
	} {
		if moment == step.name {
			kill(r.t, worker, syscall.SIGKILL)
		}
		w.ask("%s", step.line)
		if moment == "during the "+step.name {
			kill(r.t, worker, syscall.SIGKILL)
		}
		if answer := w.answer(); answer != "ok" && first == "ok" {
			first = answer
		}
	}
	return first
}
