package serverset

import (
	"context"
	"iter"
	"slices"
	"sync"
)

// Static is a Provider of endpoints that the program gives it. They change only
// by Set. It needs no closing: a Watch lasts as long as its context.
type Static struct {
	mu    sync.Mutex // orders the calls of Set
	lists *board[[]string]
}

var _ Provider = (*Static)(nil)

// NewStatic returns a provider of some endpoints, in any order. The error names
// the first that isn't one, see CheckEndpoint.
func NewStatic(endpoints ...string) (*Static, error) {
	list, err := checked(endpoints)
	if err != nil {
		return nil, err
	}
	return &Static{lists: newBoard(list)}, nil
}

// Endpoints implements Provider.
func (s *Static) Endpoints() []string { return s.lists.load() }

// Watch implements Provider.
func (s *Static) Watch(ctx context.Context) iter.Seq[[]string] { return s.lists.watch(ctx) }

// Set replaces the endpoints, for programs that learn them from elsewhere. If it
// fails, which it does as NewStatic, nothing has changed.
func (s *Static) Set(endpoints ...string) error {
	list, err := checked(endpoints)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Equal(list, s.lists.load()) {
		s.lists.post(list)
	}
	return nil
}

// checked returns a sorted copy without duplicates.
func checked(endpoints []string) ([]string, error) {
	for _, endpoint := range endpoints {
		if err := CheckEndpoint(endpoint); err != nil {
			return nil, err
		}
	}
	return copyOf(endpoints), nil
}
