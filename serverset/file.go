package serverset

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// FileOptions may be left zero.
type FileOptions struct {
	// Poll is how often to look at the file even if nothing seems to have happened
	// to it. 0 means 30 s.
	Poll time.Duration
	// OnBad is told of each content of the file that has lines which are no
	// endpoints, by one goroutine, and must not call Close. Nobody needs it: the
	// lines are logged anyhow.
	OnBad func(lines []BadMember)
	// Logger is told when the file can't be used, and of lines that are no
	// endpoints, each once; nil means slog's default.
	Logger *slog.Logger
}

// File is a Provider of what a serverset's file has, such as
// /var/serverset/discovery.search.prod, whoever keeps it current. It is told of
// each new content by inotify, and looks every now and then besides.
//
// The endpoints are those of the last content that had any: a file that is empty
// or missing, can't be read, or has nothing but bad lines takes no hosts away.
type File struct {
	path    string
	options FileOptions

	lists    *board[[]string] // posted to by the goroutine that Open starts
	problem  atomic.Pointer[error]
	badLines atomic.Int64
	looked   chan struct{} // closed when the file was looked at
	first    sync.Once     // closes it

	// Of that goroutine alone.
	lacking error               // what Err says of the last content
	known   map[string]struct{} // its bad lines

	mu     sync.Mutex // guards what follows
	opened bool
	closed bool
	stop   context.CancelFunc
	ended  chan struct{} // closed when the goroutine has ended
}

var _ Provider = (*File)(nil)

// NewFile returns a provider of the endpoints in a file, which doesn't need to
// exist. Before Open it has none.
func NewFile(path string, options FileOptions) *File {
	if options.Poll <= 0 {
		options.Poll = 30 * time.Second
	}
	if options.OnBad == nil {
		options.OnBad = func([]BadMember) {}
	}
	if options.Logger == nil {
		options.Logger = slog.Default()
	}
	return &File{
		path:    path,
		options: options,
		lists:   newBoard([]string{}),
		looked:  make(chan struct{}),
		ended:   make(chan struct{}),
	}
}

// Open begins to follow the file, and returns when it has been looked at, so
// that Endpoints are what it has. That there is no such file, or nothing in it,
// is no error, see Err. An error means that nothing is followed: ctx ended
// before the file's filesystem answered, the file was opened before, or
// something is wrong with its path.
func (f *File) Open(ctx context.Context) error {
	f.mu.Lock()
	if f.opened || f.closed {
		f.mu.Unlock()
		return errors.New("the provider was opened or closed before; make another one")
	}
	f.opened = true
	following, stop := context.WithCancel(context.WithoutCancel(ctx))
	f.stop = stop
	f.mu.Unlock()

	failed := make(chan error, 1)
	go func() {
		defer close(f.ended)
		failed <- f.follow(following)
	}()
	select {
	case <-f.looked:
		return nil
	case err := <-failed:
		f.Close()
		if err == nil {
			err = errors.New("the provider was closed while it was opened")
		}
		return err
	case <-ctx.Done():
		f.Close()
		return context.Cause(ctx)
	}
}

// Close ends the following, and with it each Watch, and waits until it has.
// Endpoints stays what it is. It may be called again, which does nothing.
func (f *File) Close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return
	}
	f.closed = true
	if f.opened {
		f.stop()
		<-f.ended
	}
	f.lists.close()
}

// Endpoints implements Provider.
func (f *File) Endpoints() []string { return f.lists.load() }

// Watch implements Provider.
func (f *File) Watch(ctx context.Context) iter.Seq[[]string] { return f.lists.watch(ctx) }

// Err says why the file as it is now gives no endpoints, and so Endpoints are
// those that it gave before, if any; nil if it gives some. It wraps
// io/fs.ErrNotExist if there is no such file.
func (f *File) Err() error {
	if err := f.problem.Load(); err != nil {
		return *err
	}
	return nil
}

// BadLines is how many lines of the file as it is now are no endpoints.
func (f *File) BadLines() int { return int(f.badLines.Load()) }
