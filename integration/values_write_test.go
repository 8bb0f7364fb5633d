package integration

import (
	"encoding/json"
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/kingpinfs/kingpin/internal/devcluster/devtest"
	"github.com/kingpinfs/kingpin/managed"
)

// pythonWriter is testdata/python_writer.py at work, with python3-kazoo and
// Python's json module.
type pythonWriter struct{ *pythonScript }

// startPythonWriter starts a Python writer of a list, which lasts as long as the
// test. S3 must take requests without credentials.
func (f *fleet) startPythonWriter(zkPath string) *pythonWriter {
	f.t.Helper()
	if output, err := exec.Command(systemPython, "-c", "import kazoo").CombinedOutput(); err != nil {
		f.t.Fatalf("run `make deps`, which installs python3-kazoo: %v\n%s", err, output)
	}
	return &pythonWriter{startPythonScript(f.t, "testdata/python_writer.py", f.zkAddr, f.server.endpoint+"/"+f.server.bucket, zkPath)}
}

// add appends a value to the list, which must succeed.
func (w *pythonWriter) add(value any) {
	w.t.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		w.t.Fatal(err)
	}
	if answer := w.do("add %s", text); !strings.HasPrefix(answer, "ok ") {
		w.t.Fatalf("Python adds %s: %q", text, answer)
	}
}

// A writer in Python compares the text that it would have written with the one
// that is current, so ours must write the same to the byte.
func TestPythonWriterAndOursAlternate(t *testing.T) {
	t.Parallel()
	f := newFleet(t, gofakes3)
	f.newConfig("spam", "grey_list")
	python := f.startPythonWriter("/config/manageddata/spam/grey_list")
	var want []string
	for i, text := range []string{
		"plain", "ä", "€ and 😀", `quotes " and \`, "a\x7fb\u0080", "line\nend\ttab", "</script>&", "\u2028\u2029", "", "ÿ\ufeff\uffff", "/", "1.0",
	} {
		theirs, ours := fmt.Sprintf("%d %s", i, text), text+" by Go"
		python.add(theirs)
		f.run("list", "add", "spam.grey_list", ours)
		want = append(want, theirs, ours)
	}
	// What only Python's json can have written stays as it is, too.
	python.add(json.RawMessage(`1e16`))
	python.add(json.RawMessage(`123456789012345678901234567890`))
	python.add(json.RawMessage(`{"z": 0.1, "a": [null, 1e-7, -0.0]}`))
	f.run("list", "add", "spam.grey_list", "last")
	python.add("really last")
	want = append(want, "1e+16", "123456789012345678901234567890", `{"z": 0.1, "a": [null, 1e-07, -0.0]}`, "last", "really last")

	var got []json.RawMessage
	if err := json.Unmarshal([]byte(python.do("read")), &got); err != nil {
		t.Fatal(err)
	}
	var texts []string
	for _, raw := range got {
		text := string(raw)
		if raw[0] == '"' {
			if err := json.Unmarshal(raw, &text); err != nil {
				t.Fatal(err)
			}
		}
		texts = append(texts, text)
	}
	if !slices.Equal(texts, want) {
		t.Errorf("Python reads %q\nwant %q", texts, want)
	}

	// A change in between is a conflict, and not lost.
	python.do("read")
	f.run("list", "add", "spam.grey_list", "in between")
	if answer := python.do(`add "lost"`); answer != "conflict" {
		t.Errorf("Python adds to an old list: %q", answer)
	}
	python.add("not lost")
	if lines := strings.Split(f.run("list", "show", "spam.grey_list"), "\n"); !slices.Equal(lines[len(lines)-2:], []string{"in between", "not lost"}) {
		t.Errorf("the list ends with %q", lines[len(lines)-2:])
	}
}

// A lock that kazoo holds makes our writer wait.
func TestKazoosLockExcludesOurWriter(t *testing.T) {
	t.Parallel()
	f := newFleet(t, gofakes3)
	f.newConfig("spam", "grey_list")
	const zkPath = "/config/manageddata/spam/grey_list"
	python := f.startPythonWriter(zkPath)
	python.add("first")
	if answer := python.do("lock"); answer != "ok" {
		t.Fatalf("Python's lock: %q", answer)
	}
	ours := f.start("", "list", "add", "spam.grey_list", "second")
	await(t, "our writer to line up", func() error {
		if n := len(f.zk.children(zkPath + ".lock")); n != 2 {
			return fmt.Errorf("%d contenders: %w", n, errNotYet)
		}
		return nil
	})
	if got := f.run("list", "show", "spam.grey_list"); got != "first" || !ours.running() {
		t.Errorf("while Python has the lock the list is %q, and our writer runs: %v", got, ours.running())
	}
	if answer := python.do("unlock"); answer != "ok" {
		t.Fatalf("Python's unlock: %q", answer)
	}
	if code := ours.wait(); code != 0 {
		t.Errorf("our writer ended with %d", code)
	}
	if got := f.run("list", "show", "spam.grey_list"); got != "first\nsecond" {
		t.Errorf("the list is %q", got)
	}
}

// Ours makes Python's writers fail, which don't wait.
func TestOurLockExcludesKazoo(t *testing.T) {
	t.Parallel()
	server, described := ownS3(t)
	f := newFleetOn(t, devtest.SharedZooKeeper(t), described)
	f.newConfig("spam", "grey_list")
	const zkPath = "/config/manageddata/spam/grey_list"
	python := f.startPythonWriter(zkPath)
	python.add("first")
	release := holdWrites(server)
	defer release()
	ours := f.start("", "list", "add", "spam.grey_list", "second")
	await(t, "our writer to take the lock", func() error {
		if n := len(f.zk.children(zkPath + ".lock")); n != 1 {
			return fmt.Errorf("%d contenders: %w", n, errNotYet)
		}
		return nil
	})
	if answer := python.do(`add "third"`); answer != "locked" {
		t.Errorf("Python adds while we hold the lock: %q", answer)
	}
	if answer := python.do("lock"); answer != "locked" {
		t.Errorf("Python's lock while we hold it: %q", answer)
	}
	release()
	if code := ours.wait(); code != 0 {
		t.Errorf("our writer ended with %d", code)
	}
	python.add("third")
	if got := f.run("list", "show", "spam.grey_list"); got != "first\nsecond\nthird" {
		t.Errorf("the list is %q", got)
	}
}

// What a command sets is what files say and what programs decide by, as soon as
// --wait says so.
func TestDeciderCommandsReachFilesAndPrograms(t *testing.T) {
	t.Parallel()
	eachFace(t, func(t *testing.T, mode string) {
		f := newFleet(t, gofakes3)
		f.run("dependency", "create", "web.dep")
		f.newConfig("admin", "decider", "web.dep")
		m := f.startMonitor(monitorConfig{Mode: mode, Dependencies: []string{"web.dep"}})
		deciders := managed.NewDecider(managed.Options{Dir: m.config("")})
		if err := deciders.Open(t.Context()); err != nil {
			t.Fatal(err)
		}
		defer deciders.Close()
		for _, value := range []int{50, 0, 100} {
			f.run("decider", "set", "new_feed", strconv.Itoa(value), "--wait", "--admin-addr", m.adminAddr)
			if err := has(m.config("decider/new_feed"), strconv.Itoa(value)+"\n"); err != nil {
				t.Error(err)
			}
			for view := range deciders.Watch(t.Context()) {
				if got, ok := view.Value("new_feed"); ok && got == value {
					break
				}
			}
			if got := deciders.IsHashedIDInExperiment("12345", "new_feed"); value != 50 && got != (value == 100) {
				t.Errorf("at %d the decision is %v", value, got)
			}
		}
		f.run("decider", "unset", "new_feed", "--wait", "--admin-addr", m.adminAddr)
		if _, err := os.Lstat(m.config("decider/new_feed")); !errors.Is(err, iofs.ErrNotExist) {
			t.Errorf("a decider that was taken away is still a file: %v", err)
		}
	})
}

// A pointer that holds no version is mended by publishing one.
func TestRollbackMendsAPointer(t *testing.T) {
	t.Parallel()
	f := newFleet(t, gofakes3)
	f.newConfig("spam", "grey_list")
	f.run("list", "add", "spam.grey_list", "a")
	version := f.run("list", "add", "spam.grey_list", "b")
	f.zk.set("/config/manageddata/spam/grey_list", []byte("garbage"))
	wantRefusal(t, f.try("", "list", "add", "spam.grey_list", "c"), 3, "garbage")
	f.run("config", "rollback", "config.manageddata.spam.grey_list", version)
	if got := f.run("list", "show", "spam.grey_list"); got != "a\nb" {
		t.Errorf("the list is %q", got)
	}
}
