package fs

import (
	"context"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// refusals are those reports that tell of refused writes.
type refusals struct {
	reports
	prefix string // of their messages
}

func (refusals) Enabled(context.Context, slog.Level) bool { return true }

func (r refusals) Handle(ctx context.Context, record slog.Record) error {
	if !strings.HasPrefix(record.Message, r.prefix) {
		return nil
	}
	return r.reports.Handle(ctx, record)
}

// Who tries to write what can't be written is reported once; who tries names for
// temporary files isn't.
func TestRefusalIsReported(t *testing.T) {
	r := make(reports, 10)
	v, _ := mountWritable(t, Config{Logger: slog.New(refusals{r, "nobody can write"})})
	write := func(name string) error {
		return writeParts(filepath.Join(v.cfg.Dir, name), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, []byte("new\n"))
	}
	check(t, write("config.bak"))
	for range 2 {
		wantErr(t, write("other"), unix.EPERM)
	}
	r.await(t, "name=other", "uid=0", "errno=EPERM", "no config has that name")
	r.none(t)
}

// writeRefused opens a file, writes to it and closes it, and expects that one of these
// steps is refused, and that this is reported once.
func writeRefused(t *testing.T, r reports, path string, flags int, from int64, want unix.Errno, texts ...string) {
	t.Helper()
	fd, err := openRaw(path, flags, 0)
	if err == nil {
		for range 2 { // which is refused for the same reason
			_, err = unix.Pwrite(fd, []byte("new\n"), from)
		}
		_ = unix.Close(fd) // it may tell once more
	}
	wantErr(t, err, want)
	r.await(t, append(texts, "name="+filepath.Base(path), "uid=0", "pid="+strconv.Itoa(os.Getpid()), "errno="+unix.ErrnoName(want))...)
	if flags&os.O_TRUNC != 0 {
		r.none(t)
	}
}

// Whoever may write and is refused all the same is reported, with what mends it.
func TestRefusedWritesAreReported(t *testing.T) {
	r := make(reports, 10)
	v, w := mountWritable(t, Config{Logger: slog.New(refusals{r, "a write was refused"})})
	path := filepath.Join(v.cfg.Dir, "config")
	begin := func(t *testing.T) {
		t.Helper()
		publish(t, v, "config", entry("old\n"))
		for len(r) > 0 {
			<-r
		}
	}
	t.Run("somebody reads it", func(t *testing.T) {
		begin(t)
		reader := startHelper(t, nil, "change", path)
		reader.line(t)
		writeRefused(t, r, path, os.O_WRONLY, 0, unix.EBUSY, "process "+strconv.Itoa(reader.Process.Pid), "cp or mv")
		check(t, reader.Process.Kill())
	})
	t.Run("it has changed", func(t *testing.T) {
		begin(t)
		fd, err := openRaw(path, os.O_WRONLY, 0)
		check(t, err)
		publish(t, v, "config", entry("newer\n"))
		for range 2 { // each of which is reported
			_, err = unix.Write(fd, []byte("new\n"))
			wantErr(t, err, unix.ESTALE)
			r.await(t, "name=config", "errno=ESTALE", "open it again")
		}
		check(t, unix.Close(fd))
	})
	const most = 16 << 20
	t.Run("too large", func(t *testing.T) {
		begin(t)
		writeRefused(t, r, path, os.O_WRONLY|os.O_TRUNC, most, unix.EFBIG, strconv.Itoa(most))
	})
	t.Run("too large in place", func(t *testing.T) {
		begin(t)
		writeRefused(t, r, path, os.O_WRONLY, most, unix.EFBIG, strconv.Itoa(most))
	})
	t.Run("too large by truncation", func(t *testing.T) {
		begin(t)
		wantErr(t, unix.Truncate(path, most+1), unix.EFBIG)
		r.await(t, "name=config", "errno=EFBIG")
	})
	t.Run("no room", func(t *testing.T) {
		begin(t)
		left := v.writes.room.left.Load()
		v.writes.room.take(left)
		defer v.writes.room.take(-left)
		for _, flags := range []int{os.O_WRONLY | os.O_TRUNC, os.O_WRONLY} {
			writeRefused(t, r, path, flags, 0, unix.ENOSPC, "remove")
		}
	})
	t.Run("too many files", func(t *testing.T) {
		begin(t)
		for _, table := range []scratches{v.writes.private, v.writes.files} {
			for i := range uint64(maxScratches) {
				s := &scratch{id: 1<<60 + i, room: v.writes.room}
				if table.add(s, 1, false) != 0 {
					break
				}
				defer table.forget(s.id, 1)
			}
		}
		for _, flags := range []int{os.O_WRONLY | os.O_TRUNC, os.O_WRONLY} {
			writeRefused(t, r, path, flags, 0, unix.ENFILE, "remove")
		}
	})
	awaitReleased(t, v)
	if changes := w.taken(); len(changes) > 0 {
		t.Errorf("it publishes %q", changes)
	}
}

// A thread that only asks what a write asks, of a file that nobody writes, makes
// nothing.
func TestNobodyIsAboutToWrite(t *testing.T) {
	r := make(reports, 10)
	v, _ := mountWritable(t, Config{Logger: slog.New(refusals{r, "a write was refused"})})
	publish(t, v, "config", entry("old\n"))
	f, err := os.Open(filepath.Join(v.cfg.Dir, "config"))
	check(t, err)
	defer f.Close()
	id := stat(t, f.Name()).Ino
	for thread := range uint32(2) {
		h := &fuse.InHeader{NodeId: id, Caller: fuse.Caller{Pid: math.MaxInt32 - thread}} // which there is not
		if errno := v.writes.claim(h); errno != unix.EBUSY {
			t.Errorf("it says %v", errno)
		}
	}
	if n := len(v.writes.files.all); n > 0 || stat(t, f.Name()).Ino != id {
		t.Errorf("%d files are made, and the name has inode %d, not %d", n, stat(t, f.Name()).Ino, id)
	}
	r.await(t, "name=config", "errno=EBUSY", "no process has it open for writing")
	r.none(t)
}
