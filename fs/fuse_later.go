package fs

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	// maxWaiting is how many requests of a connection may wait at once.
	maxWaiting = 128
	// shortReply has room for every reply to a request that may wait.
	shortReply = 4096
)

// answers are what a connection gives to requests that may wait for something
// longer than a moment: each by a goroutine of its own, so that the threads that
// read requests don't.
type answers struct {
	mu       sync.Mutex // guards all below
	mem      []byte     // resident, as that of buffers
	spare    [][]byte   // of mem, for replies
	draining bool       // what comes is left to whoever serves next, if it can be
	under    sync.WaitGroup
}

// begin returns memory for a reply. ok is false if too many requests wait
// already, and left is true if the request isn't to be answered by this process.
// If must, no number is too many, but then there may be no memory, which out tells
// by being nil. If ok, end must be called.
func (a *answers) begin(must bool) (out []byte, left, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.draining {
		return nil, true, false
	}
	if a.mem == nil && a.allocate() != nil || len(a.spare) == 0 {
		if must {
			a.under.Add(1)
		}
		return nil, false, must
	}
	out = a.spare[len(a.spare)-1]
	a.spare = a.spare[:len(a.spare)-1]
	a.under.Add(1)
	return out, false, true
}

func (a *answers) allocate() error {
	mem, err := unix.Mmap(-1, 0, maxWaiting*shortReply, unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_ANON|unix.MAP_PRIVATE|unix.MAP_POPULATE)
	if err != nil {
		return fmt.Errorf("mapping buffers for FUSE replies: %w", err)
	}
	a.mem, a.spare = mem, slices.Collect(slices.Chunk(mem, shortReply))
	return nil
}

func (a *answers) end(out []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if out != nil {
		a.spare = append(a.spare, out)
	}
	a.under.Done()
}

// drain leaves what comes to whoever serves the session next, and returns when
// everything under way is answered or ctx is done.
func (a *answers) drain(ctx context.Context) {
	a.mu.Lock()
	a.draining = true
	a.mu.Unlock()
	ended := make(chan struct{})
	go func() {
		a.under.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-ctx.Done():
	}
}

// free gives the memory back. Nothing must be under way.
func (a *answers) free() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.mem != nil {
		_ = unix.Munmap(a.mem) // of what Mmap returned, which can't fail
		a.mem, a.spare = nil, nil
	}
}

// answerLater answers a request that may wait, and returns at once. out is for a
// reply that is given before that.
func (c *connection) answerLater(request, out []byte) {
	op := operationOf(request)
	// What is released is known to this process alone, and nobody asks twice. There
	// are only so many files, and nobody waits for the reply.
	reply, left, ok := c.later.begin(op == opRelease)
	switch {
	case left && !holdsDirectory(op):
		return
	case !ok:
		if err := c.reply(op, c.handlers.refuse(request, out)); err != nil {
			c.log.Error("refusing a FUSE request", "error", err)
		}
		return
	}
	request = slices.Clone(request)
	go func() {
		defer c.later.end(reply)
		out := reply
		if out == nil {
			out = make([]byte, shortReply)
		}
		if err := c.answer(request, out); err != nil {
			c.log.Error("answering a FUSE request", "error", err)
		}
	}()
}

// holdsDirectory reports whether the kernel holds a directory's lock until a
// request is answered. If such a one were left, what is under way could not come
// to its end.
func holdsDirectory(op uint32) bool {
	return op == opUnlink || op == opRename || op == opRename2
}
