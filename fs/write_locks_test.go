package fs

import (
	"hash/maphash"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// While a rename is being published, for which the kernel holds the directory's
// lock, another version of the same name may come: the newer one of the two stays.
// One of another name only waits.
func TestPublishDuringRename(t *testing.T) {
	const renamed = 11 // the order of what is renamed
	for _, order := range []int64{renamed - 1, renamed + 1} {
		t.Run(strconv.FormatInt(order, 10), func(t *testing.T) {
			v, w := mountWritable(t, Config{})
			publish(t, v, "config", Entry{Content: []byte("old\n"), Order: 1})
			temp := filepath.Join(v.cfg.Dir, ".t")
			check(t, writeParts(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, []byte("renamed\n")))
			hold := make(chan struct{})
			release := sync.OnceFunc(func() { close(hold) })
			defer release() // or the mount could never be taken away
			w.mu.Lock()
			w.last, w.hold = renamed-1, hold
			w.mu.Unlock()
			// Names may have one lock, and then only one of them can be under way.
			stripe := func(name string) uint64 { return maphash.String(v.nameSeed, name) % uint64(len(v.names)) }
			other := "config2"
			for stripe(other) == stripe("config") {
				other += "x"
			}
			results := make(chan error, 3)
			go func() { results <- unix.Rename(temp, filepath.Join(v.cfg.Dir, "config")) }()
			<-w.held
			for _, name := range []string{"config", other} {
				go func() { results <- v.Publish(name, Entry{Content: []byte("published\n"), Order: order}) }()
				await(t, "a version to be under way", func() bool {
					v.tree.mu.RLock()
					defer v.tree.mu.RUnlock()
					return v.tree.root.changing[name] > 0
				})
			}
			release()
			for range cap(results) {
				check(t, <-results)
			}
			want := "renamed\n"
			if order > renamed {
				want = "published\n"
			}
			wantFile(t, v, "config", want)
			wantFile(t, v, other, "published\n")
		})
	}
}
