package fs

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"sync"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

const (
	// claimPatience is how long somebody who writes to an open file waits for
	// others who read the same version.
	claimPatience = 2 * time.Second
	// readersPoll is how often they are looked for meanwhile.
	readersPoll = 20 * time.Millisecond
	// refusedFor is how long a refusal holds for the thread that was refused, which
	// the kernel has ask twice.
	refusedFor = time.Second
	// leastRestPause is how soon one looks whether a file that is being rewritten is
	// open still, and mostRestPause how seldom at last: it is a look at all files
	// that are open on the machine.
	leastRestPause = 50 * time.Millisecond
	mostRestPause  = time.Second
)

// attrCapability is the extended attribute that the kernel asks for, and with no
// room for an answer, before it changes the content of an open file.
const attrCapability = "security.capability"

// asksBeforeWrite reports whether a GETXATTR is what comes before a write.
func asksBeforeWrite(request []byte) bool {
	const in = 8 // the size of struct fuse_getxattr_in, of which the first field is the room
	if len(request) < requestHeader+in || binary.NativeEndian.Uint32(request[requestHeader:]) != 0 {
		return false
	}
	name, _, _ := bytes.Cut(request[requestHeader+in:], []byte{0})
	return string(name) == attrCapability
}

// claims are what is known of those who write to open files.
type claims struct {
	mu      sync.Mutex // guards all below
	refused map[threadOf]refused
	making  map[uint64]chan struct{} // by inode; closed when the claim has been made, or can't be
}

// begin waits until nobody claims an inode. It returns false if that takes too
// long. Otherwise end must be called.
func (c *claims) begin(ctx context.Context, id uint64) bool {
	ctx, cancel := context.WithTimeout(ctx, claimPatience)
	defer cancel()
	for {
		c.mu.Lock()
		other := c.making[id]
		if other == nil {
			if c.making == nil {
				c.making = map[uint64]chan struct{}{}
			}
			c.making[id] = make(chan struct{})
			c.mu.Unlock()
			return true
		}
		c.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return false
		}
	}
}

func (c *claims) end(id uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.making[id])
	delete(c.making, id)
}

type threadOf struct {
	thread uint32
	id     uint64
}

type refused struct {
	errno syscall.Errno
	at    time.Time
}

// refuse notes what a thread is to be told when it writes to a file.
func (c *claims) refuse(key threadOf, errno syscall.Errno) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.refused == nil {
		c.refused = map[threadOf]refused{}
	}
	for k, r := range c.refused {
		if time.Since(r.at) > refusedFor {
			delete(c.refused, k)
		}
	}
	c.refused[key] = refused{errno, time.Now()}
}

// refusal returns what a thread that writes to a file has been told; 0 if
// nothing.
func (c *claims) refusal(key threadOf) syscall.Errno {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r := c.refused[key]; time.Since(r.at) <= refusedFor {
		return r.errno
	}
	return 0
}

// told notes that a thread has been told why it can't write: the next write is
// another one.
func (c *claims) told(key threadOf) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.refused, key)
}

// GetXAttr implements fuse.RawFileSystem.
//
// Of an open file's opening the kernel tells nothing, and what is written to it is
// in the page cache, which all readers of the version share, before it is told of
// here. But before that the kernel asks for a file's capabilities, which it would
// take away, with the file locked and nothing changed. If there are any, it has
// them removed; if that fails, the write does.
func (f *writableFace) GetXAttr(cancel cancelled, h *fuse.InHeader, name string, dest []byte) (uint32, fuse.Status) {
	if name != attrCapability || len(dest) > 0 {
		return f.fuseFace.GetXAttr(cancel, h, name, dest)
	}
	if f.w.claim(h) != 0 {
		return 1, fuse.ERANGE
	}
	return 0, fuse.ENOTSUP
}

// RemoveXAttr implements fuse.RawFileSystem. See GetXAttr. Only who has been refused
// comes as far, so that another answer would let a write through.
func (f *writableFace) RemoveXAttr(_ cancelled, h *fuse.InHeader, name string) fuse.Status {
	if name != attrCapability || f.tree.version(h.NodeId) == nil || f.w.files.get(h.NodeId) != nil {
		return fuse.ENOTSUP
	}
	key := threadOf{h.Pid, h.NodeId}
	defer f.w.claims.told(key)
	if errno := f.w.claims.refusal(key); errno != 0 {
		return status(errno)
	}
	return status(syscall.EBUSY)
}

// SetXAttr implements fuse.RawFileSystem.
func (f *writableFace) SetXAttr(cancelled, *fuse.SetXAttrIn, string, []byte) fuse.Status {
	return fuse.ENOTSUP
}

// claim makes the version that a thread is about to write to the thread's own: its
// name gets another inode with the same content, and nobody else must have it
// open. It returns why that can't be, for RemoveXAttr to say, and logs it.
func (w *writes) claim(h *fuse.InHeader) syscall.Errno {
	v := w.v.tree.version(h.NodeId)
	if v == nil || w.files.get(h.NodeId) != nil {
		return 0 // it is the writer's own, or a directory
	}
	c, ok := callOf(h.Pid)
	if ok && !c.writesInPlace() {
		return 0
	}
	key := threadOf{h.Pid, h.NodeId}
	if errno := w.claims.refusal(key); errno != 0 {
		return errno
	}
	d, name := w.v.tree.nameOf(v)
	errno := w.admits(d, name, h)
	if errno == 0 {
		errno = w.refused(d, name, h, w.makeClaim(d, name, v, h, c))
	}
	if errno != 0 {
		w.claims.refuse(key, errno)
	}
	return errno
}

// makeClaim is claim for a version that can be claimed. c is the system call that the
// thread is in, as far as that is known.
func (w *writes) makeClaim(d *directory, name string, v *version, h *fuse.InHeader, c call) error {
	if !w.claims.begin(w.ctx, v.id) {
		return fmt.Errorf("others are about to change it in place: write again: %w", syscall.EBUSY)
	}
	defer w.claims.end(v.id)
	if w.files.get(h.NodeId) != nil {
		return nil
	}
	if err := w.isToWrite(v, c); err != nil {
		return err
	}
	if err := w.part(d, name, v); err != nil {
		return err
	}
	if err := w.awaitReaders(v.id, processOf(h.Pid)); err != nil {
		return err
	}
	return w.takeOver(d, name, v)
}

// isToWrite returns an error if nobody can be about to write to a version: what
// the kernel asks before a write can also be asked in ways that no system call tells
// of, by whoever may read, and nothing must be made for them.
func (w *writes) isToWrite(v *version, c call) error {
	if _, tells := c.written(); tells {
		return nil
	}
	// If one can't look, awaitReaders says so.
	if u, err := usersOf(w.v.ledger.header.device, v.id); err == nil && u.writers == 0 {
		return errNoWriter
	}
	return nil
}

// errNoWriter is what somebody is told who asks what the kernel asks before a write
// of a file that nobody has open for writing.
var errNoWriter = fmt.Errorf("no process has it open for writing: keep the file open while it is written: %w", syscall.EBUSY)

// part puts another inode with the same content under the name that a version
// is the current one of. If that has been done, because somebody had claimed the
// version in vain, it does nothing.
func (w *writes) part(d *directory, name string, v *version) error {
	full := joinName(d.name, name)
	// Whoever has the name's lock may be waiting for the lock of the version's
	// inode, which the kernel holds for the caller.
	sub, base, done, err := w.v.enterWithin(full, claimPatience)
	if err != nil {
		return fmt.Errorf("%w (%w): write again", syscall.EBUSY, err)
	}
	defer done()
	if w.v.tree.versionOf(d, name) != v {
		return w.unchanged(d, name, v)
	}
	e, _, ok := w.v.tree.get(d, name)
	if !ok {
		return fmt.Errorf("its content can't be read: %w", syscall.EIO)
	}
	next, err := w.v.tree.stage(d, name, e)
	if err != nil {
		return fmt.Errorf("%w: keeping what others read (%w)", syscall.ENOSPC, err)
	}
	w.v.replace(sub, base, next)
	return nil
}

// unchanged returns an error if a name holds something else than a version, and not
// only another inode.
func (w *writes) unchanged(d *directory, name string, v *version) error {
	content, err := w.v.tree.content(v)
	if err != nil {
		return fmt.Errorf("%w: its content can't be read (%w)", syscall.EIO, err)
	}
	if !w.v.tree.holds(d, name, Entry{Content: content, ModTime: v.modTime, Version: v.version, ZKPath: v.zkPath}) {
		return fmt.Errorf("it has changed since it was opened: open it again, and repeat the change: %w", syscall.ESTALE)
	}
	return nil
}

// awaitReaders returns when nobody but a process has a version open so that they
// can read it: they would see it change, or undo the change with what they write
// instead of what they have read.
func (w *writes) awaitReaders(id uint64, process uint32) error {
	const mend = "or replace it by cp or mv instead of changing it in place"
	deadline := time.NewTimer(claimPatience)
	defer deadline.Stop()
	again := time.NewTicker(readersPoll)
	defer again.Stop()
	for {
		u, err := usersBeside(process, w.v.ledger.header.device, id)
		switch {
		case err != nil:
			return fmt.Errorf("%w: one can't tell who reads this version (%w): write again, %s", syscall.EBUSY, err, mend)
		case u.readers == 0:
			return nil
		}
		select {
		case <-again.C:
		case <-deadline.C:
			return fmt.Errorf("process %d (%s) has this version open, and may read it: end it, %s: %w",
				u.reader, commandOf(uint32(u.reader)), mend, syscall.EBUSY)
		case <-w.ctx.Done():
			return fmt.Errorf("the monitor ends: write again: %w", syscall.EBUSY)
		}
	}
}

// takeOver makes a version that nobody reads a scratch.
func (w *writes) takeOver(d *directory, name string, v *version) error {
	content, err := w.v.tree.content(v)
	if err != nil {
		return fmt.Errorf("%w: its content can't be read (%w)", syscall.EIO, err)
	}
	s := w.newScratch(inPlace, d, name, v.id)
	s.base, s.modTime = v.version, v.modTime
	if errno := s.replace(content); errno != 0 {
		return w.explain(errno)
	}
	// The kernel's references are those that it has to the version.
	if errno := w.files.add(s, w.v.tree.references(v), false); errno != 0 {
		s.drop()
		return w.explain(errno)
	}
	return nil
}

// strayWrite is what happens to a write to a file that nobody has claimed. Only a
// mapping brings it, whose pages every reader of the version has seen by then: the
// name gets another inode, with the content as it was.
func (w *writes) strayWrite(in *fuse.WriteIn) syscall.Errno {
	v := w.v.tree.version(in.NodeId)
	if v == nil || in.WriteFlags&fuse.WRITE_CACHE == 0 {
		return syscall.ESTALE
	}
	d, name := w.v.tree.nameOf(v)
	w.later.Go(func() {
		if w.part(d, name, v) == nil {
			w.log.Error("somebody has changed a file that is mapped, which others may have seen; it is as it was, and nothing is published",
				"name", joinName(d.name, name))
		}
	})
	return syscall.EPERM
}

// truncate changes the size of a file of the volume's session that is open.
func (w *writes) truncate(s *scratch, size uint64, h *fuse.InHeader) syscall.Errno {
	if size > uint64(w.limit) {
		return syscall.EFBIG
	}
	s.publishing.Lock()
	defer s.publishing.Unlock()
	d, name := s.place()
	s.mu.Lock()
	if s.gone {
		s.mu.Unlock()
		return syscall.ESTALE
	}
	if s.kind != inPlace || size == 0 && commandOf(h.Pid) != "truncate" {
		defer s.mu.Unlock()
		if errno := s.resize(int64(size), w.limit); errno != 0 {
			return errno
		}
		if size == 0 {
			s.spoilt = 0
		}
		w.rewrite(s, d, name, h)
		return 0
	}
	if size == uint64(len(s.content)) {
		defer s.mu.Unlock()
		return 0
	}
	// Who cuts a file short does it for good.
	next := make([]byte, size)
	copy(next, s.content)
	base := s.base
	s.spoilt = 0
	s.mu.Unlock()
	return w.publish(s, d, name, next, base, h)
}

// rewrite notes that a file's content is being replaced from its beginning, which
// those who cut it to nothing are about to do. mu of s must be held.
func (w *writes) rewrite(s *scratch, d *directory, name string, h *fuse.InHeader) {
	s.modTime, s.last = time.Now(), *h
	if s.kind != inPlace || s.rewriting || w.writer.AtOnce(joinName(d.name, name)) {
		return
	}
	s.rewriting, s.written = true, true
	w.later.Go(func() {
		w.awaitRest(s, func() (users, error) { return usersOf(w.v.ledger.header.device, s.id) })
	})
}

// awaitRest publishes a file that is being rewritten when nobody has it open for
// writing any more, which look finds out. As long as that can't be told, somebody
// may. Whoever wrote it can't be told of an error by then.
func (w *writes) awaitRest(s *scratch, look func() (users, error)) {
	defer w.files.sweep(s) // which the kernel may have forgotten when it was closed
	told := false
	for pause := leastRestPause; ; pause = min(2*pause, mostRestPause) {
		select {
		case <-w.ctx.Done():
			return
		case <-time.After(pause):
		}
		if !s.isRewriting() {
			return
		}
		d, name := s.place()
		u, err := look()
		if err != nil && !told {
			told = true
			w.log.Warn("what was written to an open file is not published as long as one can't tell whether it is open still",
				"name", joinName(d.name, name), "error", err)
		}
		if err != nil || u.writers > 0 {
			continue
		}
		if errno := w.finish(s, nil); errno != 0 {
			w.log.Warn("what was written to an open file is not published", "name", joinName(d.name, name), "error", errno)
		}
		return
	}
}

func (s *scratch) isRewriting() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rewriting
}

// finish publishes what has been written to an open file and isn't published yet,
// if it is one to be published. h is the request for which it does; nil means that
// of whoever has written last.
func (w *writes) finish(s *scratch, h *fuse.InHeader) syscall.Errno {
	s.publishing.Lock()
	defer s.publishing.Unlock()
	d, name := s.place()
	s.mu.Lock()
	content, base, due := s.content, s.base, s.written && s.kind != temporary && !s.gone
	spoilt, last := s.spoilt, s.last
	// What lacks a part isn't published before it is cut to nothing, or closed.
	s.rewriting = s.rewriting && spoilt != 0 && h != nil
	s.mu.Unlock()
	if h == nil {
		h = &last
	}
	switch {
	case !due:
		return 0
	case spoilt != 0:
		return spoilt
	}
	return w.publish(s, d, name, content, base, h)
}

// references returns how many references to a version the kernel holds.
func (t *tree) references(v *version) uint64 {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.lookups(v)
}
