package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/apache/thrift/lib/go/thrift"

	"github.com/kingpinfs/kingpin/examples/thrift/gen/users"
)

// server serves until ctx is done.
func server(ctx context.Context, listen string, out io.Writer) error {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", listen)
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	// The library knows which connections come from a listener of its own alone.
	socket := thrift.NewTServerSocketFromFactoryTimeout(
		func(net.Addr) (net.Listener, error) { return listener, nil }, listener.Addr(), time.Minute)
	config := &thrift.TConfiguration{}
	s := thrift.NewTSimpleServer4(
		users.NewUsersProcessor(&store{names: make(map[int64]string)}), socket,
		thrift.NewTFramedTransportFactoryConf(thrift.NewTTransportFactory(), config),
		thrift.NewTBinaryProtocolFactoryConf(config))
	// Clients that pool their connections don't go by themselves.
	thrift.ServerStopTimeout = time.Second
	stopped := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() { stopped <- s.Stop() })
	fmt.Fprintf(out, "listening on %s\n", listener.Addr())
	if err := s.Serve(); err != nil {
		stop()
		return fmt.Errorf("serving: %w", err)
	}
	return <-stopped
}

// store keeps users in memory. It implements users.Users.
type store struct {
	mu     sync.Mutex // guards the rest
	names  map[int64]string
	visits int64
}

var _ users.Users = (*store)(nil)

func (s *store) Get(_ context.Context, id int64) (*users.User, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name, ok := s.names[id]
	if !ok {
		return nil, &users.NotFound{ID: id}
	}
	return &users.User{ID: id, Name: name}, nil
}

func (s *store) Create(_ context.Context, name string) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := int64(len(s.names) + 1)
	s.names[id] = name
	return id, nil
}

func (s *store) Visited(context.Context, int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.visits++
	return nil
}
