package fs

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
)

// What is published when its writer has closed it is the writer's doing.
func TestLatePublishIsItsWriters(t *testing.T) {
	const id = 4242 // of the user and the group
	v, w := mountWritable(t, Config{GID: id})
	check(t, os.Chmod(filepath.Dir(v.cfg.Dir), 0o755)) // of the test's directory, which is root's alone
	for _, c := range []struct {
		name, want string
		command    []string
	}{
		{"cut to nothing", "", []string{"bash", "-c", ": > config"}},
		{"rewritten in place", "new\n", []string{"/usr/bin/python3", "-c", `
import os
fd = os.open("config", os.O_RDWR)
os.ftruncate(fd, 0)
os.write(fd, b"n")
os.write(fd, b"ew\n")
os.close(fd)`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			publish(t, v, "config", Entry{Content: []byte("old\n"), ModTime: testTime})
			cmd := exec.Command(c.command[0], c.command[1:]...)
			cmd.Dir = v.cfg.Dir
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: id, Gid: id}}
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			var changes []string
			await(t, "it to be published", func() bool {
				changes = append(changes, w.taken()...)
				return len(changes) > 0
			})
			if !slices.Equal(changes, []string{"config=" + c.want}) {
				t.Errorf("it publishes %q", changes)
			}
			w.mu.Lock()
			defer w.mu.Unlock()
			if want := (Caller{UID: id, GID: id, PID: uint32(cmd.Process.Pid)}); w.caller != want {
				t.Errorf("it is the doing of %+v, want %+v", w.caller, want)
			}
		})
	}
}

// What is published last is kept until it is, and no longer.
func TestRewrittenFileIsKeptUntilPublished(t *testing.T) {
	v, w := mountWritable(t, Config{})
	publish(t, v, "config", Entry{Content: []byte("old\n"), ModTime: testTime, Version: "1"})
	s := v.writes.newScratch(inPlace, v.tree.root, "config", v.tree.newID())
	s.base, s.rewriting, s.written = "1", true, true
	if errno := s.replace([]byte("new\n")); errno != 0 {
		t.Fatal(errno)
	}
	if errno := v.writes.files.add(s, 1, false); errno != 0 {
		t.Fatal(errno)
	}
	v.writes.files.forget(s.id, 1)
	v.writes.awaitRest(s, func() (users, error) { return users{}, nil })
	if got := w.taken(); !slices.Equal(got, []string{"config=new\n"}) {
		t.Errorf("it publishes %q", got)
	}
	if left := v.writes.room.left.Load(); left != roomFactor*v.cfg.MaxContent {
		t.Errorf("it still takes %d bytes", roomFactor*v.cfg.MaxContent-left)
	}
}

// As long as somebody has a file open that is being rewritten, or may have, it
// isn't published.
func TestRewriteWaitsUntilItIsClosed(t *testing.T) {
	v, w := mountWritable(t, Config{})
	publish(t, v, "config", Entry{Content: []byte("old\n"), ModTime: testTime, Version: "1"})
	s := v.writes.newScratch(inPlace, v.tree.root, "config", v.tree.newID())
	s.base, s.rewriting, s.written = "1", true, true
	s.content = []byte("half")
	looks := []struct {
		users users
		err   error
	}{
		{users{}, errors.New("a process can't be looked into")},
		{users{writers: 1}, nil},
		{users{}, errors.New("a process can't be looked into")},
		{users{readers: 1}, nil},
	}
	v.writes.awaitRest(s, func() (users, error) {
		if got := w.taken(); len(got) != 0 {
			t.Errorf("with %d looks left it publishes %q", len(looks), got)
		}
		look := looks[0]
		looks = looks[1:]
		if len(looks) == 0 {
			s.content = []byte("whole")
		}
		return look.users, look.err
	})
	if got := w.taken(); len(looks) != 0 || !slices.Equal(got, []string{"config=whole"}) {
		t.Errorf("with %d looks left it publishes %q", len(looks), got)
	}
}
