package main

import (
	"bufio"
	"fmt"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// How much garbage may be in memory, in percent of what isn't. Loading a fleet
// makes much of it, and should be over soon; later there is time, and many boxes
// to spare memory on. Who sets GOGC knows better.
const (
	garbageWhileLoading = 50
	garbageLater        = 20
)

func limitGarbage(percent int) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(percent)
	}
}

const (
	// calmTime is how long nothing must have been done until memory is given
	// back.
	calmTime = time.Second
	// worthTidying is how many bytes must have been allocated since the last
	// time, so that a process that does little does not do that instead.
	worthTidying = 8 << 20
)

// tidier gives memory back to the system when this process has become calm. At
// rest it does nothing, not even wake up. The zero value is ready, and safe for
// concurrent use.
type tidier struct {
	mu     sync.Mutex // guards all below
	timer  *time.Timer
	spent  uint64 // what had been allocated when memory was given back last
	closed bool
}

// worked says that something has been done that may have left garbage.
func (t *tidier) worked() {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.closed:
	case t.timer == nil:
		t.timer = time.AfterFunc(calmTime, t.tidy)
	default:
		t.timer.Reset(calmTime)
	}
}

func (t *tidier) tidy() {
	t.mu.Lock()
	defer t.mu.Unlock()
	allocated := allocatedBytes()
	if t.closed || allocated-t.spent < worthTidying {
		return
	}
	giveMemoryBack()
	t.spent = allocated
}

// close ends it, and waits until it has.
func (t *tidier) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	if t.timer != nil {
		t.timer.Stop()
	}
}

// allocatedBytes is how much memory has ever been allocated.
func allocatedBytes() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// giveMemoryBack returns to the system what this process doesn't need now: what
// the garbage collector finds, and those pages of the program itself that only
// the start needed. Of these the system keeps what others use, and what is needed
// again comes back from its cache.
func giveMemoryBack() {
	debug.FreeOSMemory()
	program, err := programPages("/proc/self/maps", "/proc/self/exe")
	if err != nil {
		return // there is no /proc; it was worth a try
	}
	for _, pages := range program {
		// A system that refuses keeps them, which does no harm.
		_, _, _ = unix.Syscall(unix.SYS_MADVISE, pages.start, pages.end-pages.start, unix.MADV_DONTNEED)
	}
}

// addresses are the addresses of a piece of memory.
type addresses struct{ start, end uintptr }

// programPages returns where a program's file is in memory, as far as that can't
// be written to.
func programPages(maps, exe string) ([]addresses, error) {
	program, err := os.Readlink(exe)
	if err != nil {
		return nil, err
	}
	file, err := os.Open(maps)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var found []addresses
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		// start-end rwxp offset device inode path
		fields := strings.SplitN(lines.Text(), " ", 6)
		if len(fields) < 6 || strings.TrimSpace(fields[5]) != program || fields[1] != "r--p" && fields[1] != "r-xp" {
			continue
		}
		var pages addresses
		if _, err := fmt.Sscanf(fields[0], "%x-%x", &pages.start, &pages.end); err != nil {
			return nil, fmt.Errorf("reading %q: %w", lines.Text(), err)
		}
		found = append(found, pages)
	}
	return found, lines.Err()
}
