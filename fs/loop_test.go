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
	m := v.face.Load().mount
	m.closing.Store(true) // the volume is not to care
	m.conn.stop()
	// Requests wait for somebody to answer.
	read := make(chan string)
	go func() {
		content, err := os.ReadFile(filepath.Join(v.cfg.Dir, "y"))
		if err != nil {
			content = []byte(err.Error())
		}
		read <- string(content)
	}()

	check(t, unix.SetNonblock(m.conn.dev, false))
	next := newConnection(m.conn.dev, newFace(v.tree, v.perm), testLogger(t))
	out := make([]byte, bufferSize)
	if n, st := next.server.HandleRequest([][]byte{m.conn.initRequest}, [][]byte{out}); !st.Ok() || n == 0 {
		t.Fatalf("replaying INIT: %v", st)
	}
	put(v.tree, v.tree.root, "y", entry("after"))
	check(t, next.start())
	if got := <-read; got != "after" {
		t.Errorf("read %q", got)
	}
	wantFile(t, v, "x", "x")
	next.stop()
}

func TestConnectionCounts(t *testing.T) {
	c := newConnection(-1, newFace(newTree(nil), permissions{}), testLogger(t))
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
