package register

import (
	"context"
	"fmt"
	"strings"

	"github.com/kingpinfs/kingpin/store"
)

// Check finds out whether a service works. A registration makes its checks at
// the same time, but each by one goroutine at a time. A Check belongs to one
// registration.
type Check interface {
	// Check returns nil if the service that is registered as endpoint
	// (host:port) works. It returns when ctx is done at the latest.
	Check(ctx context.Context, endpoint string) error
	// String names the check in logs and metrics.
	fmt.Stringer
}

// Func makes a check of a function, which should return when ctx is done. While a
// call of it hangs, the check fails, and the function isn't called again. Run waits
// for such a call a second longer than for everything else, and then returns
// without it.
func Func(name string, check func(ctx context.Context, endpoint string) error) Check {
	return &funcCheck{name: name, check: check, running: make(chan struct{}, 1)}
}

type funcCheck struct {
	name    string
	check   func(ctx context.Context, endpoint string) error
	running chan struct{} // one slot, which is taken while the function runs
}

func (f *funcCheck) String() string { return f.name }

// Check runs the function in a goroutine, because nothing makes sure that it ends.
func (f *funcCheck) Check(ctx context.Context, endpoint string) error {
	select {
	case f.running <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("%w: the check before is still running", context.Cause(ctx))
	}
	result := make(chan error, 1)
	go func() { // await waits for it
		defer func() { <-f.running }()
		result <- f.check(ctx, endpoint)
	}()
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// await waits until the function doesn't run any more, or ctx is done.
func (f *funcCheck) await(ctx context.Context) {
	select {
	case f.running <- struct{}{}:
		<-f.running
	case <-ctx.Done():
	}
}

// ParseCheck makes a check of its text:
//
//	tcp                 a connection to the registered endpoint is accepted
//	tcp:PORT            the same, of another port of its host
//	tcp:HOST:PORT       the same, of anything
//	http:///PATH        GET is answered with a 2xx; HOST and PORT, where they are
//	http://HOST/PATH    left out, are those of the registered endpoint
//	http://HOST:PORT/PATH
//	thrift:METHOD       a call of METHOD, which takes no arguments, is answered,
//	                    and by no exception; METHOD may be followed by one or more
//	                    of ",framed", ",buffered" and ",compact"
//	exec:COMMAND        a command ends with exit code 0. It is split into words as a
//	                    shell would, and run without one
//
// Errors are Invalid.
func ParseCheck(text string) (Check, error) {
	kind, rest, found := strings.Cut(text, ":")
	var check Check
	var err error
	switch {
	case text == "tcp":
		check = TCP("")
	case kind == "tcp" && found:
		check, err = parseTCP(rest)
	case kind == "http" && found:
		check, err = parseHTTP(text)
	case kind == "thrift" && found:
		check, err = parseThrift(rest)
	case kind == "exec" && found:
		check, err = parseExec(rest)
	default:
		err = fmt.Errorf("want tcp, http://…, thrift:METHOD or exec:COMMAND")
	}
	if err != nil {
		return nil, &store.Error{Op: "parsing the check", Subject: text, Kind: store.Invalid, Err: err}
	}
	return check, nil
}
