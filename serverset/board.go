package serverset

import (
	"context"
	"iter"
	"sync/atomic"
)

// board shows the newest of the values that are posted, one after the other.
// Reading takes no lock, and who posts never waits for those who read. One
// goroutine at a time may post.
type board[T any] struct {
	newest atomic.Pointer[posting[T]]
	closed chan struct{}
}

// posting is a value until it is replaced.
type posting[T any] struct {
	value    T
	replaced chan struct{} // closed when there is a newer one
}

func newBoard[T any](first T) *board[T] {
	b := &board[T]{closed: make(chan struct{})}
	b.newest.Store(newPosting(first))
	return b
}

func newPosting[T any](value T) *posting[T] {
	return &posting[T]{value: value, replaced: make(chan struct{})}
}

func (b *board[T]) load() T { return b.newest.Load().value }

func (b *board[T]) post(value T) {
	close(b.newest.Swap(newPosting(value)).replaced)
}

// close ends each watch. It may be called once.
func (b *board[T]) close() { close(b.closed) }

// watch yields the newest value, and then each newer one but those that were
// replaced meanwhile, until ctx is done or the board is closed.
func (b *board[T]) watch(ctx context.Context) iter.Seq[T] {
	return func(yield func(T) bool) {
		for {
			current := b.newest.Load()
			if !b.open(ctx) || !yield(current.value) {
				return
			}
			select {
			case <-current.replaced:
			case <-ctx.Done():
				return
			case <-b.closed:
				return
			}
		}
	}
}

// open tells whether a watch may go on.
func (b *board[T]) open(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return false
	case <-b.closed:
		return false
	default:
		return true
	}
}
