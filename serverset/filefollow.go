package serverset

import (
	"context"
	"fmt"
	"slices"

	"github.com/kingpinfs/kingpin/internal/follow"
)

// follow takes each content of the file until ctx is done. Otherwise the error
// says why the file can't be followed.
func (f *File) follow(ctx context.Context) error {
	follower := follow.New(f.path, follow.Options{
		Poll:    f.options.Poll,
		Logger:  f.options.Logger,
		Missing: f.miss,
		Back:    func() { f.look(f.lacking) },
	})
	err := follower.Run(ctx, func(v follow.Version) error {
		f.take(v.Content)
		return nil
	})
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("serverset file: %w", err)
}

// miss notes that the file can't be read.
func (f *File) miss(err error) { f.look(fmt.Errorf("serverset file: %w", err)) }

// take takes a new content of the file.
func (f *File) take(content []byte) {
	endpoints, bad := ParseFile(content)
	f.takeBad(bad)
	f.lacking = nil
	switch {
	case len(endpoints) == 0:
		f.lacking = fmt.Errorf("serverset file %q: %w", f.path, ErrNoHosts)
	case !slices.Equal(endpoints, f.Endpoints()):
		f.lists.post(endpoints)
	}
	f.look(f.lacking)
}

// look notes whether the file gives any endpoints now.
func (f *File) look(err error) {
	before := f.problem.Swap(&err)
	switch {
	case err != nil:
		f.options.Logger.Warn("the last hosts of a serverset stay, because its file gives none",
			"path", f.path, "hosts", len(f.Endpoints()), "error", err)
	case before != nil && *before != nil:
		f.options.Logger.Info("the file of a serverset gives hosts again", "path", f.path, "hosts", len(f.Endpoints()))
	}
	f.first.Do(func() { close(f.looked) })
}

const (
	// maxNamed is how many bad lines of a content are logged one by one.
	maxNamed = 10
	// maxQuoted is how many bytes of a bad line are logged.
	maxQuoted = 100
)

// takeBad notes the lines of a new content that are no endpoints, and logs those
// that the content before didn't have.
func (f *File) takeBad(bad []BadMember) {
	f.badLines.Store(int64(len(bad)))
	known, logged := f.known, 0
	f.known = make(map[string]struct{}, len(bad))
	for _, line := range bad {
		_, old := known[line.Member]
		f.known[line.Member] = struct{}{}
		if logged++; old || logged > maxNamed {
			continue
		}
		f.options.Logger.Warn("a line of a serverset's file is no endpoint and left out",
			"path", f.path, "line", clip(line.Member), "error", clip(line.Err.Error()))
	}
	if len(bad) > 0 {
		f.options.OnBad(bad)
	}
}

// clip shortens what is too long to be read.
func clip(s string) string {
	if len(s) <= maxQuoted {
		return s
	}
	return s[:maxQuoted] + "…"
}
