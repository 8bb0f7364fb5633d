package zkconn

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

const opGet = 4

// packet makes a request as the library writes it.
func packet(op uint32) []byte {
	p := make([]byte, 12)
	binary.BigEndian.PutUint32(p, 8)
	binary.BigEndian.PutUint32(p[8:], op)
	return p
}

// pipeWire returns a wire and its server's end, which reads everything.
func pipeWire(t *testing.T, watching bool) (w *wire, server net.Conn) {
	t.Helper()
	client, server := net.Pipe()
	w, err := newWire(client, time.Second, watching)
	if err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = io.Copy(io.Discard, server) }()
	t.Cleanup(func() { _ = w.Close(); _ = server.Close() })
	return w, server
}

// shake does the handshake: a connect response of 8 bytes.
func shake(t *testing.T, w *wire, server net.Conn) {
	t.Helper()
	write(t, w, packet(opGet)) // the connect request has no opcode: never mind what stands there
	go func() { _, _ = server.Write([]byte{0, 0, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8}) }()
	for _, size := range []int{4, 8} {
		if _, err := io.ReadFull(w, make([]byte, size)); err != nil {
			t.Fatal(err)
		}
	}
}

func write(t *testing.T, w *wire, p []byte) {
	t.Helper()
	if n, err := w.Write(p); n != len(p) || err != nil {
		t.Fatalf("wrote %d bytes, %v", n, err)
	}
}

func TestAnswersWait(t *testing.T) {
	releases := map[string]uint32{
		"until the watches are set":       opSetWatches,
		"until there turn out to be none": opPing,
		"until the connection is closed":  0,
	}
	for name, op := range releases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, server := pipeWire(t, true)
				shake(t, w, server)
				write(t, w, packet(opSetAuth)) // its answer is waited for
				go func() { _, _ = server.Write([]byte("auth")) }()
				if _, err := io.ReadFull(w, make([]byte, 4)); err != nil {
					t.Fatal(err)
				}

				write(t, w, packet(opGet))
				write(t, w, packet(opSetAuth))
				answered := make(chan struct{})
				go func() { _, _ = server.Write([]byte("data")) }()
				go func() {
					defer close(answered)
					_, _ = io.ReadFull(w, make([]byte, 4))
				}()
				synctest.Wait()
				select {
				case <-answered:
					t.Fatal("the answer didn't wait")
				default:
				}
				if op == 0 {
					_ = w.Close()
				} else {
					write(t, w, packet(op))
				}
				<-answered

				// It is over now.
				w.hold()
				if w.heldUntil != nil {
					t.Error("answers wait a second time")
				}
			})
		})
	}
}

func TestAnswersDoNotWaitWithoutWatches(t *testing.T) {
	w, server := pipeWire(t, false)
	shake(t, w, server)
	write(t, w, packet(opGet))
	go func() { _, _ = server.Write([]byte("data")) }()
	if _, err := io.ReadFull(w, make([]byte, 4)); err != nil {
		t.Fatal(err)
	}
}

func TestHandshakeDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, server := pipeWire(t, false)
		write(t, w, packet(0))
		// The library allows for a minute; a silent server gets a second.
		if err := w.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if _, err := w.Read(make([]byte, 4)); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(began) != time.Second {
			t.Fatalf("%v after %v", err, time.Since(began))
		}
		_ = server.Close()

		w, server = pipeWire(t, false)
		shake(t, w, server)
		// After the handshake there is no deadline but the library's.
		time.AfterFunc(time.Hour, func() { _, _ = server.Write([]byte("late")) })
		if _, err := io.ReadFull(w, make([]byte, 4)); err != nil {
			t.Fatal(err)
		}
		if err := w.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		began = time.Now()
		if _, err := w.Read(make([]byte, 4)); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(began) != time.Minute {
			t.Fatalf("%v after %v", err, time.Since(began))
		}
	})
}

// The library deadlocks when it can't write the credentials again.
func TestFailedCredentialsCloseTheConnection(t *testing.T) {
	w, server := pipeWire(t, false)
	shake(t, w, server)
	_ = server.Close()
	write(t, w, packet(opSetAuth))
	if _, err := w.Read(make([]byte, 4)); err == nil {
		t.Fatal("the connection is still open")
	}
	if _, err := w.Write(packet(opGet)); err == nil {
		t.Fatal("another request was written")
	}
}
