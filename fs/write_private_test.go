package fs

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Those who may not write can't have files made for them either, which take room
// from those who may.
func TestOnlyWritersReachPrivateFiles(t *testing.T) {
	const group = 4242
	for name, c := range map[string]struct {
		gid       int
		mode      uint32
		member    bool // of the group
		mayWrite  bool
		directory string
	}{
		"nobody":                 {0, 0o700, false, false, ""},
		"nobody, to a decider":   {0, 0o700, false, false, "decider"},
		"nobody, with a group":   {group, 0o770, false, false, ""},
		"a member":               {group, 0o770, true, true, ""},
		"a member, to a decider": {group, 0o770, true, true, "decider"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := publicDir(t)
			v, w := mountWritable(t, Config{Dir: dir, GID: c.gid})
			file := filepath.Join(c.directory, "config")
			publish(t, v, file, entry("1\n"))
			for _, d := range []string{writersDir, filepath.Join(writersDir, c.directory)} {
				if got := stat(t, filepath.Join(dir, d)).Mode; got != syscall.S_IFDIR|c.mode {
					t.Errorf("%s has mode %o, want %o", d, got, c.mode)
				}
			}
			credential := &syscall.Credential{Uid: 65534, Gid: 65534}
			if c.member {
				credential.Groups = []uint32{group}
			}
			as := func(script string) (string, bool) {
				cmd := exec.Command("bash", "-c", script)
				cmd.Dir, cmd.Env = dir, append(os.Environ(), "F="+file)
				cmd.SysProcAttr = &syscall.SysProcAttr{Credential: credential}
				out, err := cmd.CombinedOutput()
				return string(out), err == nil
			}
			for _, script := range []string{"exec 3<.rw/$F", "stat .rw/$F", "echo 2 > $F", "echo 3 1<>$F"} {
				out, ok := as(script)
				if ok != c.mayWrite || !ok && !strings.Contains(out, "Permission denied") {
					t.Errorf("%s: succeeds: %v, and says %q", script, ok, out)
				}
			}
			if changes := w.taken(); len(changes) > 0 != c.mayWrite {
				t.Errorf("it publishes %q", changes)
			}
			if n := v.ledger.header.writers.lastID.Load(); n > 0 != c.mayWrite {
				t.Errorf("%d files are made for it", n)
			}
		})
	}
}

// Who only asks what the kernel asks before a write makes nothing.
func TestAskingForCapabilitiesMakesNothing(t *testing.T) {
	v, _ := mountWritable(t, Config{})
	publish(t, v, "config", entry("old\n"))
	path := filepath.Join(v.cfg.Dir, "config")
	fd, err := openRaw(path, os.O_WRONLY, 0)
	check(t, err)
	_, err = unix.Getxattr(path, attrCapability, nil)
	wantErr(t, err, unix.ENOTSUP)
	_, err = unix.Fgetxattr(fd, attrCapability, nil)
	wantErr(t, err, unix.ENOTSUP)
	p, err := unix.BytePtrFromString(path)
	check(t, err)
	name, err := unix.BytePtrFromString(attrCapability)
	check(t, err)
	noRoom := [2]uint64{}
	dir := unix.AT_FDCWD
	_, _, errno := unix.Syscall6(unix.SYS_GETXATTRAT, uintptr(dir), uintptr(unsafe.Pointer(p)), 0,
		uintptr(unsafe.Pointer(name)), uintptr(unsafe.Pointer(&noRoom)), unsafe.Sizeof(noRoom))
	if errno != unix.ENOTSUP && errno != unix.ENOSYS { // which older kernels say
		t.Errorf("getxattrat: %v", errno)
	}
	if n := len(v.writes.files.all); n > 0 {
		t.Errorf("%d files are made", n)
	}
	check(t, unix.Close(fd))
}
