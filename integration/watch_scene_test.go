package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"
)

// watcherKinds are the programs that people watch files with. Each prints
// "ready" to stderr when it watches the path that is its last argument, and then
// to stdout a line for each event: what happened, and to which path.
var watcherKinds = map[string]func(t testing.TB) *exec.Cmd{
	"inotifywait": func(t testing.TB) *exec.Cmd {
		needProgram(t, "inotifywait")
		return exec.Command("inotifywait", "--monitor", "--format", "%e %w%f",
			"-e", "create,moved_to,moved_from,delete,modify,close_write,attrib,delete_self,move_self")
	},
	"fsnotify": func(t testing.TB) *exec.Cmd { return helperCommand(t, fsnotifyHelper) },
	"watchdog": func(t testing.TB) *exec.Cmd {
		needProgram(t, systemPython)
		if output, err := exec.Command(systemPython, "-c", "import watchdog").CombinedOutput(); err != nil {
			t.Fatalf("run `make deps`, which installs python3-watchdog: %v\n%s", err, output)
		}
		return exec.Command(systemPython, "-c", watchdogProgram)
	},
	"python": func(t testing.TB) *exec.Cmd {
		needProgram(t, systemPython)
		return exec.Command(systemPython, "-c", inotifyProgram)
	},
}

// systemPython is Debian's, for which its python3-watchdog is.
const systemPython = "/usr/bin/python3"

func needProgram(t testing.TB, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Fatalf("%v: run `make deps`, which installs it", err)
	}
}

// watchdogProgram watches by the package watchdog, which knows inotify's events
// by other names. It leaves out those of reading.
const watchdogProgram = `
import sys, watchdog.events, watchdog.observers
class Printer(watchdog.events.FileSystemEventHandler):
    def on_any_event(self, event):
        if event.event_type in ("created", "deleted", "modified", "moved", "closed"):
            print(event.event_type, getattr(event, "dest_path", "") or event.src_path, flush=True)
observer = watchdog.observers.Observer()
observer.schedule(Printer(), sys.argv[1], recursive=False)
observer.start()
print("ready", file=sys.stderr, flush=True)
observer.join()
`

// inotifyProgram watches by the system calls themselves.
const inotifyProgram = `
import ctypes, os, struct, sys
names = {0x2: "MODIFY", 0x4: "ATTRIB", 0x8: "CLOSE_WRITE", 0x40: "MOVED_FROM", 0x80: "MOVED_TO", 0x100: "CREATE",
         0x200: "DELETE", 0x400: "DELETE_SELF", 0x800: "MOVE_SELF", 0x2000: "UNMOUNT", 0x4000: "Q_OVERFLOW", 0x8000: "IGNORED"}
libc, path = ctypes.CDLL(None, use_errno=True), sys.argv[1]
fd = libc.inotify_init1(0)
if libc.inotify_add_watch(fd, path.encode(), 0xfce) < 0:
    raise OSError(ctypes.get_errno(), path)
print("ready", file=sys.stderr, flush=True)
while True:
    data = os.read(fd, 65536)
    while data:
        wd, mask, cookie, size = struct.unpack_from("iIII", data)
        name, data = data[16:16+size].rstrip(b"\0").decode(), data[16+size:]
        print(names.get(mask & 0xffff, hex(mask)), os.path.join(path, name) if name else path, flush=True)
`

// fsnotifyHelper is the helper that watches by the package fsnotify.
const fsnotifyHelper = "fsnotify"

func init() { helpers[fsnotifyHelper] = watchByFsnotify }

func watchByFsnotify(args []string) int {
	watcher, err := fsnotify.NewWatcher()
	if err == nil {
		err = watcher.Add(args[0])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Fprintln(os.Stderr, "ready")
	for e := range watcher.Events {
		if _, err := fmt.Printf("%s %s\n", e.Op, e.Name); err != nil { //nolint:forbidigo // a helper's output
			return 1
		}
	}
	return 0
}

// watcher is a process that watches a path.
type watcher struct {
	*process
	kind, path string
}

// startWatcher returns when a watcher of some kind watches a path. It ends with
// the test.
func startWatcher(t testing.TB, kind, path string) *watcher {
	t.Helper()
	cmd := watcherKinds[kind](t)
	cmd.Args = append(cmd.Args, path)
	w := &watcher{startProcess(t, cmd), kind, path}
	w.awaitLine(0, `(?i)^(ready|watches established)`)
	return w
}

// events returns what was seen so far, in order, of each path: "" is the watched
// one itself, else it is relative to that.
func (w *watcher) events() map[string][]string {
	seen := map[string][]string{}
	text := w.stdout.String()
	for line := range strings.Lines(text[:strings.LastIndex(text, "\n")+1]) {
		what, path, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		name := strings.Trim(strings.TrimPrefix(path, w.path), "/")
		seen[name] = append(seen[name], what)
	}
	return seen
}

// replacements are the events, but for those of who wrote and closed the file.
func (w *watcher) replacements() map[string][]string {
	seen := w.events()
	for name, events := range seen {
		if events = slices.DeleteFunc(events, func(event string) bool { return strings.HasPrefix(event, "CLOSE_WRITE") }); len(events) > 0 {
			seen[name] = events
		} else {
			delete(seen, name)
		}
	}
	return seen
}

// scene is directories with the same names in them, of which each is watched by
// all kinds of watchers, and so are some of their files.
type scene struct {
	t        *testing.T
	dir      string
	watchers map[string][]*watcher // by what they watch, relative to dir, and then by kind, sorted
}

// watchScene watches paths that are relative to dir.
func watchScene(t *testing.T, dir string, kinds []string, paths ...string) *scene {
	t.Helper()
	s := &scene{t: t, dir: dir, watchers: map[string][]*watcher{}}
	for _, path := range paths {
		for _, kind := range kinds {
			s.watchers[path] = append(s.watchers[path], startWatcher(t, kind, filepath.Join(dir, path)))
		}
	}
	return s
}

// awaitSame waits until each watcher has seen what its twin in another scene
// has, of the same names.
func (s *scene) awaitSame(control *scene) {
	s.t.Helper()
	for path, watchers := range s.watchers {
		for i, w := range watchers {
			await(s.t, fmt.Sprintf("%s of %q to see the same", w.kind, path), func() error {
				if got, want := fmt.Sprint(w.events()), fmt.Sprint(control.watchers[path][i].events()); got != want {
					return fmt.Errorf("it saw %s, not %s", got, want)
				}
				return nil
			})
		}
	}
}

// awaitEvents waits until each watcher of a path has seen so many replacements of a
// name.
func (s *scene) awaitEvents(path, name string, events int) {
	s.t.Helper()
	for _, w := range s.watchers[path] {
		await(s.t, fmt.Sprintf("%s of %q to see %d events of %q", w.kind, path, events, name), func() error {
			if seen := w.replacements(); len(seen[name]) < events {
				return fmt.Errorf("it saw %v", seen)
			}
			return nil
		})
	}
}

// settleWatches returns when whoever watches has been told of all that was
// published before, which takes up to a second in FUSE mode. So who watches from
// now on isn't told of it. It publishes a config twice: the second time is told
// after all that was to be told with the first.
func (f *fleet) settleWatches(m *monitor, name string) {
	f.t.Helper()
	w := startWatcher(f.t, "inotifywait", m.dirs.config)
	for n := range 2 {
		f.put(name, fmt.Sprintf("settling %d", n))
		await(f.t, "inotifywait to see "+name, func() error {
			if len(w.events()[name]) <= n {
				return errNotYet
			}
			return nil
		})
	}
	w.kill()
}

// plainDir is a directory whose files are replaced as everybody does who
// replaces them at one stroke.
type plainDir struct {
	t   *testing.T
	dir string
}

// newPlainDir returns an empty one with a subdirectory for deciders.
func newPlainDir(t *testing.T) plainDir {
	t.Helper()
	d := plainDir{t, filepath.Join(tempDir(t), "config")}
	for _, sub := range []string{"decider", ".aside"} {
		if err := os.MkdirAll(filepath.Join(d.dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

// put replaces a file, or creates it.
func (d plainDir) put(name, content string) {
	d.t.Helper()
	aside := filepath.Join(d.dir, ".aside", "new")
	mustWrite(d.t, aside, content)
	if err := os.Rename(aside, filepath.Join(d.dir, name)); err != nil {
		d.t.Fatal(err)
	}
}

func (d plainDir) remove(name string) {
	d.t.Helper()
	if err := unix.Unlink(filepath.Join(d.dir, name)); err != nil {
		d.t.Fatal(err)
	}
}

// tailCommand follows a file by its name. In a FUSE mount, of whatever kind, tail
// doesn't trust inotify: it looks every second, and for another file under the
// name every fifth time. Here it is to look more often.
func tailCommand(t testing.TB, path string) *exec.Cmd {
	t.Helper()
	needProgram(t, "tail")
	return exec.Command("tail", "-F", "--sleep-interval=0.1", "--max-unchanged-stats=1", path)
}
