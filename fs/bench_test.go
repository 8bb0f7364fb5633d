package fs

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// BenchmarkRead opens, reads and closes a file that has been read before, in the
// mount and on the filesystem beneath.
func BenchmarkRead(b *testing.B) {
	for _, size := range []int{8, 4 << 10, 300 << 10} {
		for _, mode := range []Mode{Plain, FUSE} {
			b.Run(fmt.Sprintf("%d/%s", size, mode), func(b *testing.B) {
				needFUSE(b)
				v := newVolume(b, Config{Mode: mode})
				mount(b, v)
				publish(b, v, "x", Entry{Content: make([]byte, size), ModTime: testTime})
				path := filepath.Join(v.cfg.Dir, "x")
				buf := make([]byte, size)
				read := func() {
					fd, err := unix.Open(path, unix.O_RDONLY, 0)
					check(b, err)
					n, err := unix.Read(fd, buf)
					check(b, err)
					if n != size {
						b.Fatalf("read %d bytes", n)
					}
					check(b, unix.Close(fd))
				}
				read()
				b.SetBytes(int64(size))
				for b.Loop() {
					read()
				}
			})
		}
	}
}

// BenchmarkRequest asks the daemon something, which cached reads never do.
func BenchmarkRequest(b *testing.B) {
	v := mountVolume(b, Config{})
	var st unix.Statfs_t
	for b.Loop() {
		check(b, unix.Statfs(v.cfg.Dir, &st))
	}
}

// BenchmarkPublish publishes new versions of files that nobody reads, and of one
// that is read after each. The plain face is what any program would have to do.
func BenchmarkPublish(b *testing.B) {
	for _, mode := range []Mode{Plain, FUSE} {
		for _, read := range []bool{false, true} {
			b.Run(fmt.Sprintf("%s/read=%v", mode, read), func(b *testing.B) {
				needFUSE(b)
				v := newVolume(b, Config{Mode: mode})
				mount(b, v)
				path := filepath.Join(v.cfg.Dir, "x")
				contents := [][]byte{make([]byte, 1024), bytes.Repeat([]byte("x"), 1024)}
				for i := 0; b.Loop(); i++ {
					publish(b, v, "x", Entry{Content: contents[i%2], ModTime: testTime})
					if read {
						if _, err := os.ReadFile(path); err != nil {
							b.Fatal(err)
						}
					}
				}
			})
		}
	}
}

// BenchmarkMany publishes 11,000 files of 1 KiB and lists them, and reports what
// memory each takes.
func BenchmarkMany(b *testing.B) {
	needFUSE(b)
	const files = 11_000
	for b.Loop() {
		before := resident(b)
		v := newVolume(b, Config{Mode: FUSE})
		mount(b, v)
		start := time.Now()
		for i := range files {
			content := bytes.Repeat([]byte{byte(i)}, 1024)
			publish(b, v, fmt.Sprintf("config.manageddata.domain%d.key%d", i%100, i), Entry{
				Content: content, ModTime: testTime,
				Version: fmt.Sprintf("%d.000000", i), ZKPath: fmt.Sprintf("/config/manageddata/domain%d/key%d", i%100, i),
			})
		}
		b.ReportMetric(float64(time.Since(start).Microseconds())/files, "µs/file")
		if _, err := os.ReadDir(v.cfg.Dir); err != nil {
			b.Fatal(err)
		}
		runtime.GC()
		b.ReportMetric(float64(resident(b)-before)/files, "B-RSS/file")
		b.ReportMetric(float64(resident(b))/(1<<20), "MiB-RSS")
		check(b, v.Close())
	}
}

// resident returns this process's resident memory in bytes.
func resident(b *testing.B) int {
	b.Helper()
	statm, err := os.ReadFile("/proc/self/statm")
	check(b, err)
	pages, err := strconv.Atoi(strings.Fields(string(statm))[1])
	check(b, err)
	return pages * os.Getpagesize()
}
