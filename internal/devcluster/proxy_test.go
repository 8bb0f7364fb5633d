package devcluster

import (
	"bufio"
	"errors"
	"net"
	"os"
	"testing"
	"time"
)

// echoServer answers each line with itself.
func echoServer(t *testing.T) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = conn.Close() }()
				for r := bufio.NewReader(conn); ; {
					line, err := r.ReadBytes('\n')
					if err != nil {
						return
					}
					if _, err := conn.Write(line); err != nil {
						return
					}
				}
			}()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return l.Addr().String()
}

func startProxy(t *testing.T) *Proxy {
	t.Helper()
	p, err := StartProxy(echoServer(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func dialProxy(t *testing.T, p *Proxy) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// say sends a line and returns the error of reading it back within limit.
func say(t *testing.T, conn net.Conn, line string, limit time.Duration) error {
	t.Helper()
	if line != "" {
		if _, err := conn.Write([]byte(line + "\n")); err != nil {
			return err
		}
	}
	if err := conn.SetReadDeadline(time.Now().Add(limit)); err != nil {
		t.Fatal(err)
	}
	_, err := bufio.NewReader(conn).ReadString('\n')
	return err
}

func TestProxyCutAndRestore(t *testing.T) {
	p := startProxy(t)
	conn := dialProxy(t, p)
	if err := say(t, conn, "hello", time.Minute); err != nil {
		t.Fatal(err)
	}
	p.Cut()
	if err := say(t, conn, "hello", time.Minute); err == nil {
		t.Fatal("a cut connection answers")
	}
	if conn, err := net.Dial("tcp", p.Addr()); err == nil {
		_ = conn.Close()
		t.Fatal("a cut proxy accepts connections")
	}
	if err := p.Restore(); err != nil {
		t.Fatal(err)
	}
	if err := say(t, dialProxy(t, p), "hello", time.Minute); err != nil {
		t.Fatal(err)
	}
	p.Close()
	if err := p.Restore(); err == nil {
		t.Fatal("a closed proxy was restored")
	}
}

func TestProxyBreak(t *testing.T) {
	p := startProxy(t)
	conn := dialProxy(t, p)
	if err := say(t, conn, "hello", time.Minute); err != nil {
		t.Fatal(err)
	}
	p.Break()
	if err := say(t, conn, "hello", time.Minute); err == nil {
		t.Fatal("a broken connection answers")
	}
	if err := say(t, dialProxy(t, p), "hello", time.Minute); err != nil {
		t.Fatal(err)
	}
}

func TestProxyStall(t *testing.T) {
	p := startProxy(t)
	conn := dialProxy(t, p)
	if err := say(t, conn, "hello", time.Minute); err != nil {
		t.Fatal(err)
	}
	p.Stall()
	if err := say(t, conn, "late", 50*time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("a stalled connection: %v", err)
	}
	fresh := dialProxy(t, p)
	if err := say(t, fresh, "late", 50*time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("a new connection through a stalled proxy: %v", err)
	}
	if err := p.Restore(); err != nil {
		t.Fatal(err)
	}
	for _, conn := range []net.Conn{conn, fresh} {
		if err := say(t, conn, "", time.Minute); err != nil { // what was held back
			t.Fatal(err)
		}
	}
}

func TestProxyDelay(t *testing.T) {
	p := startProxy(t)
	conn := dialProxy(t, p)
	const delay = 30 * time.Millisecond
	p.SetDelay(delay)
	began := time.Now()
	if err := say(t, conn, "hello", time.Minute); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < 2*delay {
		t.Fatalf("there and back took %v with a delay of %v each way", took, delay)
	}
}
