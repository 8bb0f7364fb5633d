package fs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// writeOnHelper writes a file of a storm of writes in the directory args[0], in all
// ways, until standard input ends, whatever fails: what it finds afterwards is what
// it has written or, if that failed, what was there before, whole. args[1] is the
// file of newestSeen.
func writeOnHelper(args []string) error {
	newest, err := openNewest(args[1], stormFiles)
	if err != nil {
		return err
	}
	path := filepath.Join(args[0], stormNames[stormBig])
	n, last, failures := uint64(1), uint64(1), 0
	err = untilInputEnds("writing", func() error {
		n++
		writeErr := replaceBig(path, n)
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		found, err := numberOfAny(content)
		switch {
		case err != nil:
			return fmt.Errorf("it is torn after %w: %w", writeErr, err)
		case found != n && writeErr == nil:
			return fmt.Errorf("version %d was written and %d is there", n, found)
		case found != n && found != last:
			return fmt.Errorf("after version %d came %d: %w", last, found, writeErr)
		}
		if last = found; writeErr != nil {
			failures++
			// It may be there or not.
			_ = os.Remove(filepath.Join(args[0], ".big"))
		}
		newest.saw(stormBig, found)
		return nil
	})
	fmt.Fprintf(os.Stdout, "%d failures\n", failures)
	return err
}

// holdWrittenHelper opens the file args[0] for writing, says so, and when standard
// input ends writes to it and closes it. It fails unless both report an error: what
// was open when its server was killed is lost.
func holdWrittenHelper(args []string) error {
	fd, err := openRaw(args[0], os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	fmt.Fprintln(os.Stdout, "open")
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return err
	}
	_, writeErr := unix.Write(fd, []byte("x"))
	closeErr := unix.Close(fd)
	for _, err := range []error{writeErr, closeErr} {
		if !errors.Is(err, unix.ESTALE) && !errors.Is(err, unix.EIO) {
			return fmt.Errorf("writing to what a dead process had: %w; closing it: %w", writeErr, closeErr)
		}
	}
	return nil
}

// However often the process that serves is killed in the middle of writes, they
// end, each file is one whole version, and no reader notices.
func TestWorkersAreKilledUnderWriters(t *testing.T) {
	const kills = 12
	dir := t.TempDir()
	h := holdBy(t, HoldingConfig{Dir: dir, Writable: true})
	w := &workers{t: t, h: h}
	w.start()
	check(t, h.Show())
	h.awaitWriters()
	big := filepath.Join(dir, stormNames[stormBig])
	check(t, writeParts(big, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, numbered(1, 8)))
	check(t, writeParts(filepath.Join(dir, stormNames[stormLog]), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, numbered(1, stormChunk)))
	shared := filepath.Join(t.TempDir(), "newest")
	newest, err := openNewest(shared, stormFiles)
	check(t, err)
	reader := startHelper(t, &syscall.SysProcAttr{Setpgid: true}, "read-written", dir, shared)
	writer := startHelper(t, &syscall.SysProcAttr{Setpgid: true}, "write-on", dir, shared)
	reader.line(t)
	writer.line(t)
	// The process that starts workers must have nothing open there: starting one
	// would close it, for which nobody could give the answer.
	open := startHelper(t, &syscall.SysProcAttr{Setpgid: true}, "hold-written", big)
	open.line(t)
	for range kills {
		was := newest[stormBig].Load()
		await(t, "a writer to go on", func() bool { return newest[stormBig].Load() > was })
		w.kill()
		w.start()
	}
	writer.end(t)
	reader.end(t)
	open.end(t)
	check(t, h.Unmount(t.Context()))
	w.end()
}
