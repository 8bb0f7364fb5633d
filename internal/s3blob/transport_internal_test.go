package s3blob

import (
	"errors"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

const testLimit = 30 * time.Second

// TestIdleConnRead has the other end say nothing, then something, then nothing.
func TestIdleConnRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		defer func() { _, _ = ours.Close(), theirs.Close() }()
		conn := &idleConn{Conn: ours, limit: testLimit}
		go func() {
			for range 3 { // progress, if slow
				<-time.After(testLimit - time.Second)
				_, _ = theirs.Write([]byte("x"))
			}
		}()
		start := time.Now()
		buf := make([]byte, 1)
		for range 3 {
			if _, err := conn.Read(buf); err != nil {
				t.Fatal(err)
			}
		}
		_, err := conn.Read(buf)
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("Read returned %v, want a deadline", err)
		}
		if got, want := time.Since(start), 3*(testLimit-time.Second)+testLimit; got != want {
			t.Errorf("Read gave up after %v, want %v", got, want)
		}
	})
}

// TestIdleConnWrite has a read wait, as net/http's do on an unused connection,
// when a request is written: the answer has the whole limit again.
func TestIdleConnWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		defer func() { _, _ = ours.Close(), theirs.Close() }()
		conn := &idleConn{Conn: ours, limit: testLimit}
		read := make(chan error)
		go func() {
			_, err := conn.Read(make([]byte, 1))
			read <- err
		}()
		go func() { _, _ = theirs.Read(make([]byte, 1)) }()
		<-time.After(testLimit - time.Second)
		start := time.Now()
		if _, err := conn.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if err := <-read; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("Read returned %v, want a deadline", err)
		}
		if got := time.Since(start); got != testLimit {
			t.Errorf("Read gave up %v after the write, want %v", got, testLimit)
		}
		// Now nobody takes what is written.
		start = time.Now()
		_, err := conn.Write([]byte("y"))
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("Write returned %v, want a deadline", err)
		}
		if got := time.Since(start); got != testLimit {
			t.Errorf("Write gave up after %v, want %v", got, testLimit)
		}
	})
}
