package register_test

import (
	"bufio"
	"context"
	"errors"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/apache/thrift/lib/go/thrift"
)

// service is a Thrift processor, as generated code would make one: ping returns
// nothing, status a number, broken throws what it declares.
type service struct{ end chan struct{} } // closed when hang is to end

func (s service) Process(ctx context.Context, in, out thrift.TProtocol) (bool, thrift.TException) {
	name, _, id, err := in.ReadMessageBegin(ctx)
	if err != nil {
		return false, thrift.WrapTException(err)
	}
	err = errors.Join(in.Skip(ctx, thrift.STRUCT), in.ReadMessageEnd(ctx))
	switch name {
	case "ping":
		err = errors.Join(err, reply(ctx, out, name, id, nil))
	case "status":
		err = errors.Join(err, reply(ctx, out, name, id, func() error {
			return errors.Join(out.WriteFieldBegin(ctx, "success", thrift.I32, 0), out.WriteI32(ctx, 7), out.WriteFieldEnd(ctx))
		}))
	case "broken":
		err = errors.Join(err, reply(ctx, out, name, id, func() error {
			return errors.Join(out.WriteFieldBegin(ctx, "e", thrift.STRUCT, 1), out.WriteStructBegin(ctx, "E"),
				out.WriteFieldStop(ctx), out.WriteStructEnd(ctx), out.WriteFieldEnd(ctx))
		}))
	case "hang":
		<-s.end
		return false, nil
	default:
		exception := thrift.NewTApplicationException(thrift.UNKNOWN_METHOD, "Unknown function "+name)
		err = errors.Join(err, out.WriteMessageBegin(ctx, name, thrift.EXCEPTION, id), exception.Write(ctx, out), out.WriteMessageEnd(ctx), out.Flush(ctx))
	}
	return err == nil, thrift.WrapTException(err)
}

func reply(ctx context.Context, out thrift.TProtocol, name string, id int32, field func() error) error {
	err := errors.Join(out.WriteMessageBegin(ctx, name, thrift.REPLY, id), out.WriteStructBegin(ctx, "result"))
	if field != nil {
		err = errors.Join(err, field())
	}
	return errors.Join(err, out.WriteFieldStop(ctx), out.WriteStructEnd(ctx), out.WriteMessageEnd(ctx), out.Flush(ctx))
}

func (service) ProcessorMap() map[string]thrift.TProcessorFunction  { return nil }
func (service) AddToProcessorMap(string, thrift.TProcessorFunction) {}

// serveThrift starts a server and returns its address.
func serveThrift(t *testing.T, transport thrift.TTransportFactory, protocol thrift.TProtocolFactory) string {
	t.Helper()
	socket, err := thrift.NewTServerSocket("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := socket.Listen(); err != nil {
		t.Fatal(err)
	}
	processor := service{make(chan struct{})}
	server := thrift.NewTSimpleServer4(processor, socket, transport, protocol)
	done := make(chan error)
	go func() { done <- server.Serve() }()
	t.Cleanup(func() {
		close(processor.end)
		if err := errors.Join(server.Stop(), <-done); err != nil {
			t.Error(err)
		}
	})
	return socket.Addr().String()
}

func TestThriftInGo(t *testing.T) {
	plain := thrift.NewTBufferedTransportFactory(4096)
	frames := thrift.NewTFramedTransportFactoryConf(thrift.NewTTransportFactory(), nil)
	binary, compact := thrift.NewTBinaryProtocolFactoryConf(nil), thrift.NewTCompactProtocolFactoryConf(nil)
	for _, test := range []struct {
		suffixes  string
		wrong     string
		transport thrift.TTransportFactory
		protocol  thrift.TProtocolFactory
	}{
		{",buffered", ",framed", plain, binary},
		{",framed", ",buffered", frames, binary},
		{",buffered,compact", ",framed,compact", plain, compact},
		{",framed,compact", ",buffered,compact", frames, compact},
	} {
		t.Run(test.suffixes, func(t *testing.T) {
			addr := serveThrift(t, test.transport, test.protocol)
			detected := strings.NewReplacer(",buffered", "", ",framed", "").Replace(test.suffixes)
			for _, suffixes := range []string{test.suffixes, detected} {
				passes(t, "thrift:ping"+suffixes, addr)
				passes(t, "thrift:status"+suffixes, addr)
				fails(t, "thrift:broken"+suffixes, addr, "throws an exception that it declares (number 1)")
				fails(t, "thrift:nothing"+suffixes, addr, "is answered by an exception: Unknown function nothing")
			}
			// What worked once is what is spoken, and not for longer than it works.
			check := parse(t, "thrift:ping"+detected)
			for range 3 {
				if err := check.Check(within(t, patience), addr); err != nil {
					t.Errorf("again: %v", err)
				}
			}
			closed := refusing(t)
			if err := check.Check(within(t, patience), closed); err == nil || !strings.Contains(err.Error(), "connection refused") {
				t.Errorf("where nobody listens: %v", err)
			}
			if err := check.Check(within(t, patience), addr); err != nil {
				t.Errorf("after that: %v", err)
			}
			for _, text := range []string{"thrift:hang" + test.suffixes, "thrift:ping" + test.wrong} {
				if err := parse(t, text).Check(within(t, 100*time.Millisecond), addr); err == nil {
					t.Errorf("%s passes", text)
				}
			}
		})
	}
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// Answers that aren't Thrift's.
func TestThriftFromStrangers(t *testing.T) {
	for name, answer := range map[string]string{
		"nothing": "", "http": "HTTP/1.1 400 Bad Request\r\n\r\n", "zeros": strings.Repeat("\x00", 64),
		"a huge frame": "\x7f\xff\xff\xff", "a huge string": "\x80\x01\x00\x02\x7f\xff\xff\xff",
		"another's answer": "\x80\x01\x00\x02\x00\x00\x00\x04ping\x00\x00\x00\x63\x00",
		"half an answer":   "\x80\x01\x00\x02\x00\x00\x00\x04ping\x00\x00\x00\x01",
	} {
		addr := listen(t, func(conn net.Conn) {
			_, _ = conn.Read(make([]byte, 4096))
			_, _ = conn.Write([]byte(answer))
		})
		if err := run(t, "thrift:ping", addr); err == nil {
			t.Errorf("%s passes", name)
		}
	}
}

// pythonServer is the same service by Debian's python3-thrift.
const pythonServer = `
import sys
from thrift.Thrift import TApplicationException, TMessageType, TType, TProcessor
from thrift.protocol import TBinaryProtocol, TCompactProtocol
from thrift.server import TServer, TNonblockingServer
from thrift.transport import TSocket, TTransport

class Processor(TProcessor):
    def process(self, iprot, oprot):
        name, kind, seqid = iprot.readMessageBegin()
        iprot.skip(TType.STRUCT)
        iprot.readMessageEnd()
        if name not in ("ping", "broken"):
            oprot.writeMessageBegin(name, TMessageType.EXCEPTION, seqid)
            TApplicationException(TApplicationException.UNKNOWN_METHOD, "Unknown function " + name).write(oprot)
        else:
            oprot.writeMessageBegin(name, TMessageType.REPLY, seqid)
            oprot.writeStructBegin("result")
            if name == "broken":
                oprot.writeFieldBegin("e", TType.STRUCT, 1)
                oprot.writeStructBegin("E")
                oprot.writeFieldStop()
                oprot.writeStructEnd()
                oprot.writeFieldEnd()
            oprot.writeFieldStop()
            oprot.writeStructEnd()
        oprot.writeMessageEnd()
        oprot.trans.flush()

kind, protocol = sys.argv[1:]
factory = {"binary": TBinaryProtocol.TBinaryProtocolFactory, "compact": TCompactProtocol.TCompactProtocolFactory}[protocol]()
socket = TSocket.TServerSocket(host="127.0.0.1", port=0)
if kind == "nonblocking":
    server = TNonblockingServer.TNonblockingServer(Processor(), socket, inputProtocolFactory=factory)
    server.prepare()
else:
    transport = {"buffered": TTransport.TBufferedTransportFactory, "framed": TTransport.TFramedTransportFactory}[kind]()
    # One connection at a time: whoever says nothing keeps out all others.
    server = TServer.TSimpleServer(Processor(), socket, transport, factory)
    socket.listen()
    socket.listen = lambda: None
print(socket.handle.getsockname()[1], flush=True)
server.serve()
`

func TestThriftInPython(t *testing.T) {
	for _, kind := range []string{"buffered", "framed", "nonblocking"} {
		for _, protocol := range []string{"binary", "compact"} {
			t.Run(kind+" "+protocol, func(t *testing.T) {
				addr := startPython(t, kind, protocol)
				suffix := map[string]string{"binary": "", "compact": ",compact"}[protocol]
				passes(t, "thrift:ping"+suffix, addr)
				fails(t, "thrift:broken"+suffix, addr, "throws an exception that it declares (number 1)")
				fails(t, "thrift:nothing"+suffix, addr, "Unknown function nothing")
			})
		}
	}
}

func startPython(t *testing.T, args ...string) (addr string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/usr/bin/python3", append([]string{"-c", pythonServer}, args...)...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v: install Debian's packages python3 and python3-thrift (make deps)", err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(stderr.String())
		}
	})
	port, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		_ = cmd.Wait()
		t.Fatalf("the server ended: install Debian's packages python3 and python3-thrift (make deps)\n%s", stderr.String())
	}
	return net.JoinHostPort("127.0.0.1", strings.TrimSpace(port))
}
