package rig

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

const rolePoll = "poll"

// Sightings tells when somebody has seen new contents of a config.
type Sightings struct {
	process *child
	seen    chan sighting
}

type sighting struct {
	n  int
	at int64 // on the monotonic clock
}

// sightingsAhead is how many sightings may be unread. They are read as they come.
const sightingsAhead = 1024

// pollNap is how long the polling reader waits between two reads; the kernel adds
// some 50 µs. A reader that never sleeps would take a processor from the others,
// and what is measured would be the scheduler.
var pollNap = unix.Timespec{Nsec: 20_000}

// PollFile starts a process that opens, reads and closes a config's file ten
// thousand times a second. Stop must be called if there is no error.
func (r *Rig) PollFile(ctx context.Context, m *Monitor, c Config) (*Sightings, error) {
	return startSightings(ctx, rolePoll, m.Config(c), strconv.Itoa(c.Size))
}

// WatchBare starts a process that has a watch on a config's znode and gets each
// content from S3: the least that can be done. Stop must be called if there is
// no error.
func (r *Rig) WatchBare(ctx context.Context, c Config) (*Sightings, error) {
	return startSightings(ctx, roleWatch, r.places(c.Path(), strconv.Itoa(c.Size))...)
}

func startSightings(ctx context.Context, role string, args ...string) (*Sightings, error) {
	s := &Sightings{seen: make(chan sighting, sightingsAhead)}
	var err error
	s.process, err = startRole(ctx, role, func(line string) {
		var one sighting
		if _, err := fmt.Sscan(line, &one.n, &one.at); err == nil {
			s.seen <- one
		}
	}, args...)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Await waits until content n has been seen and returns when that was, on the
// clock of Now. Contents must be awaited in order.
func (s *Sightings) Await(ctx context.Context, n int) (at int64, err error) {
	patience := time.NewTimer(stopPatience)
	defer patience.Stop()
	for {
		select {
		case one := <-s.seen:
			if one.n >= n {
				return one.at, nil
			}
		case <-s.process.done:
			return 0, s.process.ended()
		case <-patience.C:
			return 0, fmt.Errorf("%s didn't see content %d within %v", s.process.name, n, stopPatience)
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
}

// Stop ends the process.
func (s *Sightings) Stop() error { return s.process.finish() }

// Now is the time on a clock that all processes of the machine share, in
// nanoseconds.
func Now() int64 { return monotonic() }

// pollFile is a role: it reads a file again and again and prints a sighting of
// each new content.
func pollFile(ctx context.Context, args []string, out io.Writer) error {
	file, err := newRawFile(args[0])
	if err != nil {
		return err
	}
	size, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	buffer := make([]byte, size+wordSize)
	for last := -1; ctx.Err() == nil; {
		if err := unix.Nanosleep(&pollNap, nil); err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		length, err := file.read(buffer)
		if err != nil {
			return fmt.Errorf("reading %q: %w", file.path, err)
		}
		at := monotonic()
		n, whole := numberOf(buffer[:length], size)
		switch {
		case !whole:
			return fmt.Errorf("reading %q: a torn content of %d bytes", file.path, length)
		case n < last:
			return fmt.Errorf("reading %q: content %d after %d", file.path, n, last)
		case n > last:
			last = n
			if _, err := fmt.Fprintln(out, n, at); err != nil {
				return err
			}
		}
	}
	return nil
}
