package fs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// The files of a storm of writes, and their places in newestSeen.
const (
	stormBig = iota // replaced by contents of different sizes, all of one number
	stormLog        // appended to, by chunks that each are of one number
	stormFiles
)

var stormNames = [stormFiles]string{"config-big", "config-log"}

const (
	stormChunk = 1<<20 + 1<<16 // more than one request to write
	stormMost  = 3             // chunks
)

// readWrittenHelper reads the files of a storm of writes in the directory args[0]
// over and over until standard input ends. args[1] is the file of newestSeen.
func readWrittenHelper(args []string) error {
	newest, err := openNewest(args[1], stormFiles)
	if err != nil {
		return err
	}
	return untilInputEnds("reading", func() error {
		for file, verify := range []func([]byte) (uint64, error){numberOfAny, numberOfLog} {
			seen := newest[file].Load()
			content, err := os.ReadFile(filepath.Join(args[0], stormNames[file]))
			if err != nil {
				return err
			}
			n, err := verify(content)
			if err != nil {
				return fmt.Errorf("%s is torn: %w", stormNames[file], err)
			}
			if n < seen {
				return fmt.Errorf("%s goes back from version %d to %d", stormNames[file], seen, n)
			}
			newest.saw(file, n)
		}
		return nil
	})
}

// untilInputEnds prints what is done, and does it over and over until standard
// input ends.
func untilInputEnds(what string, do func() error) error {
	over := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, os.Stdin)
		over <- err
	}()
	fmt.Fprintln(os.Stdout, what)
	for n := 0; ; n++ {
		select {
		case err := <-over:
			fmt.Fprintf(os.Stdout, "%s %d times\n", what, n)
			return err
		default:
		}
		if err := do(); err != nil {
			return err
		}
	}
}

func numberOfAny(b []byte) (uint64, error) { return numberOf(b, len(b)) }

// numberOfLog returns the number of a log's last chunk, and verifies all.
func numberOfLog(b []byte) (uint64, error) {
	if len(b)%stormChunk != 0 {
		return 0, fmt.Errorf("%d bytes, want a multiple of %d", len(b), stormChunk)
	}
	var last uint64
	for ; len(b) > 0; b = b[stormChunk:] {
		n, err := numberOf(b[:stormChunk], stormChunk)
		switch {
		case err != nil:
			return 0, err
		case last != 0 && n != last+1:
			return 0, fmt.Errorf("chunk %d follows %d", n, last)
		}
		last = n
	}
	return last, nil
}

// writeHelper writes one of the files of a storm of writes in the directory args[0],
// in all ways, until standard input ends. args[1] is its number. Each time it reads
// what it has written.
func writeHelper(args []string) error {
	file, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	path := filepath.Join(args[0], stormNames[file])
	n := uint64(1)
	return untilInputEnds("writing", func() error {
		n++
		if file == stormLog {
			return appendChunk(path, n)
		}
		return writeBig(path, n)
	})
}

// writeBig replaces a file by a content of that number, and reads it.
func writeBig(path string, n uint64) error {
	if err := replaceBig(path, n); err != nil {
		return err
	}
	return verifyOwn(path, n, numberOfAny)
}

// replaceBig replaces a file by a content of that number.
func replaceBig(path string, n uint64) error {
	size := []int{3 << 20, 8, 1 << 20, 1 << 20, 1<<21 + 8, 4096}[n%6]
	content := numbered(n, size)
	var err error
	switch n % 6 {
	case 0, 1, 4: // in parts
		err = writeParts(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, content)
	case 3: // in place, as long as the one before
		err = writeInPlace(path, os.O_WRONLY, content)
	default:
		temp := filepath.Join(filepath.Dir(path), ".big")
		if err = writeParts(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, content); err == nil {
			err = os.Rename(temp, path)
		}
	}
	return err
}

func verifyOwn(path string, n uint64, verify func([]byte) (uint64, error)) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if got, err := verify(content); err != nil || got != n {
		return fmt.Errorf("what was just written is %d, not %d: %w", got, n, err)
	}
	return nil
}

// openRaw opens a file without polling it, which Go's runtime otherwise does.
func openRaw(path string, flags int, perm uint32) (fd int, err error) {
	fd, err = unix.Open(path, flags|unix.O_CLOEXEC, perm)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return fd, nil
}

func writeParts(path string, flags int, content []byte) error {
	fd, err := openRaw(path, flags, 0o600)
	if err != nil {
		return err
	}
	third := len(content) / 24 * 8
	for _, part := range [][]byte{content[:third], content[third : 2*third], content[2*third:]} {
		if err = errors.Join(err, writeAll(fd, part)); err != nil {
			break
		}
	}
	return errors.Join(err, unix.Close(fd))
}

// writeInPlace writes to an open file by one call. It does so again while readers
// of what is there take too long.
func writeInPlace(path string, flags int, content []byte) error {
	for {
		fd, err := openRaw(path, flags, 0)
		if err != nil {
			return err
		}
		n, err := unix.Write(fd, content)
		if closeErr := unix.Close(fd); closeErr != nil {
			return closeErr
		}
		switch {
		case errors.Is(err, unix.EBUSY), errors.Is(err, unix.ESTALE):
		case err != nil:
			return fmt.Errorf("writing %q in place: %w", path, err)
		case n != len(content):
			return fmt.Errorf("writing %q in place: %d bytes of %d", path, n, len(content))
		default:
			return nil
		}
	}
}

// appendChunk appends a chunk to a log, or begins it anew.
func appendChunk(path string, n uint64) error {
	var err error
	if n%stormMost == 0 {
		err = writeParts(path, os.O_WRONLY|os.O_TRUNC, numbered(n, stormChunk))
	} else {
		err = writeInPlace(path, os.O_WRONLY|os.O_APPEND, numbered(n, stormChunk))
	}
	if err != nil {
		return err
	}
	return verifyOwn(path, n, numberOfLog)
}

// While files grow, shrink and are replaced in all ways, every reader sees one
// whole version, never an older one than before, and writers see their own.
func TestStormOfWrites(t *testing.T) {
	v, w := mountWritable(t, Config{})
	publish(t, v, stormNames[stormBig], Entry{Content: numbered(1, 8)})
	publish(t, v, stormNames[stormLog], Entry{Content: numbered(1, stormChunk)})
	shared := filepath.Join(t.TempDir(), "newest")
	newest, err := openNewest(shared, stormFiles)
	check(t, err)
	var readers, writers []*helper
	for range 4 {
		readers = append(readers, startHelper(t, &syscall.SysProcAttr{Setpgid: true}, "read-written", v.cfg.Dir, shared))
	}
	for file := range stormFiles {
		writers = append(writers, startHelper(t, &syscall.SysProcAttr{Setpgid: true}, "write", v.cfg.Dir, strconv.Itoa(file)))
	}
	for _, h := range append(readers, writers...) {
		h.line(t)
	}
	for _, h := range readers {
		// Otherwise writers get their turn late where there are few processors.
		check(t, unix.Setpriority(unix.PRIO_PGRP, h.Process.Pid, 10))
	}
	const versions = 8
	await(t, "enough versions", func() bool {
		return newest[stormBig].Load() > versions && newest[stormLog].Load() > versions
	})
	var all sync.WaitGroup
	for _, h := range writers {
		all.Go(func() { h.end(t) })
	}
	all.Wait()
	for _, h := range readers {
		h.end(t)
	}
	t.Logf("%d changes", len(w.taken()))
	if n := v.writes.room.left.Load(); n != roomFactor*v.cfg.MaxContent {
		await(t, "the kernel to forget what was written", func() bool {
			return v.writes.room.left.Load() == roomFactor*v.cfg.MaxContent
		})
	}
}
