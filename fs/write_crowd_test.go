package fs

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// crowd has a connection refuse what may have to wait until leave is called.
func crowd(t *testing.T, conn *connection) (leave func()) {
	t.Helper()
	var taken [][]byte
	await(t, "all that may wait", func() bool { // what was answered may end a moment later
		for {
			out, left, ok := conn.later.begin(false)
			if left {
				t.Fatal("nobody answers")
			}
			if !ok {
				return len(taken) == maxWaiting
			}
			taken = append(taken, out)
		}
	})
	return func() {
		for _, out := range taken {
			conn.later.end(out)
		}
	}
}

// If a part of what is written is refused because too many requests wait, the whole
// isn't published, whether the program heeds the error or not.
func TestWriteWhileTooManyWait(t *testing.T) {
	write := func(t *testing.T, fd int, text string) {
		t.Helper()
		_, err := unix.Write(fd, []byte(text))
		check(t, err)
	}
	for _, c := range []struct {
		name   string
		do     func(t *testing.T, fd int, crowd func() (leave func()))
		closed error // what close says
		want   string
	}{
		{"a write", func(t *testing.T, fd int, crowd func() func()) {
			write(t, fd, "one\n")
			leave := crowd()
			_, err := unix.Write(fd, []byte("two\n"))
			leave()
			wantErr(t, err, unix.EAGAIN)
			write(t, fd, "three\n")
		}, unix.EAGAIN, "old\n"},
		{"a truncation", func(t *testing.T, fd int, crowd func() func()) {
			write(t, fd, "one\n")
			leave := crowd()
			err := unix.Ftruncate(fd, 2)
			leave()
			wantErr(t, err, unix.EAGAIN)
		}, unix.EAGAIN, "old\n"},
		{"a sync", func(t *testing.T, fd int, crowd func() func()) {
			write(t, fd, "one\n")
			leave := crowd()
			err := unix.Fsync(fd)
			leave()
			wantErr(t, err, unix.EAGAIN)
		}, unix.EAGAIN, "old\n"},
		{"the close", func(t *testing.T, fd int, crowd func() func()) {
			write(t, fd, "one\n")
			crowd()
		}, unix.EAGAIN, "old\n"},
		{"the close of what was cut to nothing", func(_ *testing.T, _ int, crowd func() func()) {
			crowd()
		}, unix.EAGAIN, "old\n"},
		{"a close before a write, as shells do", func(t *testing.T, fd int, crowd func() func()) {
			other, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
			check(t, err)
			leave := crowd()
			err = unix.Close(other)
			leave()
			wantErr(t, err, unix.EAGAIN)
			write(t, fd, "new\n")
		}, nil, "new\n"},
		{"a write before all is written anew", func(t *testing.T, fd int, crowd func() func()) {
			leave := crowd()
			_, err := unix.Write(fd, []byte("one\n"))
			leave()
			wantErr(t, err, unix.EAGAIN)
			check(t, unix.Ftruncate(fd, 0))
			write(t, fd, "new\n")
		}, nil, "new\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			v, w := mountWritable(t, Config{})
			publish(t, v, "config", entry("old\n"))
			fd, err := openRaw(filepath.Join(v.cfg.Dir, "config"), os.O_WRONLY|os.O_TRUNC, 0)
			check(t, err)
			leave := func() {}
			defer func() { leave() }()
			c.do(t, fd, func() func() {
				left := false
				end := crowd(t, v.face.Load().writers)
				leave = func() {
					if !left {
						left = true
						end()
					}
				}
				return leave
			})
			err = unix.Close(fd)
			if c.closed != nil {
				wantErr(t, err, c.closed)
			} else {
				check(t, err)
			}
			awaitReleased(t, v) // although nobody has left
			leave()
			wantFile(t, v, "config", c.want)
			var want []string
			if c.want == "new\n" {
				want = []string{"config=new\n"}
			}
			if got := w.taken(); !slices.Equal(got, want) {
				t.Errorf("it publishes %q", got)
			}
		})
	}
}

// What is written in place is refused before anybody could see it.
func TestWriteInPlaceWhileTooManyWait(t *testing.T) {
	v, w := mountWritable(t, Config{})
	publish(t, v, "config", entry("old\n"))
	fd, err := openRaw(filepath.Join(v.cfg.Dir, "config"), os.O_WRONLY, 0)
	check(t, err)
	leave := crowd(t, v.face.Load().conn)
	_, err = unix.Write(fd, []byte("new\n"))
	leave()
	wantErr(t, err, unix.EAGAIN)
	// It is this by which the kernel is told, before it changes what it has cached.
	if n := v.face.Load().conn.counts()["REMOVEXATTR"]; n == 0 {
		t.Error("it is refused too late")
	}
	check(t, unix.Close(fd))
	wantFile(t, v, "config", "old\n")
	if got := w.taken(); len(got) != 0 {
		t.Errorf("it publishes %q", got)
	}
}

// A temporary file that lacks a part can't be renamed to be published.
func TestWriteOfTemporaryFileWhileTooManyWait(t *testing.T) {
	v, w := mountWritable(t, Config{})
	publish(t, v, "config", entry("old\n"))
	temp := filepath.Join(v.cfg.Dir, ".t")
	fd, err := openRaw(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	check(t, err)
	_, err = unix.Write(fd, []byte("one\n"))
	check(t, err)
	leave := crowd(t, v.face.Load().conn)
	_, err = unix.Write(fd, []byte("two\n"))
	leave()
	wantErr(t, err, unix.EAGAIN)
	_, err = unix.Write(fd, []byte("three\n"))
	check(t, err)
	check(t, unix.Close(fd))
	wantErr(t, unix.Rename(temp, filepath.Join(v.cfg.Dir, "config")), unix.EAGAIN)
	check(t, unix.Unlink(temp))
	wantFile(t, v, "config", "old\n")
	if got := w.taken(); len(got) != 0 {
		t.Errorf("it publishes %q", got)
	}
}
