package rig

import (
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// newestRead is, for each of some files, the number of the newest content that
// any reader on this machine has read completely, in memory that all readers
// share.
type newestRead struct{ memory []byte }

const numberSize = 8

func openNewestRead(path string, files int) (*newestRead, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // the mapping remains
	size := files * numberSize
	if err := file.Truncate(int64(size)); err != nil {
		return nil, err
	}
	memory, err := unix.Mmap(int(file.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	return &newestRead{memory}, err
}

func (r *newestRead) number(file int) *atomic.Int64 {
	return (*atomic.Int64)(unsafe.Pointer(&r.memory[file*numberSize]))
}

func (r *newestRead) load(file int) int { return int(r.number(file).Load()) }

// raise makes the number n, if that is more.
func (r *newestRead) raise(file, n int) {
	number := r.number(file)
	for old := number.Load(); old < int64(n); old = number.Load() {
		if number.CompareAndSwap(old, int64(n)) {
			return
		}
	}
}

func (r *newestRead) close() error { return unix.Munmap(r.memory) }

func addressOf[T any](value *T) unsafe.Pointer { return unsafe.Pointer(value) }
