// Package follow hands out what a file holds, and then each new content, as
// soon as it is there.
//
// It is meant for a file that is never written in place but replaced by another
// one, as the files in /var/config and /var/serverset are, whoever serves them:
// a FUSE mount, plain files, or one after the other. Nothing is polled. Each
// directory that the path leads through is watched by inotify for the name that
// is looked up in it, and the list of mounts for changes, because a mount that
// appears over a directory or is taken from it causes no inotify event there.
// Whatever happens is only a reason to look at the path again, from the root on.
package follow

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	iofs "io/fs"
	"log/slog"
	"path/filepath"
	"time"
)

// Version is one content of a file.
type Version struct {
	// Content belongs to who gets it.
	Content []byte
	// ModTime is the file's modification time: in a directory of KingPin's, the
	// version's.
	ModTime time.Time
	// ID is the extended attribute user.kingpin.version, which only files in a
	// mount have; else "".
	ID string
}

// Options may be left zero.
type Options struct {
	// Missing is told that there is nothing to hand out: the error wraps
	// io/fs.ErrNotExist if there is no such file, else it says why it can't be
	// read. It is called when that begins or the reason becomes another one,
	// not again while it lasts, and never at the same time as deliver. It isn't
	// told of a failure that is gone at the next try, at once.
	Missing func(err error)
	// Back is told that the file can be read again after Missing was told, before
	// deliver is if it holds something else than before.
	Back func()
	// Poll is how often to look even if nothing seems to have happened; 0 means
	// never. With it, that inotify can't be had is a warning and not an error,
	// and a directory that can't be watched is no matter.
	Poll time.Duration
	// Logger gets that warning; nil means slog's default.
	Logger *slog.Logger
}

// Follower follows one file.
type Follower struct {
	path    string
	options Options

	last     [sha256.Size]byte // of the content handed out last
	handed   bool              // whether there is one
	missing  string            // what Missing was told last; "" if the file was there since
	failures int               // looks in a row that failed
}

// New returns a follower of the file at path, of which nothing needs to exist
// yet. It does nothing before Run.
func New(path string, options Options) *Follower {
	if options.Missing == nil {
		options.Missing = func(error) {}
	}
	if options.Back == nil {
		options.Back = func() {}
	}
	if options.Logger == nil {
		options.Logger = slog.Default()
	}
	return &Follower{path: path, options: options}
}

// Run calls deliver with what the file holds, and then with each new content,
// until ctx ends or deliver returns an error, and returns that one: for ctx, its
// cause. Any other error means that the file can't be followed and says how to
// mend that. After an error Run may be called again, and goes on where it was,
// but it must not be called while it runs.
//
// It never hands out the same content twice in a row, nor one that was in the
// file before the one handed out last. What comes while deliver runs isn't
// collected: the next call gets the newest. The last content always arrives.
//
// If a filesystem doesn't answer when ctx ends, Run doesn't wait for it long; a
// goroutine is left then, which ends when the filesystem answers.
func (f *Follower) Run(ctx context.Context, deliver func(Version) error) error {
	path, err := filepath.Abs(f.path)
	if err != nil {
		return fmt.Errorf("following %q: %w", f.path, err)
	}
	w, err := f.newWatcher()
	if err != nil {
		return fmt.Errorf("following %q: %w", path, err)
	}
	defer w.close()
	for {
		seen, err := w.look(ctx, path)
		if err != nil {
			return err
		}
		retry, err := f.take(seen, deliver)
		if err != nil {
			return err
		}
		if err := w.wait(ctx, earlier(retry, f.options.Poll)); err != nil {
			return err
		}
	}
}

// newWatcher starts watching. If that is impossible but we may poll, the watcher
// sees nothing.
func (f *Follower) newWatcher() (*watcher, error) {
	w, err := newWatcher()
	if err != nil && f.options.Poll > 0 {
		f.options.Logger.Warn("a file is polled, because it can't be watched", "path", f.path, "every", f.options.Poll, "error", err)
		return new(watcher), nil
	}
	return w, err
}

// take does what a look calls for. If retry isn't 0, the next look must be at
// the latest after that time: when what failed heals, no event may say so.
func (f *Follower) take(seen sight, deliver func(Version) error) (retry time.Duration, err error) {
	switch {
	case seen.unwatchable != nil && f.options.Poll == 0:
		// Directories come into being unreadable at times, for a moment.
		if f.failures++; f.failures > maxUnwatchable {
			return 0, fmt.Errorf("following %q: %w", f.path, seen.unwatchable)
		}
		return retryDelay(f.failures), nil
	case seen.err == nil:
		f.failures = 0
		if f.missing != "" {
			f.missing = ""
			f.options.Back()
		}
		return 0, f.deliver(seen.version, deliver)
	case errors.Is(seen.err, iofs.ErrNotExist):
		f.failures = 0
		f.tell(seen.err)
		return 0, nil
	}
	if f.failures++; f.failures > 1 {
		f.tell(seen.err)
	}
	return retryDelay(f.failures), nil
}

func (f *Follower) deliver(v Version, deliver func(Version) error) error {
	sum := sha256.Sum256(v.Content)
	if f.handed && sum == f.last {
		return nil
	}
	if err := deliver(v); err != nil {
		return err
	}
	f.last, f.handed = sum, true
	return nil
}

func (f *Follower) tell(err error) {
	if err.Error() != f.missing {
		f.missing = err.Error()
		f.options.Missing(err)
	}
}

const (
	// maxUnwatchable is how many times in a row a directory may be one that
	// can't be watched, before that is an error. It takes less than a second.
	maxUnwatchable = 6
	firstRetry     = 20 * time.Millisecond
	lastRetry      = 10 * time.Second
)

// retryDelay is how long to wait after so many looks that failed.
func retryDelay(failures int) time.Duration {
	return min(firstRetry<<min(failures-1, 16), lastRetry)
}

// earlier returns the shorter of two times, of which 0 is the longest.
func earlier(a, b time.Duration) time.Duration {
	if a == 0 || b == 0 {
		return a + b
	}
	return min(a, b)
}
