package fs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// writeOnHelper writes a file of a storm of writes in the directory args[0], in all
// ways, until standard input ends, whatever fails: what it finds afterwards is what
// it has written or what was there before, whole. args[1] is the file of
// newestSeen.
func writeOnHelper(args []string) error {
	newest, err := openNewest(args[1], stormFiles)
	if err != nil {
		return err
	}
	path := filepath.Join(args[0], stormNames[stormBig])
	n, last, failures := uint64(1), uint64(1), 0
	err = untilInputEnds("writing", func() error {
		n++
		writeErr := writeBig(path, n)
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
		newest.saw(stormLog, n)
		return nil
	})
	fmt.Fprintf(os.Stdout, "%d failures\n", failures)
	return err
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
	open, err := openRaw(big, os.O_WRONLY|os.O_TRUNC, 0)
	check(t, err)
	for range kills {
		was := newest[stormLog].Load()
		await(t, "a writer to go on", func() bool { return newest[stormLog].Load() > was })
		w.kill()
		w.start()
	}
	writer.end(t)
	reader.end(t)
	// What was open when its server was killed is lost, and says so.
	if _, err := unix.Write(open, []byte("x")); !errors.Is(err, unix.ESTALE) && !errors.Is(err, unix.EIO) {
		t.Errorf("writing to what a dead process had: %v", err)
	}
	if err := unix.Close(open); err == nil {
		t.Error("closing what a dead process had reports no error")
	}
	check(t, h.Unmount(t.Context()))
	w.end()
}
