package fs

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// The serving of a mount can be stopped and taken up by another connection that
// has the descriptor and the INIT request: the mount stays all the while.
func TestConnectionCanBeTakenOver(t *testing.T) {
	v := mountVolume(t, Config{})
	publish(t, v, "x", entry("x"))
	wantFile(t, v, "x", "x")
	conn := v.face.Load().conn
	v.closing.Store(true) // the volume is not to care
	conn.stop()
	// Requests wait for somebody to answer.
	read := make(chan string)
	go func() {
		content, err := os.ReadFile(filepath.Join(v.cfg.Dir, "y"))
		if err != nil {
			content = []byte(err.Error())
		}
		read <- string(content)
	}()
	await(t, "the request", func() bool { return hasRequest(t, conn.dev) })
	next := newConnection(conn.dev, conn.initRequest, newFace(v.tree, v.perm, v.waker), testLogger(t))
	put(t, v.tree, v.tree.root, "y", entry("after"))
	check(t, next.takeOver())
	if got := <-read; got != "after" {
		t.Errorf("read %q", got)
	}
	wantFile(t, v, "x", "x")
	next.stop()
}

// hasRequest reports whether a request waits to be read.
func hasRequest(t *testing.T, dev int) bool {
	t.Helper()
	fds := []unix.PollFd{{Fd: int32(dev), Events: unix.POLLIN}}
	_, err := unix.Poll(fds, 0)
	return err == nil && fds[0].Revents&unix.POLLIN != 0
}

func TestConnectionCounts(t *testing.T) {
	c := newConnection(-1, nil, newFace(newTestTree(t), permissions{}, newWaker(New(Config{}))), testLogger(t))
	forget := make([]byte, requestHeader+8)
	binary.NativeEndian.PutUint32(forget, uint32(len(forget)))
	binary.NativeEndian.PutUint32(forget[4:], 2)
	check(t, c.answer(forget, nil))
	check(t, c.answer(forget, nil))
	if got := c.counts(); len(got) != 1 || got["FORGET"] != 2 {
		t.Errorf("counted %v", got)
	}
	wantErr(t, c.answer(forget[:10], nil), nil, "10 bytes")
	if got := opName(61); got != "OPERATION_61" {
		t.Errorf("an unknown operation is %q", got)
	}
}
