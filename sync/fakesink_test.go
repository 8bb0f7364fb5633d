package sync

import (
	"crypto/sha256"
	"fmt"
	iofs "io/fs"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kingpinfs/kingpin/metaconfig"
	"github.com/kingpinfs/kingpin/store"
)

// fakeSink is a tree in memory over a disk in memory. It fails the test when
// the engine breaks a promise: calls for one file at once, a version after a
// newer one, a time that changes without the content or the reverse, a content
// that is modified after it was handed over.
type fakeSink struct {
	t *testing.T
	// disk is what survives a restart; other sinks of the same box share it.
	disk map[key][]byte
	// seen are the files on disk that readers see before they are adopted.
	seen map[key]bool

	mu           sync.Mutex // guards all below
	files        map[key]*fakeFile
	closed       bool // nothing may be called any more
	refuse       func(k key) error
	flushes      int
	allowOlder   bool // the ensemble has been restored from a backup
	published    int
	flushFailure error
	during       func(k key) // called during each Publish and Remove, without mu
}

type fakeFile struct {
	busy     bool
	entry    *Entry
	sum      [sha256.Size]byte
	status   Status
	statuses []State
	contents []string // each that was ever served, in order
	last     Entry    // the entry that was last served, also if it has been removed
}

func newFakeSink(t *testing.T, disk map[key][]byte) *fakeSink {
	t.Helper()
	return &fakeSink{t: t, disk: disk, files: map[key]*fakeFile{}}
}

func (s *fakeSink) file(k key) *fakeFile {
	f := s.files[k]
	if f == nil {
		f = &fakeFile{}
		s.files[k] = f
	}
	return f
}

// remember makes the sink hold the engine to what it served before a restart.
func (s *fakeSink) remember(before *fakeSink) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, f := range before.files {
		s.file(k).last = f.last
	}
}

// begin and end bracket a call for one file.
func (s *fakeSink) begin(k key) *fakeFile {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.file(k)
	if s.closed {
		s.t.Errorf("%q is called after the end", k.name)
	}
	if f.busy {
		s.t.Errorf("two calls at once for %q", k.name)
	}
	f.busy = true
	return f
}

func (s *fakeSink) end(f *fakeFile) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f.busy = false
}

// Leftovers implements Sink.
func (s *fakeSink) Leftovers(t metaconfig.Type) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var names []string
	for k := range s.disk {
		if f := s.files[k]; k.fileType() == t && (f == nil || f.entry == nil) {
			names = append(names, k.name)
		}
	}
	return names
}

// Serves implements Sink.
func (s *fakeSink) Serves(t metaconfig.Type, name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := fileKey(t, name)
	return s.seen[k] || s.file(k).entry != nil
}

// diskTime is when every file was written that no sink has published.
var diskTime = time.Unix(1234567890, 123456789)

// Read implements Sink.
func (s *fakeSink) Read(t metaconfig.Type, name string) ([]byte, time.Time, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	content, ok := s.disk[fileKey(t, name)]
	if !ok {
		return nil, time.Time{}, fmt.Errorf("reading %q: %w", name, iofs.ErrNotExist)
	}
	return append([]byte(nil), content...), diskTime, nil
}

// Disown implements Sink.
func (s *fakeSink) Disown(t metaconfig.Type, name string) {
	f := s.begin(fileKey(t, name))
	defer s.end(f)
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.entry == nil {
		s.t.Errorf("%q is disowned and wasn't served", name)
	}
	f.entry, f.status = nil, Status{}
}

// Adopt implements Sink.
func (s *fakeSink) Adopt(t metaconfig.Type, name string, e Entry) {
	f := s.begin(fileKey(t, name))
	defer s.end(f)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.serve(f, e)
}

// Publish implements Sink.
func (s *fakeSink) Publish(t metaconfig.Type, name string, e Entry) error {
	k := fileKey(t, name)
	f := s.begin(k)
	defer s.end(f)
	if err := s.interfere(k); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.check(k, f, e)
	s.serve(f, e)
	s.disk[k] = append([]byte(nil), e.Content...)
	s.published++
	return nil
}

// interfere does what the test wants done during a call, and returns why it is
// to be refused.
func (s *fakeSink) interfere(k key) error {
	s.mu.Lock()
	refuse, during := s.refuse, s.during
	s.mu.Unlock()
	if during != nil {
		during(k)
	}
	if refuse != nil {
		return refuse(k)
	}
	return nil
}

// check compares a version with the one that was last served.
func (s *fakeSink) check(k key, f *fakeFile, e Entry) {
	if (e.ZKPath == "") != (e.Version == "") || e.ModTime.IsZero() || e.Content == nil {
		s.t.Errorf("published an incomplete entry of %q: %+v", k.name, e)
	}
	old := f.last
	if old.ZKPath == "" {
		return
	}
	same := string(old.Content) == string(e.Content)
	if same != old.ModTime.Equal(e.ModTime) && f.entry != nil {
		s.t.Errorf("%q: version %s after %s: same content %v, times %v and %v", k.name, e.Version, old.Version, same, old.ModTime, e.ModTime)
	}
	if old.ZKPath == e.ZKPath && !s.allowOlder && store.Version(e.Version).Compare(store.Version(old.Version)) < 0 {
		s.t.Errorf("%q went back from version %s to %s", k.name, old.Version, e.Version)
	}
}

func (s *fakeSink) serve(f *fakeFile, e Entry) {
	s.checkIntact(f)
	f.entry, f.last, f.sum = &e, e, sha256.Sum256(e.Content)
	f.contents = append(f.contents, string(e.Content))
}

func (s *fakeSink) checkIntact(f *fakeFile) {
	if f.entry != nil && sha256.Sum256(f.entry.Content) != f.sum {
		s.t.Errorf("the content of version %s was modified", f.entry.Version)
	}
}

// Remove implements Sink.
func (s *fakeSink) Remove(t metaconfig.Type, name string) error {
	k := fileKey(t, name)
	f := s.begin(k)
	defer s.end(f)
	if err := s.interfere(k); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.checkIntact(f)
	f.entry = nil
	f.status = Status{}
	delete(s.disk, k)
	return nil
}

// SetStatus implements Sink.
func (s *fakeSink) SetStatus(t metaconfig.Type, name string, status Status) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.file(fileKey(t, name))
	if s.closed {
		s.t.Errorf("the status of %q is set after the end", name)
	}
	if f.entry == nil {
		return
	}
	if (status.State == Stale) == (status.Err == "") && status.State != Held {
		s.t.Errorf("%q: state %s with the error %q", name, status.State, status.Err)
	}
	f.status = status
	if n := len(f.statuses); n == 0 || f.statuses[n-1] != status.State {
		f.statuses = append(f.statuses, status.State)
	}
}

// Flush implements Sink.
func (s *fakeSink) Flush() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flushes++
	return s.flushFailure
}

func (s *fakeSink) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
}

func (s *fakeSink) flushCount() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.flushes
}

func (s *fakeSink) publishCount() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.published
}

// statesOf lists the states that a file has had, in order.
func (s *fakeSink) statesOf(k key) []State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.file(k).statuses)
}

func (s *fakeSink) setDuring(during func(k key)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.during = during
}

func (s *fakeSink) setRefuse(refuse func(k key) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuse = refuse
}

// letOlder lets versions go back.
func (s *fakeSink) letOlder() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.allowOlder = true
}

// content returns what readers see of a file, and whether there is one.
func (s *fakeSink) content(k key) (string, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.file(k)
	if f.entry == nil {
		return "", false
	}
	s.checkIntact(f)
	return string(f.entry.Content), true
}

func (s *fakeSink) entry(k key) Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.file(k).entry; e != nil {
		return *e
	}
	return Entry{}
}

func (s *fakeSink) status(k key) Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.file(k).status
}

// served lists each content that readers have seen of a file, in order.
func (s *fakeSink) served(k key) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.file(k).contents, " ")
}

func (s *fakeSink) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, f := range s.files {
		if f.entry != nil {
			n++
		}
	}
	return n
}
