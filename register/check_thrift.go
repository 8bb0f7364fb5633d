package register

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/apache/thrift/lib/go/thrift"
)

// maxThriftAnswer bounds the answer to a call.
const maxThriftAnswer = 4 << 20

// framing is what stands around Thrift's messages.
type framing string

const (
	buffered framing = "buffered" // nothing
	framed   framing = "framed"   // their length before them
)

// ThriftOptions say how a service speaks Thrift.
type ThriftOptions struct {
	// Framed and Buffered say which transport it speaks; neither, or both: what
	// it understands.
	Framed, Buffered bool
	// Compact says that it speaks the compact protocol, and not the binary one.
	Compact bool
}

// Thrift makes a check that calls a method without arguments at the registered
// endpoint. Any answer but an exception will do, declared ones included.
func Thrift(method string, options ThriftOptions) Check {
	c := &thriftCheck{text: "thrift:" + method, method: method, compact: options.Compact}
	for _, f := range []struct {
		is      bool
		framing framing
	}{{options.Buffered, buffered}, {options.Framed, framed}} {
		if f.is {
			c.text += "," + string(f.framing)
			c.framings = append(c.framings, f.framing)
		}
	}
	if len(c.framings) == 0 {
		// Who wants frames hangs up at once on a message without one, which has an
		// impossible length. The reverse would wait for more.
		c.framings = []framing{buffered, framed}
	}
	if c.compact {
		c.text += ",compact"
	}
	return c
}

type thriftCheck struct {
	text     string
	method   string
	compact  bool
	framings []framing // the ones to try
	proven   framing   // the one that worked last time; "" if the last check failed
}

// parseThrift parses what follows "thrift:".
func parseThrift(text string) (Check, error) {
	method, suffixes, _ := strings.Cut(text, ",")
	if method == "" || strings.ContainsFunc(method, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return nil, errors.New("want the name of a method, as thrift:ping")
	}
	var options ThriftOptions
	for suffix := range strings.SplitSeq(suffixes, ",") {
		switch suffix {
		case "":
		case "framed":
			options.Framed = true
		case "buffered":
			options.Buffered = true
		case "compact":
			options.Compact = true
		default:
			return nil, fmt.Errorf("after the method may come ,framed ,buffered and ,compact, but not %q", suffix)
		}
	}
	return Thrift(method, options), nil
}

func (c *thriftCheck) String() string { return c.text }

func (c *thriftCheck) Check(ctx context.Context, endpoint string) error {
	if c.proven != "" {
		err := c.call(ctx, endpoint, c.proven)
		if err != nil {
			c.proven = "" // whoever listens there now may speak otherwise
		}
		return err
	}
	var errs []error
	for i, f := range c.framings {
		err := c.callWithin(ctx, endpoint, f, len(c.framings)-i)
		if err == nil {
			c.proven = f
			return nil
		}
		if isDial(err) {
			return err // nobody listens, however one speaks
		}
		if _, answered := errors.AsType[*answerError](err); answered {
			return err
		}
		errs = append(errs, fmt.Errorf("%s: %w", f, err))
	}
	return errors.Join(errs...)
}

func isDial(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "dial"
}

// callWithin calls, and takes its share of what is left of the time.
func (c *thriftCheck) callWithin(ctx context.Context, endpoint string, f framing, shares int) error {
	if deadline, ok := ctx.Deadline(); ok && shares > 1 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(deadline)/time.Duration(shares))
		defer cancel()
	}
	return c.call(ctx, endpoint, f)
}

// answerError is what a service that speaks as we do answered, other than well.
type answerError struct{ text string }

func (e *answerError) Error() string { return e.text }

// call connects and calls the method.
func (c *thriftCheck) call(ctx context.Context, endpoint string, f framing) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", endpoint)
	if err != nil {
		return err
	}
	defer conn.Close()
	// The library sets the connection's deadlines as it pleases.
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	err = c.exchange(ctx, conn, f)
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("no answer to %s: %w", c.method, context.Cause(ctx))
	}
	return err
}

// exchange makes the call on a connection.
func (c *thriftCheck) exchange(ctx context.Context, conn net.Conn, f framing) error {
	config := &thrift.TConfiguration{MaxMessageSize: maxThriftAnswer, MaxFrameSize: maxThriftAnswer}
	var transport thrift.TTransport = thrift.NewTSocketFromConnConf(conn, config)
	if f == framed {
		transport = thrift.NewTFramedTransportConf(transport, config)
	} else {
		transport = thrift.NewTBufferedTransport(transport, 4<<10)
	}
	var protocol thrift.TProtocol = thrift.NewTBinaryProtocolConf(transport, config)
	if c.compact {
		protocol = thrift.NewTCompactProtocolConf(transport, config)
	}
	if err := c.send(ctx, protocol); err != nil {
		return fmt.Errorf("calling %s: %w", c.method, err)
	}
	return c.receive(ctx, protocol)
}

// callID numbers the one call of a connection.
const callID = 1

// send sends the call: an empty structure of arguments.
func (c *thriftCheck) send(ctx context.Context, protocol thrift.TProtocol) error {
	for _, write := range []func() error{
		func() error { return protocol.WriteMessageBegin(ctx, c.method, thrift.CALL, callID) },
		func() error { return protocol.WriteStructBegin(ctx, "args") },
		func() error { return protocol.WriteFieldStop(ctx) },
		func() error { return protocol.WriteStructEnd(ctx) },
		func() error { return protocol.WriteMessageEnd(ctx) },
		func() error { return protocol.Flush(ctx) },
	} {
		if err := write(); err != nil {
			return err
		}
	}
	return nil
}

// receive reads the answer.
func (c *thriftCheck) receive(ctx context.Context, protocol thrift.TProtocol) error {
	name, kind, id, err := protocol.ReadMessageBegin(ctx)
	switch {
	case err != nil:
		return fmt.Errorf("the answer to %s: %w", c.method, err)
	case !slices.Contains([]thrift.TMessageType{thrift.REPLY, thrift.EXCEPTION}, kind) || id != callID:
		return fmt.Errorf("the answer to %s is message %d of type %d about %q", c.method, id, kind, name)
	case kind == thrift.EXCEPTION:
		exception := thrift.NewTApplicationException(thrift.UNKNOWN_APPLICATION_EXCEPTION, "")
		if err := exception.Read(ctx, protocol); err != nil {
			return fmt.Errorf("the exception that answers %s: %w", c.method, err)
		}
		return &answerError{fmt.Sprintf("%s is answered by an exception: %v", c.method, exception)}
	}
	if _, err := protocol.ReadStructBegin(ctx); err != nil {
		return fmt.Errorf("the answer to %s: %w", c.method, err)
	}
	for {
		_, kind, field, err := protocol.ReadFieldBegin(ctx)
		switch {
		case err != nil:
			return fmt.Errorf("the answer to %s: %w", c.method, err)
		case kind == thrift.STOP:
			return nil
		case field != 0: // 0 is the result; the others are what the method declares to throw
			return &answerError{fmt.Sprintf("%s throws an exception that it declares (number %d)", c.method, field)}
		}
		if err := protocol.Skip(ctx, kind); err != nil {
			return fmt.Errorf("the answer to %s: %w", c.method, err)
		}
		if err := protocol.ReadFieldEnd(ctx); err != nil {
			return fmt.Errorf("the answer to %s: %w", c.method, err)
		}
	}
}
