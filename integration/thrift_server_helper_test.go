package integration

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/apache/thrift/lib/go/thrift"

	"github.com/kingpinfs/kingpin/internal/ledger"
)

// thriftServerHelper is a Thrift server: helper arguments ADDRESS FILE. It appends
// the ids of calls that it executes to the file, and says "serving, pid N" once it
// can be called. At SIGTERM it ends when its clients have gone.
const thriftServerHelper = "thrift-server"

func init() { helpers[thriftServerHelper] = serveLedger }

// ledgerServer is the service.
type ledgerServer struct{ file *os.File }

// workAWhile is what the service does beside: a few milliseconds, so that calls are
// under way when something happens to the server.
func workAWhile() { <-time.After(rand.N(4 * time.Millisecond)) }

func (s *ledgerServer) Echo(_ context.Context, text string) (string, error) {
	workAWhile()
	return text, nil
}

// Record notes the id first: one who is killed then has executed the call, and
// nobody was told.
func (s *ledgerServer) Record(_ context.Context, id string) (string, error) {
	if _, err := s.file.WriteString(id + "\n"); err != nil {
		return "", err
	}
	workAWhile()
	return id, nil
}

func serveLedger(args []string) int {
	if err := listenAndServe(args[0], args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func listenAndServe(address, path string) error {
	file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer file.Close()
	socket, err := thrift.NewTServerSocket(address)
	if err != nil {
		return err
	}
	if err := socket.Listen(); err != nil {
		return err
	}
	server := thrift.NewTSimpleServer4(ledger.NewLedgerProcessor(&ledgerServer{file}), socket,
		thrift.NewTFramedTransportFactoryConf(thrift.NewTTransportFactory(), nil), thrift.NewTBinaryProtocolFactoryConf(nil))
	ended := make(chan error, 1)
	go func() { ended <- server.Serve() }()
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM)
	fmt.Fprintf(os.Stderr, "serving, pid %d\n", os.Getpid())
	select {
	case err := <-ended:
		return err
	case <-signals:
		return server.Stop()
	}
}
