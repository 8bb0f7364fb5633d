package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"

	"github.com/apache/thrift/lib/go/thrift"
	"github.com/kingpinfs/kingpin/internal/ledger"
)

// serveCommand is the argument with which this program is the server.
const serveCommand = "serve"

// echo is the service, as far as it is called.
type echo struct{ ledger.Ledger }

func (echo) Echo(_ context.Context, text string) (string, error) { return text, nil }

// serve is a Thrift server of the library's, with a port for each transport. It
// prints the addresses, and serves until its standard input ends.
func serve(stdin io.Reader, stdout io.Writer) error {
	// The generated code would start a goroutine for each call, to see whether the
	// client is still there. Clients aren't measured by what a server costs.
	thrift.ServerConnectivityCheckInterval = 0
	addresses := make(map[string]string)
	failed := make(chan error, len(transportNames))
	for _, transport := range transportNames {
		socket, err := thrift.NewTServerSocket("127.0.0.1:0")
		if err != nil {
			return err
		}
		if err := socket.Listen(); err != nil {
			return err
		}
		addresses[transport] = socket.Addr().String()
		server := thrift.NewTSimpleServer4(ledger.NewLedgerProcessor(echo{}), socket, thrift.NewTTransportFactory(), protocolOver(transport))
		go func() { failed <- server.Serve() }()
	}
	if err := json.NewEncoder(stdout).Encode(addresses); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = io.Copy(io.Discard, stdin) // however it ends
	}()
	select {
	case err := <-failed:
		return err
	case <-ended:
		return nil
	}
}

// server is the process that serves.
type server struct {
	addresses map[string]string // by transport
	cmd       *exec.Cmd
	stdin     io.Closer
}

// startServer runs this program again as the server.
func startServer(ctx context.Context) (*server, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	s := &server{cmd: exec.CommandContext(ctx, self, serveCommand)}
	s.cmd.Stderr = os.Stderr
	if s.stdin, err = s.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	if err := json.NewDecoder(stdout).Decode(&s.addresses); err != nil {
		return nil, fmt.Errorf("reading its addresses: %w, and it ended: %w", err, s.stop())
	}
	return s, nil
}

// stop ends the server and waits for it.
func (s *server) stop() error {
	_ = s.stdin.Close() // it can only be closed already
	return s.cmd.Wait()
}
