package managed

import (
	"context"
	"errors"
	"fmt"
	iofs "io/fs"
	"iter"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kingpinfs/kingpin/internal/follow"
	"github.com/kingpinfs/kingpin/store"
)

// Options may be left zero.
type Options struct {
	// Dir is the directory of this machine's configs; "" means /var/config.
	Dir string
	// Client is what writes go through, and Fetch. Without one they fail.
	Client *Client
	// Poll is how often the file is looked at although nothing seems to have
	// happened, as it is where files can't be watched; 0 means every 30 s,
	// which is what the fleet's Python programs do.
	Poll time.Duration
	// Logger is told what is wrong with the file, when that begins; nil means
	// slog's default.
	Logger *slog.Logger
}

const (
	defaultDir  = "/var/config"
	defaultPoll = 30 * time.Second
)

// Reader is what List, Map, MappedList, JSON and Decider have in common: it keeps
// in memory what this machine's file of a managed value means.
//
// Open starts it and Close ends it. Between them, each content of the file
// replaces the snapshot as soon as it is there. The last good one stays while the
// file is missing or holds something else; Err tells. Until there was a good one
// the snapshot is an empty one.
//
// All methods may be called at any time, concurrently.
type Reader[T any] struct {
	domain, key string
	options     Options
	empty       T
	// decode returns what a content means, given what the last one meant. An
	// error beside ok is of parts that stay as they were.
	decode  func(content []byte, last T) (value T, ok bool, err error)
	current atomic.Pointer[snapshot[T]] // never nil

	mu     sync.Mutex         // guards the rest
	cancel context.CancelFunc // ends the following; nil before Open
	done   chan struct{}      // closed when it has ended
}

// snapshot is what a reader knows at a moment.
type snapshot[T any] struct {
	value    T
	contents uint64        // how many good contents there were so far
	err      error         // why the file isn't what value says
	changed  chan struct{} // closed when this is not the current one any more
}

func newReader[T any](domain, key string, options Options, empty T, decode func([]byte, T) (T, bool, error)) *Reader[T] {
	if options.Dir == "" {
		options.Dir = defaultDir
	}
	if options.Poll == 0 {
		options.Poll = defaultPoll
	}
	if options.Logger == nil {
		options.Logger = slog.Default()
	}
	r := &Reader[T]{domain: domain, key: key, options: options, empty: empty, decode: decode}
	r.current.Store(&snapshot[T]{value: empty, err: errNotOpen, changed: make(chan struct{})})
	return r
}

var (
	errNotOpen = errors.New("it has not been opened")
	errOpen    = errors.New("it was opened before")
	errClosed  = errors.New("it was closed")
)

// Open starts following the file, and returns when it has been looked at once.
// That it is missing or bad is no error: it may come later; see Err and Wait.
// Errors: Invalid if domain or key break the rules; ctx's cause; that it was opened
// before.
func (r *Reader[T]) Open(ctx context.Context) error {
	file, err := File(r.domain, r.key)
	if err != nil {
		return err
	}
	path := filepath.Join(r.options.Dir, file)
	seen, done, err := r.start(path)
	if err != nil {
		return fmt.Errorf("opening %q: %w", path, err)
	}
	select {
	case <-seen:
		return nil
	case <-done:
		return fmt.Errorf("opening %q: %w", path, r.Err())
	case <-ctx.Done():
		r.Close()
		return fmt.Errorf("opening %q: %w", path, context.Cause(ctx))
	}
}

// start makes a goroutine follow the file. The channels are closed when it has
// been looked at, and when the goroutine has ended.
func (r *Reader[T]) start(path string) (seen, done chan struct{}, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cancel != nil {
		return nil, nil, errOpen
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	seen, done = make(chan struct{}), make(chan struct{})
	r.cancel, r.done = func() { cancel(errClosed) }, done
	var once sync.Once
	follower := follow.New(path, follow.Options{
		Missing: func(err error) {
			r.fail(path, err)
			once.Do(func() { close(seen) })
		},
		Poll:   r.options.Poll,
		Logger: r.options.Logger,
	})
	go func() {
		defer close(done)
		err := follower.Run(ctx, func(v follow.Version) error {
			r.take(path, v.Content)
			once.Do(func() { close(seen) })
			return nil
		})
		r.fail(path, err)
	}()
	return seen, done, nil
}

// Close ends what Open started and waits for it. The last snapshot stays. It
// can't be opened again.
func (r *Reader[T]) Close() {
	r.mu.Lock()
	cancel, done := r.cancel, r.done
	r.mu.Unlock()
	if cancel != nil {
		cancel()
		<-done
	}
}

// take makes a content of the file the snapshot.
func (r *Reader[T]) take(path string, content []byte) {
	last := r.current.Load()
	if len(content) == 0 {
		r.fail(path, errors.New("it is empty"))
		return
	}
	value, ok, err := r.decode(content, last.value)
	if !ok {
		r.fail(path, err)
		return
	}
	if err != nil {
		r.options.Logger.Warn("parts of a managed value can't be read, and stay as they were", "path", path, "error", err)
	}
	r.replace(last, &snapshot[T]{value: value, contents: last.contents + 1, err: err})
}

// fail keeps the snapshot's value.
func (r *Reader[T]) fail(path string, err error) {
	if !errors.Is(err, errClosed) {
		level := slog.LevelWarn
		if errors.Is(err, iofs.ErrNotExist) {
			level = slog.LevelInfo // it may not have come yet
		}
		r.options.Logger.Log(context.Background(), level, "a managed value can't be read, and stays as it was", "path", path, "error", err)
	}
	last := r.current.Load()
	r.replace(last, &snapshot[T]{value: last.value, contents: last.contents, err: err})
}

// replace is called by the goroutine that follows the file alone.
func (r *Reader[T]) replace(last, now *snapshot[T]) {
	now.changed = make(chan struct{})
	r.current.Store(now)
	close(last.changed)
}

// Get returns the current snapshot, without a lock. It is shared: don't change
// it.
func (r *Reader[T]) Get() T { return r.current.Load().value }

// Err says why the snapshot isn't what the file says now; nil if it is. The error
// wraps io/fs.ErrNotExist if there is no file.
func (r *Reader[T]) Err() error { return r.current.Load().err }

// Wait returns when there was a good content. The error is ctx's cause, and names
// what is wrong with the file, or says that the reader was closed.
func (r *Reader[T]) Wait(ctx context.Context) error {
	for {
		s := r.current.Load()
		if s.contents > 0 {
			return nil
		}
		if errors.Is(s.err, errClosed) {
			return fmt.Errorf("waiting for the managed value %s.%s: %w", r.domain, r.key, errClosed)
		}
		select {
		case <-s.changed:
		case <-ctx.Done():
			return fmt.Errorf("waiting for the managed value %s.%s: %w: %w", r.domain, r.key, context.Cause(ctx), s.err)
		}
	}
}

// Watch yields the snapshot, as soon as there was a good content, and then each
// newer one, until ctx is done or the reader closed. Who is slow misses those in
// between, never the last.
func (r *Reader[T]) Watch(ctx context.Context) iter.Seq[T] {
	return func(yield func(T) bool) {
		var yielded uint64
		for {
			s := r.current.Load()
			if s.contents > yielded {
				yielded = s.contents
				if !yield(s.value) {
					return
				}
			}
			if errors.Is(s.err, errClosed) {
				return
			}
			select {
			case <-s.changed:
			case <-ctx.Done():
				return
			}
		}
	}
}

// Fetch returns what the fleet has now, which this machine's file may not have
// yet, and the version that says it: an empty one if nothing was ever written.
// Errors: those of Client.Get; Invalid if the content means nothing.
func (r *Reader[T]) Fetch(ctx context.Context) (T, store.Value, error) {
	file, client, err := r.target()
	if err != nil {
		return r.empty, store.Value{}, err
	}
	value, err := client.Get(ctx, file)
	if err != nil {
		return r.empty, value, err
	}
	if value.Version == "" {
		return r.empty, value, nil
	}
	decoded, ok, err := r.decode(value.Content, r.empty)
	if !ok {
		return r.empty, value, &store.Error{Op: "reading", Subject: file, Kind: store.Invalid, Err: err}
	}
	return decoded, value, nil
}

// target returns what writes go to, and through.
func (r *Reader[T]) target() (file string, client *Client, err error) {
	file, err = File(r.domain, r.key)
	if err == nil && r.options.Client == nil {
		err = fmt.Errorf("%q can't be written: Options.Client is nil", file)
	}
	return file, r.options.Client, err
}
