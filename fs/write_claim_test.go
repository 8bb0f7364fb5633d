package fs

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// changeHelper opens the file args[0] for reading and writing, reads it and says
// what it holds, and when standard input ends writes that and a line of its own from
// the beginning. It prints what the write says.
func changeHelper(args []string) error {
	fd, err := openRaw(args[0], os.O_RDWR, 0)
	if err != nil {
		return err
	}
	content := make([]byte, 100)
	n, err := unix.Read(fd, content)
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stdout, "%q\n", content[:n])
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		continue
	}
	_, err = unix.Pwrite(fd, append(content[:n], "theirs\n"...), 0)
	fmt.Fprintln(os.Stdout, err)
	return unix.Close(fd)
}

// Of two who have opened the same version to read and change it, none takes away
// what the other one has changed.
func TestTwoWhoChangeTheSameVersion(t *testing.T) {
	v, w := mountWritable(t, Config{})
	publish(t, v, "config", entry("old\n"))
	path := filepath.Join(v.cfg.Dir, "config")
	other := startHelper(t, nil, "change", path)
	if got := other.line(t); got != `"old\n"` {
		t.Fatalf("the other one reads %s", got)
	}
	fd, err := openRaw(path, os.O_RDWR, 0)
	check(t, err)
	_, first := unix.Write(fd, []byte("old\nours\n"))
	check(t, unix.Close(fd))
	check(t, other.stdin.Close())
	second := other.line(t)
	check(t, other.Wait())
	t.Logf("the first write says %v, the second one %s: %q", first, second, w.taken())
	wantErr(t, first, unix.EBUSY)
	if second != "<nil>" {
		t.Errorf("the write of who is left alone says %s", second)
	}
	wantFile(t, v, "config", "old\ntheirs\n")
}

// Whoever shares an open file with the one that changes it is no other.
func TestChangeByInheritedFile(t *testing.T) {
	for name, script := range map[string]string{
		"a child":              "exec 3<>config; /bin/echo new >&3",
		"a parent":             "exec 3<>config; sleep 1000 >&3 & C=$!; echo new >&3; R=$?; kill $C; exit $R",
		"a second descriptor":  "exec 3<>config 4>&3; /bin/echo new >&3",
		"opened twice":         "exec 3<>config 4<>config; /bin/echo new >&3",
		"somebody who appends": "exec 3<>config; (exec 3>&- 4>>config; exec sleep 1000) & C=$!; until test -e /proc/$C/fd/4; do :; done; echo new >&3; R=$?; kill $C; exit $R",
	} {
		t.Run(name, func(t *testing.T) {
			v, _ := mountWritable(t, Config{})
			publish(t, v, "config", entry(""))
			out, ok := sh(t, v.cfg.Dir, script)
			if !ok {
				t.Errorf("it fails: %s", out)
			}
			wantFile(t, v, "config", "new\n")
		})
	}
}

// A claim that has to wait holds up no other file's.
func TestClaimsOfTwoFiles(t *testing.T) {
	v, _ := mountWritable(t, Config{})
	for _, name := range []string{"config", "config2"} {
		publish(t, v, name, entry("old\n"))
	}
	id := stat(t, filepath.Join(v.cfg.Dir, "config")).Ino
	if !v.writes.claims.begin(t.Context(), id) {
		t.Fatal("somebody claims the file")
	}
	path := filepath.Join(v.cfg.Dir, "config2")
	fd, err := openRaw(path, os.O_WRONLY, 0)
	check(t, err)
	_, err = unix.Write(fd, []byte("new\n"))
	check(t, err)
	check(t, unix.Close(fd))
	wantFile(t, v, "config2", "new\n")

	fd, err = openRaw(filepath.Join(v.cfg.Dir, "config"), os.O_WRONLY, 0)
	check(t, err)
	_, err = unix.Write(fd, []byte("new\n"))
	wantErr(t, err, unix.EBUSY)
	v.writes.claims.end(id)
	check(t, unix.Close(fd))
	wantFile(t, v, "config", "old\n")
}
