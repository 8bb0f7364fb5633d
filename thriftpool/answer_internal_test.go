package thriftpool

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"testing"
	"time"

	"github.com/apache/thrift/lib/go/thrift"

	"github.com/kingpinfs/kingpin/thriftpool/internal/probe"
)

// canned is a connection whose answer is known.
type canned struct {
	net.Conn
	answer bytes.Reader
}

func (c *canned) Read(p []byte) (int, error)  { return c.answer.Read(p) }
func (c *canned) Write(p []byte) (int, error) { return len(p), nil }
func (c *canned) Close() error                { return nil }

// answerOf returns what a server answers to the first call of a connection.
func answerOf(t testing.TB, transport Transport, protocol Protocol) []byte {
	t.Helper()
	options, err := Options{Transport: transport, Protocol: protocol}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	memory := &recorder{}
	c := newConn(memory, memory, &options)
	c.begin(false)
	tree := &probe.Tree{Name: "root", Children: []*probe.Tree{{Name: "leaf", Children: []*probe.Tree{}}}}
	result := &probe.ProbeMirrorResult{Success: tree}
	ctx := context.Background()
	for _, err := range []error{
		c.protocol.WriteMessageBegin(ctx, "mirror", thrift.REPLY, 1),
		result.Write(ctx, c.protocol),
		c.protocol.WriteMessageEnd(ctx),
		c.protocol.Flush(ctx),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return memory.sent.Bytes()
}

// recorder is a connection that keeps what is sent.
type recorder struct {
	net.Conn
	sent bytes.Buffer
}

func (r *recorder) Write(p []byte) (int, error) { return r.sent.Write(p) }

// FuzzAnswer has servers answer anything. The call must end, without a panic and
// within its limits; and the connection is used again only if nothing of the
// answer is left.
func FuzzAnswer(f *testing.F) {
	for transport := range Header + 1 {
		for protocol := range Compact + 1 {
			answer := answerOf(f, transport, protocol)
			f.Add(uint8(transport), uint8(protocol), answer)
			f.Add(uint8(transport), uint8(protocol), answer[:len(answer)-1])
			f.Add(uint8(transport), uint8(protocol), append(answer, 0))
			f.Add(uint8(transport), uint8(protocol), append(answer, answer...))
		}
	}
	f.Add(uint8(Framed), uint8(Binary), binary.BigEndian.AppendUint32(nil, 1<<20))
	f.Add(uint8(Framed), uint8(Binary), []byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
	f.Add(uint8(Framed), uint8(Binary), make([]byte, 100))
	f.Fuzz(func(t *testing.T, transport, protocol uint8, answer []byte) {
		options, err := Options{
			Transport: Transport(transport % 3), Protocol: Protocol(protocol % 2),
			MaxFrameSize: 1 << 16, MaxMessageSize: 1 << 17,
		}.withDefaults()
		if err != nil {
			t.Fatal(err)
		}
		peer := &canned{}
		peer.answer.Reset(answer)
		c := newConn(peer, peer, &options)
		c.expires = time.Now().Add(time.Hour)
		result := &probe.ProbeMirrorResult{}
		_, fault := c.exchange(context.Background(), &message{
			method: "mirror", name: "mirror", args: &probe.ProbeMirrorArgs{Tree: &probe.Tree{}}, result: result,
		})
		if fault == nil && c.usable(time.Now(), 0) && peer.answer.Len() != 0 {
			t.Errorf("%d bytes of the answer are left, and the connection is to be used again", peer.answer.Len())
		}
		if fault != nil && fault.err == nil {
			t.Errorf("the fault is %+v", fault)
		}
		if read := len(answer) - peer.answer.Len(); read > 1<<17+inBuffer {
			t.Errorf("it read %d bytes", read)
		}
	})
}

// TestAnswerOf sees that the seeds of the fuzz test are answers.
func TestAnswerOf(t *testing.T) {
	for transport := range Header + 1 {
		for protocol := range Compact + 1 {
			options, err := Options{Transport: transport, Protocol: protocol}.withDefaults()
			if err != nil {
				t.Fatal(err)
			}
			for _, chunk := range []int{1, 7, 1 << 20} {
				peer := &chunked{left: answerOf(t, transport, protocol), size: chunk}
				c := newConn(peer, peer, &options)
				c.expires = time.Now().Add(time.Hour)
				result := &probe.ProbeMirrorResult{}
				_, fault := c.exchange(context.Background(), &message{
					method: "mirror", name: "mirror", args: &probe.ProbeMirrorArgs{Tree: &probe.Tree{}}, result: result,
				})
				if fault != nil || result.Success.GetName() != "root" || !c.usable(time.Now(), 0) {
					t.Errorf("transport %d, protocol %d, in pieces of %d: %+v, %v", transport, protocol, chunk, fault, result)
				}
			}
		}
	}
}

// chunked is a connection whose answer comes in pieces.
type chunked struct {
	net.Conn
	left []byte
	size int
}

func (c *chunked) Read(p []byte) (int, error) {
	if len(c.left) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), c.size)], c.left)
	c.left = c.left[n:]
	return n, nil
}

func (c *chunked) Write(p []byte) (int, error) { return len(p), nil }
