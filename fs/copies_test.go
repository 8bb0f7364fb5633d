package fs

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestCopiesAreTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCopies(testLogger(t))
		var tries []time.Duration
		broken := true
		start := time.Now()
		c.start(func(name string) {
			tries = append(tries, time.Since(start))
			if broken {
				c.putOff(name, errors.New("still broken"))
			} else {
				c.caughtUp(name)
			}
		})
		pass(time.Hour)
		if len(tries) != 0 {
			t.Fatalf("%d tries of nothing", len(tries))
		}
		start = time.Now()
		c.putOff("x", errors.New("broken"))
		pass(7 * time.Second)
		synctest.Wait()
		if want := []time.Duration{time.Second, 3 * time.Second, 7 * time.Second}; !slices.Equal(tries, want) {
			t.Errorf("tried at %v, want %v", tries, want)
		}
		wantErr(t, c.err(), nil, "1 of the files", "still broken")
		pass(10 * time.Minute)
		synctest.Wait()
		if n := len(tries); tries[n-1]-tries[n-2] != lastRetry {
			t.Errorf("in the end tried every %v", tries[n-1]-tries[n-2])
		}
		broken = false
		n := len(tries)
		c.putOff("y", errors.New("broken"))
		c.caughtUp("z") // something could be written
		synctest.Wait()
		if len(tries) != n+2 {
			t.Errorf("%d tries after something could be written, want 2", len(tries)-n)
		}
		check(t, c.err())
		pass(time.Hour)
		if len(tries) != n+2 {
			t.Error("tried again without need")
		}
		c.putOff("x", errors.New("broken"))
		c.stop()
		c.start(nil)
		c.stop()
	})
}

// pass lets time pass in a synctest bubble.
func pass(d time.Duration) { <-time.After(d) }

// When a mount is about to be taken away, no plain file is older than what the mount
// has served: neither the one that was being written, nor those of later versions.
func TestCopiesComeFirst(t *testing.T) {
	v := mountVolume(t, Config{})
	path := filepath.Join(v.cfg.Dir, "x")
	publish(t, v, "x", entry("0"))
	stop := make(chan struct{})
	var publisher sync.WaitGroup
	publisher.Go(func() {
		for n := 1; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			if err := v.Publish("x", entry(strconv.Itoa(n))); err != nil {
				t.Error(err)
				return
			}
		}
	})
	v.CopyFirst()
	for range 300 {
		seen, err := os.ReadFile(path)
		check(t, err)
		beneath, _, err := v.plain.read("", "x")
		check(t, err)
		if number(t, beneath) < number(t, seen) {
			t.Fatalf("beneath is %q, and %q has been seen", beneath, seen)
		}
	}
	close(stop)
	publisher.Wait()
	check(t, v.Close())
	v.CopyFirst()
}

func number(t *testing.T, content []byte) int {
	t.Helper()
	n, err := strconv.Atoi(string(content))
	check(t, err)
	return n
}
