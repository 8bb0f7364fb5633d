package rig

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

const roleCompare = "compare"

// Comparison is how long an open+read+close takes of two files, in nanoseconds.
type Comparison struct {
	Served Spread
	Plain  Spread
}

// Spread is a distribution, in nanoseconds.
type Spread struct {
	N             int
	P50, P99, Max int64
}

// SpreadOf sorts durations and returns their distribution.
func SpreadOf(all []int64) Spread {
	if len(all) == 0 {
		return Spread{}
	}
	slices.Sort(all)
	return Spread{N: len(all), P50: all[len(all)/2], P99: all[len(all)*99/100], Max: all[len(all)-1]}
}

// Duration returns nanoseconds as a duration.
func Duration(ns int64) time.Duration { return time.Duration(ns) }

// CompareReads reads two files of one size, which nobody replaces meanwhile, n
// times each, by turns, in a process of its own.
func CompareReads(ctx context.Context, served, plain string, size, n int) (Comparison, error) {
	var c Comparison
	err := askRole(ctx, roleCompare, &c, served, plain, strconv.Itoa(size), strconv.Itoa(n))
	return c, err
}

// compareReads is a role. Both files are read in short batches by turns, so that
// whatever else the machine does hits both alike.
func compareReads(ctx context.Context, args []string, out io.Writer) error {
	size, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(args[3])
	if err != nil {
		return err
	}
	debug.SetGCPercent(-1)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := pin(); err != nil {
		return err
	}
	const batch = 50
	buffer := make([]byte, size+wordSize)
	var files [2]rawFile
	var took [2][]int64
	for i, path := range args[:2] {
		if files[i], err = newRawFile(path); err != nil {
			return err
		}
		took[i] = make([]int64, 0, n+batch)
		// What is measured is a file that was read before.
		if _, err := timedReads(files[i], buffer, size, nil, batch); err != nil {
			return err
		}
	}
	for len(took[1]) < n && ctx.Err() == nil {
		for i, file := range files {
			if took[i], err = timedReads(file, buffer, size, took[i], batch); err != nil {
				return err
			}
		}
	}
	return tell(out, Comparison{Served: SpreadOf(took[0]), Plain: SpreadOf(took[1])})
}

// timedReads appends how long each of some reads took.
func timedReads(file rawFile, buffer []byte, size int, took []int64, times int) ([]int64, error) {
	for range times {
		start := monotonic()
		length, err := file.read(buffer)
		end := monotonic()
		if err != nil || length != size {
			return nil, fmt.Errorf("reading %q: %d bytes of %d: %w", file.path, length, size, err)
		}
		took = append(took, end-start)
	}
	return took, nil
}

// pin keeps the thread on the processor that it is on.
func pin() error {
	var processor uint32
	if _, _, errno := unix.RawSyscall(unix.SYS_GETCPU, uintptr(addressOf(&processor)), 0, 0); errno != 0 {
		return fmt.Errorf("asking for the processor: %w", errno)
	}
	var set unix.CPUSet
	set.Set(int(processor))
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return fmt.Errorf("staying on processor %d: %w", processor, err)
	}
	return nil
}
