package fs

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// awaitReleased waits until nobody has a file of the writers' session open, and what
// that publishes is.
func awaitReleased(t *testing.T, v *Volume) {
	t.Helper()
	await(t, "what is open to be released", func() bool {
		v.writes.private.mu.Lock()
		defer v.writes.private.mu.Unlock()
		for _, s := range v.writes.private.all {
			s.mu.Lock()
			gone := s.gone
			s.mu.Unlock()
			if !gone {
				return false
			}
		}
		return true
	})
}

// What would be too large takes no memory, and is refused as a whole.
func TestWriteOfTooMuch(t *testing.T) {
	const huge = 1 << 30
	v, w := mountWritable(t, Config{})
	publish(t, v, "config", entry("old\n"))
	path := filepath.Join(v.cfg.Dir, "config")
	room := v.writes.room.left.Load()
	for name, write := range map[string]func(fd int) error{
		"ftruncate": func(fd int) error { return unix.Ftruncate(fd, huge) },
		"pwrite": func(fd int) error {
			_, err := unix.Pwrite(fd, []byte("x"), huge)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			fd, err := openRaw(path, os.O_WRONLY|os.O_TRUNC, 0)
			check(t, err)
			wantErr(t, write(fd), unix.EFBIG)
			if left := v.writes.room.left.Load(); left != room {
				t.Errorf("it takes %d bytes", room-left)
			}
			if err := unix.Close(fd); err != nil { // which may tell once more
				wantErr(t, err, unix.EFBIG)
			}
			awaitReleased(t, v)
			if changes := w.taken(); len(changes) != 0 {
				t.Errorf("it publishes %q", changes)
			}
			wantFile(t, v, "config", "old\n")
		})
	}
	wantErr(t, unix.Truncate(path, huge), unix.EFBIG)
	wantFile(t, v, "config", "old\n")
}

// There can be only so many temporary files at once.
func TestTooManyTemporaryFiles(t *testing.T) {
	v, _ := mountWritable(t, Config{})
	create := func(i int) error {
		fd, err := openRaw(filepath.Join(v.cfg.Dir, fmt.Sprintf(".t%d", i)), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		return unix.Close(fd)
	}
	for i := range maxScratches {
		check(t, create(i))
	}
	wantErr(t, create(maxScratches), unix.ENFILE)
	check(t, unix.Unlink(filepath.Join(v.cfg.Dir, ".t0")))
	// The kernel may not have forgotten it yet.
	await(t, "room for another one", func() bool { return create(maxScratches) == nil })
}

func TestWriteToNameThatIsTooLong(t *testing.T) {
	v, _ := mountWritable(t, Config{})
	for _, dir := range []string{v.cfg.Dir, filepath.Join(v.cfg.Dir, "decider")} {
		path := filepath.Join(dir, fmt.Sprintf("%0*d", maxName+1, 0))
		for _, flags := range []int{os.O_WRONLY | os.O_CREATE, os.O_WRONLY | os.O_CREATE | os.O_EXCL, os.O_WRONLY | os.O_TRUNC} {
			_, err := openRaw(path, flags, 0o600)
			wantErr(t, err, unix.ENAMETOOLONG)
		}
		temp := filepath.Join(v.cfg.Dir, ".t")
		check(t, writeParts(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, []byte("new\n")))
		wantErr(t, unix.Rename(temp, path), unix.ENAMETOOLONG)
		check(t, unix.Unlink(temp))
	}
}

// That files can be written costs those who read nothing.
func TestReadsOfWhatCanBeWrittenCostNoMessage(t *testing.T) {
	v, _ := mountWritable(t, Config{})
	publish(t, v, "config", entry("old\n"))
	wantWritable(t, v, "new\n")
	awaitReleased(t, v)
	counts := func() (n uint64) {
		f := v.face.Load()
		for _, conn := range []*connection{f.conn, f.writers} {
			for op, times := range conn.counts() {
				if op != "FORGET" && op != "BATCH_FORGET" { // the kernel's own time
					n += times
				}
			}
		}
		return n
	}
	wantFile(t, v, "config", "new\n")
	before := counts()
	for range 100 {
		wantFile(t, v, "config", "new\n")
	}
	if n := counts() - before; n != 0 {
		t.Errorf("100 reads take %d messages", n)
	}
}

// Nobody who has a version open to read sees it change.
func TestWriteInPlaceWaitsForReaders(t *testing.T) {
	v, w := mountWritable(t, Config{})
	publish(t, v, "config", entry("old\n"))
	reader := exec.Command("bash", "-c", "exec 3< config; echo open; read; cat <&3")
	reader.Dir = v.cfg.Dir
	in, err := reader.StdinPipe()
	check(t, err)
	out, err := reader.StdoutPipe()
	check(t, err)
	check(t, reader.Start())
	t.Cleanup(func() { _ = reader.Process.Kill() })
	said := make([]byte, 64)
	n, err := out.Read(said)
	check(t, err)
	path := filepath.Join(v.cfg.Dir, "config")
	fd, err := openRaw(path, os.O_WRONLY, 0)
	check(t, err)
	_, err = unix.Write(fd, []byte("new\n"))
	wantErr(t, err, unix.EBUSY)
	check(t, unix.Close(fd))
	wantFile(t, v, "config", "old\n")
	if changes := w.taken(); len(changes) != 0 {
		t.Errorf("it publishes %q", changes)
	}
	check(t, in.Close())
	more, err := out.Read(said[n:])
	check(t, err)
	if got := string(said[:n+more]); got != "open\nold\n" {
		t.Errorf("the reader reads %q", got)
	}
	check(t, reader.Wait())
	check(t, writeInPlace(path, os.O_WRONLY, []byte("new\n")))
	wantFile(t, v, "config", "new\n")
}
