package fs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A ledger is what the process that serves a session knows of it, in memory that
// outlives the process: a memfd, which others hold as well. Whoever serves next
// finds in it every version that is served or that the kernel refers to, with
// its content, and how many references the kernel has.
//
// It begins with a header and a table of slots, which are mapped: one slot for
// each version. After them comes a log of records, one for each version, which is
// written at its end; space at its beginning is given back, after what still
// counts has been moved to the end.
//
// Contents are kept here alone, outside Go's heap. All methods may be called
// concurrently, but those that change one slot only one after the other.
type ledger struct {
	fd     int
	mem    []byte // the header and the table
	header *ledgerHeader
	table  []ledgerSlot

	appending sync.Mutex // held while the log is written or cleaned

	mu   sync.Mutex // guards all below
	free []uint32   // slots below header.slots that aren't in use
	live int64      // bytes of the records that count

	space sync.RWMutex // guards places; held, shared, while a content is read
	place []extent     // by slot
}

// extent says where a slot's record lies.
type extent struct {
	at     int64  // 0: nowhere
	size   uint32 // of the record
	header uint32 // of what comes before the content
}

// ledgerHeader lies at the beginning. A successor must agree about its layout,
// and that of slots and records: ledgerFormat says which it is. All formats agree
// about the fields up to device.
type ledgerHeader struct {
	magic  uint64
	format uint32
	server atomic.Int32 // the process that serves
	device uint32       // the minor number of the mount's device
	init   uint32       // the length of initData
	// initData is the kernel's INIT request, which it sends once.
	initData [256]byte
	head     atomic.Int64  // the end of the log
	tail     atomic.Int64  // its beginning
	lastID   atomic.Uint64 // the last id given to a version
	woken    atomic.Uint64 // whoever watches knows of the versions up to this one
	slots    atomic.Uint32 // how many slots have been in use
	// What the plain files are like: their permissions, and the names of the
	// subdirectories, with a NUL after each.
	file, dir, gid uint32
	subdirs        [256]byte
	// What follows is of the writers' session, and zero if there is none, as in
	// ledgers of those who knew of none.
	writers writersHeader
}

// writersHeader is what a ledger has of a writers' session. What is written in it
// dies with the process that serves it.
type writersHeader struct {
	device   uint32 // the minor number of its device; 0: there is none
	init     uint32 // the length of initData
	initData [256]byte
	lastID   atomic.Uint64 // the last id given to a file
	attached atomic.Uint32 // 1 while it can be reached through the mount
}

type ledgerSlot struct {
	id      uint64
	lookups uint64 // how many references to the version the kernel holds
	state   atomic.Uint32
	_       uint32
}

// The states of a slot.
const (
	slotFree       = iota
	slotStaged     // nobody can see it yet
	slotCurrent    // it is what its name holds
	slotSuperseded // the kernel refers to it still
)

const (
	ledgerMagic  = 0x524547444c504b // "KPLDGER"
	ledgerFormat = 1
	maxSlots     = 1 << 19
	tableAt      = 4096
	slotSize     = int64(unsafe.Sizeof(ledgerSlot{}))
	logAt        = tableAt + maxSlots*slotSize // a multiple of the page size
	recordHeader = 56
	pageSize     = 4096
	// cleanAbove is how much of the log may be wasted, beside half of what counts.
	cleanAbove = 1 << 20
)

var errLedger = errors.New("the memory of the session isn't understood")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// record is what the log has of a version, but for its content.
type record struct {
	id      uint64
	slot    uint32
	dir     uint32 // its directory's id
	cookie  uint64 // its name's place in listings
	modTime time.Time
	size    uint32 // of the content
	name    string
	version string
	zkPath  string
}

// recovered is a version that a predecessor left.
type recovered struct {
	record
	current bool
}

// newLedger returns an empty ledger.
func newLedger() (*ledger, error) {
	fd, err := unix.MemfdCreate("kingpin-ledger", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("making the memory of a session: %w", err)
	}
	if err := unix.Ftruncate(fd, logAt); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("making the memory of a session: %w", err)
	}
	l, err := mapLedger(fd)
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	l.header.magic, l.header.format = ledgerMagic, ledgerFormat
	l.header.head.Store(logAt)
	l.header.tail.Store(logAt)
	return l, nil
}

func mapLedger(fd int) (*ledger, error) {
	mem, err := unix.Mmap(fd, 0, int(logAt), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("mapping the memory of a session: %w", err)
	}
	return &ledger{
		fd: fd, mem: mem,
		// The mapping is aligned to pages, is large enough and lives until close.
		header: (*ledgerHeader)(unsafe.Pointer(&mem[0])),
		table:  unsafe.Slice((*ledgerSlot)(unsafe.Pointer(&mem[tableAt])), maxSlots),
	}, nil
}

// attachLedger maps what a holding has. It takes the descriptor over unless it
// fails. The ledger must be recovered before it is used for more than its header.
func attachLedger(fd int) (*ledger, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, fmt.Errorf("looking at the memory of a session: %w", err)
	}
	if st.Size < logAt {
		return nil, fmt.Errorf("%w: it has %d bytes", errLedger, st.Size)
	}
	l, err := mapLedger(fd)
	if err != nil {
		return nil, err
	}
	if l.header.magic != ledgerMagic || l.header.format != ledgerFormat || int(l.header.init) > len(l.header.initData) {
		err := fmt.Errorf("%w: it has the format %d, not %d", errLedger, l.header.format, ledgerFormat)
		_ = unix.Munmap(l.mem)
		return nil, err
	}
	return l, nil
}

// ledgerDevice returns the minor number of the device of a session's mount from
// its ledger, of whatever format.
func ledgerDevice(fd int) (uint32, error) {
	var header [unsafe.Offsetof(ledgerHeader{}.device) + 4]byte
	n, err := unix.Pread(fd, header[:], 0)
	if err != nil {
		return 0, fmt.Errorf("reading the memory of a session: %w", err)
	}
	if n < len(header) || binary.NativeEndian.Uint64(header[:]) != ledgerMagic {
		return 0, errLedger
	}
	return binary.NativeEndian.Uint32(header[len(header)-4:]), nil
}

// close unmaps the ledger and closes the descriptor.
func (l *ledger) close() error {
	return errors.Join(unix.Munmap(l.mem), unix.Close(l.fd))
}

func (l *ledger) setInit(request []byte) error {
	if len(request) > len(l.header.initData) {
		return fmt.Errorf("the kernel's INIT has %d bytes", len(request))
	}
	l.header.init = uint32(copy(l.header.initData[:], request))
	return nil
}

// describe notes what the plain files are like.
func (l *ledger) describe(subdirs []string, perm permissions) error {
	var names []byte
	for _, name := range subdirs {
		names = append(append(names, name...), 0)
	}
	if len(names) > len(l.header.subdirs) {
		return errors.New("the names of the subdirectories are too long")
	}
	clear(l.header.subdirs[:])
	copy(l.header.subdirs[:], names)
	l.header.file, l.header.dir, l.header.gid = perm.file, perm.dir, perm.gid
	return nil
}

// described returns what was noted by describe.
func (l *ledger) described() (subdirs []string, perm permissions) {
	for name := range strings.SplitSeq(string(l.header.subdirs[:]), "\x00") {
		if name != "" {
			subdirs = append(subdirs, name)
		}
	}
	return subdirs, permissions{file: l.header.file, dir: l.header.dir, uid: uint32(os.Geteuid()), gid: l.header.gid}
}

func (l *ledger) initRequest() []byte {
	return append([]byte(nil), l.header.initData[:l.header.init]...)
}

// setWriters notes the writers' session, which nobody can reach yet, and the
// kernel's INIT request of it.
func (l *ledger) setWriters(device uint32, request []byte) error {
	w := &l.header.writers
	if len(request) > len(w.initData) {
		return fmt.Errorf("the kernel's INIT has %d bytes", len(request))
	}
	w.attached.Store(0)
	w.init, w.device = uint32(copy(w.initData[:], request)), device
	return nil
}

// writersRequest returns the kernel's INIT request of the writers' session; nil
// if there is none.
func (l *ledger) writersRequest() []byte {
	w := &l.header.writers
	if w.device == 0 || int(w.init) > len(w.initData) {
		return nil
	}
	return append([]byte(nil), w.initData[:w.init]...)
}

// add writes a version, which nobody can see before its state is set, and gives
// it a slot.
func (l *ledger) add(r *record, content []byte) error {
	if len(content) > maxPlain || len(r.name) > maxName || len(r.version) > math.MaxUint16 || len(r.zkPath) > math.MaxUint16 {
		return fmt.Errorf("a version of %d bytes is too large", len(content))
	}
	l.appending.Lock()
	defer l.appending.Unlock()
	slot, err := l.takeSlot()
	if err != nil {
		return err
	}
	r.slot, r.size = slot, uint32(len(content))
	head := encodeLedgerRecord(r, content)
	p := extent{at: l.header.head.Load(), size: uint32(len(head) + len(content)), header: uint32(len(head))}
	err = writeAt(l.fd, head, p.at)
	if err == nil {
		err = writeAt(l.fd, content, p.at+int64(len(head)))
	}
	if err != nil {
		l.giveSlot(slot)
		return fmt.Errorf("keeping a version in memory: %w", err)
	}
	s := &l.table[slot]
	s.id, s.lookups = r.id, 0
	s.state.Store(slotStaged)
	l.setPlace(slot, p)
	l.header.head.Store(p.at + int64(p.size))
	if r.id > l.header.lastID.Load() {
		l.header.lastID.Store(r.id)
	}
	l.mu.Lock()
	l.live += int64(p.size)
	l.mu.Unlock()
	l.clean()
	return nil
}

func (l *ledger) takeSlot() (uint32, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.free); n > 0 {
		slot := l.free[n-1]
		l.free = l.free[:n-1]
		return slot, nil
	}
	n := l.header.slots.Load()
	if n == maxSlots {
		return 0, fmt.Errorf("more than %d versions are in use", maxSlots)
	}
	l.header.slots.Store(n + 1)
	return n, nil
}

func (l *ledger) giveSlot(slot uint32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.free = append(l.free, slot)
}

func (l *ledger) setPlace(slot uint32, p extent) {
	l.space.Lock()
	defer l.space.Unlock()
	for int(slot) >= len(l.place) {
		l.place = append(l.place, extent{})
	}
	l.place[slot] = p
}

// release gives a version's slot and, in time, its memory back.
func (l *ledger) release(slot uint32) {
	l.table[slot].state.Store(slotFree)
	l.space.RLock()
	size := l.place[slot].size
	l.space.RUnlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.live -= int64(size)
	l.free = append(l.free, slot)
}

// read fills dst with the content of a version, from an offset on, and returns
// how much there was.
func (l *ledger) read(slot uint32, dst []byte, from uint64) (int, error) {
	l.space.RLock()
	defer l.space.RUnlock()
	p := l.place[slot]
	size := uint64(p.size - p.header)
	if from >= size {
		return 0, nil
	}
	dst = dst[:min(uint64(len(dst)), size-from)]
	if err := readAt(l.fd, dst, p.at+int64(p.header)+int64(from)); err != nil {
		return 0, fmt.Errorf("reading a version from memory: %w", err)
	}
	return len(dst), nil
}

// clean moves what counts from the log's beginning to its end, and gives the
// memory back, until little enough is wasted. appending must be held.
func (l *ledger) clean() {
	from := l.header.tail.Load()
	for l.wasted() {
		if !l.cleanOne() {
			break
		}
	}
	l.punch(from, l.header.tail.Load())
}

func (l *ledger) wasted() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.header.head.Load()-l.header.tail.Load() > l.live+l.live/2+cleanAbove
}

// cleanOne frees the first record. It reports whether it could.
func (l *ledger) cleanOne() bool {
	at, head := l.header.tail.Load(), l.header.head.Load()
	var fixed [recordHeader]byte
	if readAt(l.fd, fixed[:], at) != nil {
		return false
	}
	size, slot := binary.LittleEndian.Uint32(fixed[4:]), binary.LittleEndian.Uint32(fixed[16:])
	l.space.RLock()
	p := l.place[slot]
	l.space.RUnlock()
	if p.at == at && l.table[slot].state.Load() != slotFree {
		whole := make([]byte, size)
		if readAt(l.fd, whole, at) != nil || writeAt(l.fd, whole, head) != nil {
			return false
		}
		p.at = head
		l.setPlace(slot, p)
		l.header.head.Store(head + int64(size))
	}
	l.header.tail.Store(at + int64(size))
	return true
}

// punch gives the memory of the whole pages between two offsets back.
func (l *ledger) punch(from, to int64) {
	from, to = from/pageSize*pageSize, to/pageSize*pageSize
	if from < to {
		// If it fails, which it doesn't on a memfd, memory is wasted.
		_ = unix.Fallocate(l.fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, from, to-from)
	}
}

// recover reads what a predecessor left. The error is an errLedger if it isn't
// whole; the ledger can't be used then.
func (l *ledger) recover() ([]recovered, error) {
	tail, head := l.header.tail.Load(), l.header.head.Load()
	slots := l.header.slots.Load()
	if tail < logAt || head < tail || slots > maxSlots {
		return nil, fmt.Errorf("%w: its log reaches from %d to %d", errLedger, tail, head)
	}
	l.punch(logAt, tail)
	l.place = make([]extent, slots)
	found := make([]recovered, slots)
	if err := l.scan(tail, head, found); err != nil {
		return nil, err
	}
	for slot := range slots {
		s := &l.table[slot]
		state := s.state.Load()
		r := &found[slot]
		if state == slotStaged || r.id == 0 || state == slotSuperseded && s.lookups == 0 {
			s.state.Store(slotFree)
			state = slotFree
		}
		if state == slotFree {
			r.id = 0
			l.free = append(l.free, slot)
			continue
		}
		r.current = state == slotCurrent
		l.live += int64(l.place[slot].size)
	}
	kept := found[:0]
	for i := range found {
		if found[i].id != 0 {
			kept = append(kept, found[i])
		}
	}
	return kept, nil
}

// scan reads the log, and puts the last record of each version that a slot
// speaks of into found.
func (l *ledger) scan(tail, head int64, found []recovered) error {
	if tail == head {
		return nil
	}
	start := tail / pageSize * pageSize
	log, err := unix.Mmap(l.fd, start, int(head-start), unix.PROT_READ, unix.MAP_SHARED|unix.MAP_POPULATE)
	if err != nil {
		return fmt.Errorf("mapping the memory of a session: %w", err)
	}
	defer func() { _ = unix.Munmap(log) }() // which can't fail
	for at := tail; at < head; {
		r, p, err := decodeLedgerRecord(log[at-start:])
		if err != nil {
			return fmt.Errorf("%w at %d", err, at)
		}
		p.at = at
		if int(r.slot) < len(found) && l.table[r.slot].id == r.id {
			found[r.slot].record, l.place[r.slot] = r, p
		}
		at += int64(p.size)
	}
	return nil
}

// encodeLedgerRecord returns all of a record that comes before the content: its
// checksum, its size, the fields of fixed length, and the texts.
func encodeLedgerRecord(r *record, content []byte) []byte {
	b := make([]byte, recordHeader, recordHeader+len(r.name)+len(r.version)+len(r.zkPath))
	le := binary.LittleEndian
	le.PutUint64(b[8:], r.id)
	le.PutUint32(b[16:], r.slot)
	le.PutUint32(b[20:], r.dir)
	le.PutUint64(b[24:], r.cookie)
	le.PutUint64(b[32:], uint64(r.modTime.Unix()))
	le.PutUint32(b[40:], uint32(r.modTime.Nanosecond()))
	le.PutUint32(b[44:], r.size)
	le.PutUint16(b[48:], uint16(len(r.name)))
	le.PutUint16(b[50:], uint16(len(r.version)))
	le.PutUint16(b[52:], uint16(len(r.zkPath)))
	b = append(b, r.name...)
	b = append(b, r.version...)
	b = append(b, r.zkPath...)
	le.PutUint32(b[4:], uint32(len(b)+len(content)))
	le.PutUint32(b, crc32.Update(crc32.Checksum(b[4:], castagnoli), castagnoli, content))
	return b
}

// decodeLedgerRecord reads the record at the beginning of b. What it returns
// doesn't refer to b.
func decodeLedgerRecord(b []byte) (record, extent, error) {
	if len(b) < recordHeader {
		return record{}, extent{}, fmt.Errorf("%w: half a record", errLedger)
	}
	le := binary.LittleEndian
	size := le.Uint32(b[4:])
	names, versions, paths := int(le.Uint16(b[48:])), int(le.Uint16(b[50:])), int(le.Uint16(b[52:]))
	content := le.Uint32(b[44:])
	header := recordHeader + names + versions + paths
	if int64(size) > int64(len(b)) || uint64(header)+uint64(content) != uint64(size) ||
		crc32.Checksum(b[4:size], castagnoli) != le.Uint32(b) {
		return record{}, extent{}, fmt.Errorf("%w: a damaged record", errLedger)
	}
	texts := b[recordHeader:header]
	r := record{
		id: le.Uint64(b[8:]), slot: le.Uint32(b[16:]), dir: le.Uint32(b[20:]), cookie: le.Uint64(b[24:]),
		modTime: time.Unix(int64(le.Uint64(b[32:])), int64(le.Uint32(b[40:]))), size: content,
		name: string(texts[:names]), version: string(texts[names : names+versions]), zkPath: string(texts[names+versions:]),
	}
	return r, extent{size: size, header: uint32(header)}, nil
}

func writeAt(fd int, b []byte, at int64) error {
	for len(b) > 0 {
		n, err := unix.Pwrite(fd, b, at)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		b, at = b[max(n, 0):], at+int64(max(n, 0))
	}
	return nil
}

func readAt(fd int, b []byte, at int64) error {
	for len(b) > 0 {
		n, err := unix.Pread(fd, b, at)
		switch {
		case err != nil && !errors.Is(err, unix.EINTR):
			return err
		case err == nil && n == 0:
			return unix.EIO // it is shorter than it says
		}
		b, at = b[max(n, 0):], at+int64(max(n, 0))
	}
	return nil
}
