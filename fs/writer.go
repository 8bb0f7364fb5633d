package fs

import "context"

// Writer publishes what is written to the files of a Volume. Its methods are
// called concurrently, each by a goroutine that may wait for backends, and never
// with locks of the Volume held. An error wraps the syscall.Errno that whoever
// wrote is to get; one that wraps none is EIO. The Writer logs it.
type Writer interface {
	// Accepts says, without asking any backend, whether files of that name can
	// be written or created: a name that can't is an error. The name is relative
	// to the Volume, as "decider/new_feed".
	Accepts(name string) error

	// AtOnce reports whether each write(2) to a file of that name is a new
	// content by itself. Of others the content is complete when the file is
	// flushed or renamed.
	AtOnce(name string) bool

	// Write publishes a content. When it returns nil, the fleet has it as the
	// entry that is returned. Unless c.Locked, the Volume serves it by then,
	// because the Writer has called Publish. If c.Locked, the Volume will serve it,
	// and the Writer calls no method that changes the Volume before it returns.
	// After an error nothing has changed, unless the error says that this is
	// unknown.
	Write(ctx context.Context, c Change) (Entry, error)

	// Remove takes a file away from the fleet. c.Content is nil. Otherwise it is
	// as Write.
	Remove(ctx context.Context, c Change) error
}

// Change is what somebody does to a file of a Volume.
type Change struct {
	Name string // relative to the Volume
	// Content is the whole new content. It must not be kept or modified.
	Content []byte
	// Base is the Entry.Version that the name held when the file was opened for
	// writing; "" if it held none.
	Base string
	// Caller is who does it.
	Caller Caller
	// Locked says that the kernel holds the directory's lock until the change is
	// answered, as it does for a rename and a removal. Nobody can look up a name
	// in the directory meanwhile, and nothing can be published in it, so that a
	// Writer must not wait for a backend that is known to be away. Calls of Publish
	// that are under way return when the change has been answered: a Writer must
	// not wait for one of them, nor for a lock that is held during one.
	Locked bool
}

// Caller is the process that a request of the kernel comes from.
type Caller struct {
	UID, GID uint32
	PID      uint32 // of the thread; 0 if it is in a PID namespace that can't be seen from here
}
