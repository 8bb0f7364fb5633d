package serverset

import (
	"context"
	"iter"
	"slices"
)

// Fallback returns a Provider of what the first one provides, or, as long as
// that has nothing, of what the second one does: for example a File, and a
// Static list for machines whose monitor has never run. A File that had a host
// once has one for ever, so the list never comes back.
//
// Nothing is started, and nothing needs to be closed but the two providers, by
// those who made them; a Watch ends with either.
func Fallback(first, second Provider) Provider { return fallback{first, second} }

type fallback struct{ first, second Provider }

func (f fallback) Endpoints() []string {
	if endpoints := f.first.Endpoints(); len(endpoints) > 0 {
		return endpoints
	}
	return f.second.Endpoints()
}

// Watch looks at both again when either has changed.
func (f fallback) Watch(ctx context.Context) iter.Seq[[]string] {
	return func(yield func([]string) bool) {
		ctx, cancel := context.WithCancel(ctx)
		changed := make(chan struct{}, 1)
		done := make(chan struct{}, 2)
		for _, provider := range []Provider{f.first, f.second} {
			go func() {
				defer func() { done <- struct{}{} }()
				defer cancel()
				for range provider.Watch(ctx) {
					select {
					case changed <- struct{}{}:
					default:
					}
				}
			}()
		}
		defer func() { <-done; <-done }()
		defer cancel()

		var last []string
		for yielded := false; ; {
			select {
			case <-ctx.Done():
				return
			case <-changed:
			}
			endpoints := f.Endpoints()
			if yielded && slices.Equal(endpoints, last) {
				continue
			}
			if !yield(endpoints) {
				return
			}
			last, yielded = endpoints, true
		}
	}
}
