package rig

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const roleWatchers = "watchers"

// Watchers is a process that watches files by inotify, each file and their
// directory, and reads a file only when it is told that something happened to it.
type Watchers struct {
	process *child

	mu    sync.Mutex // guards the rest
	known map[string]int
	moved chan struct{} // closed at the next sighting
}

// watcherSighting is what a watchers process prints.
type watcherSighting struct {
	Watcher string // "file" or "directory"
	File    string
	N       int
}

// StartWatchers starts one. Stop must be called if there is no error.
func StartWatchers(ctx context.Context, dir string, configs []Config) (*Watchers, error) {
	w := &Watchers{known: map[string]int{}, moved: make(chan struct{})}
	up := make(chan struct{}, 1)
	var err error
	w.process, err = startRole(ctx, roleWatchers, func(line string) {
		var s watcherSighting
		if json.Unmarshal([]byte(line), &s) != nil {
			up <- struct{}{}
			return
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		w.known[s.Watcher+" "+s.File] = s.N
		close(w.moved)
		w.moved = make(chan struct{})
	}, append([]string{strconv.Itoa(configs[0].Size), dir}, fileNames(configs)...)...)
	if err != nil {
		return nil, err
	}
	select {
	case <-up:
		return w, nil
	case <-w.process.done:
		return nil, w.process.ended()
	}
}

func fileNames(configs []Config) []string {
	names := make([]string, len(configs))
	for i, c := range configs {
		names[i] = c.File()
	}
	return names
}

// Await waits until both watchers of a config have read a content, and returns
// an error that names the one that hasn't if that takes longer than patience.
func (w *Watchers) Await(ctx context.Context, c Config, n int, patience time.Duration) error {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		moved, missing := w.behind(c, n)
		if missing == nil {
			return nil
		}
		select {
		case <-moved:
		case <-timer.C:
			return missing
		case <-w.process.done:
			return w.process.ended()
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// behind returns which watcher hasn't read a content yet, and what is closed when
// there is news.
func (w *Watchers) behind(c Config, n int) (moved <-chan struct{}, missing error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, kind := range []string{"file", "directory"} {
		if last := w.known[kind+" "+c.File()]; last != n {
			return w.moved, fmt.Errorf("the watcher of the %s missed content %d of %s: the last that it was told of is %d", kind, n, c.File(), last)
		}
	}
	return w.moved, nil
}

// Stop ends the process.
func (w *Watchers) Stop() error { return w.process.finish() }

// watchFiles is a role.
func watchFiles(ctx context.Context, args []string, out io.Writer) error {
	size, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	w := &fileWatchers{
		inotify: fd, dir: args[1], out: json.NewEncoder(out), buffer: make([]byte, size+wordSize),
		size: size, files: map[int32]string{}, wanted: map[string]bool{},
	}
	if err := w.watch(args[2:]); err != nil {
		return err
	}
	if _, err := fmt.Fprintln(out, "up"); err != nil {
		return err
	}
	events := make([]byte, 64<<10)
	for ctx.Err() == nil {
		const pollMilliseconds = 100
		_, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, pollMilliseconds)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		n, err := unix.Read(fd, events)
		switch {
		case errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return err
		}
		if err := w.handle(events[:n]); err != nil {
			return err
		}
	}
	return nil
}

// fileWatchers is the state of a watchers process.
type fileWatchers struct {
	inotify   int
	dir       string
	directory int32            // the directory's watch
	files     map[int32]string // the files' watches, by their descriptor
	wanted    map[string]bool
	size      int
	buffer    []byte
	out       *json.Encoder
}

func (w *fileWatchers) watch(names []string) error {
	descriptor, err := unix.InotifyAddWatch(w.inotify, w.dir, unix.IN_MOVED_TO|unix.IN_CLOSE_WRITE|unix.IN_CREATE|unix.IN_ONLYDIR)
	if err != nil {
		return fmt.Errorf("watching %q: %w", w.dir, err)
	}
	w.directory = int32(descriptor)
	for _, name := range names {
		w.wanted[name] = true
		if err := w.watchFile(name); err != nil {
			return err
		}
	}
	return nil
}

// watchFile watches a file, first, and then reads it, so that no change falls in
// between.
func (w *fileWatchers) watchFile(name string) error {
	path := filepath.Join(w.dir, name)
	// While somebody has a replaced file open, its number of links changes but
	// it isn't deleted.
	descriptor, err := unix.InotifyAddWatch(w.inotify, path,
		unix.IN_MODIFY|unix.IN_CLOSE_WRITE|unix.IN_ATTRIB|unix.IN_DELETE_SELF|unix.IN_MOVE_SELF)
	if err != nil {
		return fmt.Errorf("watching %q: %w", path, err)
	}
	w.files[int32(descriptor)] = name
	return w.tell("file", name)
}

// tell reads a file and says what it holds.
func (w *fileWatchers) tell(watcher, name string) error {
	file, err := newRawFile(filepath.Join(w.dir, name))
	if err != nil {
		return err
	}
	length, err := file.read(w.buffer)
	if err != nil {
		return fmt.Errorf("reading %q: %w", file.path, err)
	}
	n, whole := numberOf(w.buffer[:length], w.size)
	if !whole {
		return fmt.Errorf("reading %q: a torn content of %d bytes", file.path, length)
	}
	return w.out.Encode(watcherSighting{Watcher: watcher, File: name, N: n})
}

// handle handles the events of one read.
func (w *fileWatchers) handle(events []byte) error {
	for len(events) >= unix.SizeofInotifyEvent {
		event := (*unix.InotifyEvent)(addressOf(&events[0]))
		end := unix.SizeofInotifyEvent + int(event.Len)
		name := unix.ByteSliceToString(events[unix.SizeofInotifyEvent:end])
		events = events[end:]
		if event.Mask&unix.IN_Q_OVERFLOW != 0 {
			return errors.New("the kernel dropped inotify events: they weren't read in time")
		}
		if err := w.handleOne(event.Wd, event.Mask, name); err != nil {
			return err
		}
	}
	return nil
}

func (w *fileWatchers) handleOne(descriptor int32, mask uint32, name string) error {
	if descriptor == w.directory {
		switch {
		case mask&(unix.IN_IGNORED|unix.IN_UNMOUNT) != 0:
			return fmt.Errorf("the watch on %q has ended", w.dir)
		case !w.wanted[name]:
			return nil
		}
		return w.tell("directory", name)
	}
	file, ok := w.files[descriptor]
	if !ok {
		return nil // of a watch that has ended
	}
	// The file was replaced; the watch is on the old one.
	if mask&(unix.IN_ATTRIB|unix.IN_DELETE_SELF|unix.IN_MOVE_SELF|unix.IN_IGNORED) != 0 {
		delete(w.files, descriptor)
		_, _ = unix.InotifyRmWatch(w.inotify, uint32(descriptor)) // it may have gone with the file
		return w.watchFile(file)
	}
	return w.tell("file", file)
}
