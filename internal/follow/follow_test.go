package follow_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kingpinfs/kingpin/internal/follow"
)

func TestFollowsReplacements(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	replace(t, path, "one")
	f := start(t, path, follow.Options{})
	f.wants("one")
	replace(t, path, "two")
	f.wants("two")
	replace(t, path, "")
	f.wants("")
	moment := time.Unix(1448012345, 670000000)
	write(t, path+".new", "three")
	if err := os.Chtimes(path+".new", moment, moment); err != nil {
		t.Fatal(err)
	}
	rename(t, path+".new", path)
	if v := f.next(); string(v.Content) != "three" || !v.ModTime.Equal(moment) || v.ID != "" {
		t.Errorf("%q of %v, version %q, was handed out", v.Content, v.ModTime, v.ID)
	}
}

func TestTellsTheVersionThatTheFileTells(t *testing.T) {
	dir := t.TempDir()
	mount(t, dir)
	path := filepath.Join(dir, "file")
	write(t, path, "one")
	if err := unix.Setxattr(path, "user.kingpin.version", []byte("1448012345.67"), 0); err != nil {
		t.Fatal(err)
	}
	if v := start(t, path, follow.Options{}).next(); v.ID != "1448012345.67" {
		t.Errorf("the version is %q", v.ID)
	}
}

func TestHandsOutNothingTwiceInARow(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	replace(t, path, "one")
	f := start(t, path, follow.Options{})
	f.wants("one")
	for range 3 {
		replace(t, path, "one")
	}
	remove(t, path)
	f.misses()
	replace(t, path, "one")
	replace(t, path, "two")
	f.wants("two")
	replace(t, path, "one")
	f.wants("one")
}

func TestFollowsCreationAndRemoval(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	f := start(t, path, follow.Options{})
	f.misses()
	replace(t, path, "one")
	f.wants("one")
	remove(t, path)
	f.misses()
	replace(t, path, "two")
	f.wants("two")
	rename(t, path, path+".old")
	f.misses()
	if err := os.Link(path+".old", path); err != nil { // whole at once, too
		t.Fatal(err)
	}
	replace(t, path, "three")
	f.wants("three")
}

func TestFollowsAFileThatIsWrittenInPlace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	replace(t, path, "one")
	f := start(t, path, follow.Options{})
	f.wants("one")
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.WriteString(", two"); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	f.wants("one, two")
}

// While somebody is busy with a version, the later ones aren't collected.
func TestHandsOutTheLatest(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	replace(t, path, "0")
	f := start(t, path, follow.Options{})
	f.wants("0")
	replace(t, path, "1")
	// Nobody takes it before there are a hundred more.
	for n := range 100 {
		replace(t, path, strconv.Itoa(n+2))
	}
	seen := 0
	for last := ""; last != "101"; seen++ {
		last = string(f.next().Content)
	}
	if seen > 2 {
		t.Errorf("%d versions of a burst were handed out, while nobody took one", seen)
	}
}

// A storm of replacements: each content handed out is whole and newer than the
// one before, and the last one arrives.
func TestStorm(t *testing.T) {
	const count = 3000
	path := filepath.Join(t.TempDir(), "file")
	content := func(n int) string { return strings.Repeat(fmt.Sprintf("%08d\n", n), 1+n%2000) }
	replace(t, path, content(0))
	f := start(t, path, follow.Options{})
	writing := make(chan error, 1)
	go func() {
		for n := 1; n <= count; n++ {
			err := os.WriteFile(path+".new", []byte(content(n)), 0o644)
			if err = errors.Join(err, os.Rename(path+".new", path)); err != nil {
				writing <- err
				return
			}
		}
		writing <- nil
	}()
	seen := 0
	for last := -1; last != count; seen++ {
		got := string(f.next().Content)
		n, err := strconv.Atoi(got[:8])
		if err != nil || got != content(n) {
			t.Fatalf("a content isn't whole: %q… (%d bytes)", got[:8], len(got))
		}
		if n <= last {
			t.Fatalf("%d was handed out after %d", n, last)
		}
		last = n
	}
	t.Logf("%d of %d contents were handed out", seen, count)
	if err := <-writing; err != nil {
		t.Fatal(err)
	}
}

// The kernel keeps only so many events.
func TestSurvivesLostEvents(t *testing.T) {
	limit, err := os.ReadFile("/proc/sys/fs/inotify/max_queued_events")
	if err != nil {
		t.Fatal(err)
	}
	events, err := strconv.Atoi(strings.TrimSpace(string(limit)))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	replace(t, path, "one")
	f := start(t, path, follow.Options{})
	f.wants("one")
	replace(t, path, "two")
	// Run is in deliver now, or will be, and takes no events meanwhile.
	for n := range events { // each is three events, of which some were read
		noise := filepath.Join(dir, "noise"+strconv.Itoa(n%2))
		write(t, noise, "")
		remove(t, noise)
	}
	replace(t, path, "three")
	for f.next(); ; {
		if v := f.next(); string(v.Content) == "three" {
			break
		}
	}
}

func TestFollowsDirectories(t *testing.T) {
	base := t.TempDir()
	dir := filepath.Join(base, "a", "b", "c")
	path := filepath.Join(dir, "file")
	f := start(t, path, follow.Options{})
	f.misses()
	mkdir(t, dir)
	replace(t, path, "one")
	f.wants("one")

	// Another directory in its place.
	other := mkdir(t, filepath.Join(base, "other"))
	replace(t, filepath.Join(other, "file"), "two")
	rename(t, dir, filepath.Join(base, "old"))
	f.misses()
	replace(t, filepath.Join(base, "old", "file"), "of no matter")
	rename(t, other, dir)
	f.wants("two")
	replace(t, path, "three")
	f.wants("three")

	// One far above.
	rename(t, filepath.Join(base, "a"), filepath.Join(base, "z"))
	f.misses()
	mkdir(t, dir)
	replace(t, path, "four")
	f.wants("four")
	remove(t, filepath.Join(base, "a"))
	f.misses()
	write(t, filepath.Join(base, "a"), "no directory")
	if err := <-f.missing; !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("it was told %v", err)
	}
	remove(t, filepath.Join(base, "a"))
	rename(t, filepath.Join(base, "z"), filepath.Join(base, "a"))
	replace(t, path, "five")
	// The third version may be seen again, before the fifth.
	if got := string(f.next().Content); got != "five" {
		f.wants("five")
	}
}

// As kubelet publishes the files of a ConfigMap.
func TestFollowsSymbolicLinks(t *testing.T) {
	dir := t.TempDir()
	publish := func(generation, content string) {
		write(t, filepath.Join(mkdir(t, filepath.Join(dir, generation)), "file"), content)
		symlink(t, generation, filepath.Join(dir, "..tmp"))
		rename(t, filepath.Join(dir, "..tmp"), filepath.Join(dir, "..data"))
	}
	publish("..1", "one")
	symlink(t, "..data/file", filepath.Join(dir, "file"))
	outside := mkdir(t, filepath.Join(t.TempDir(), "here"))
	symlink(t, dir, filepath.Join(outside, "absolute"))
	symlink(t, "../here/absolute", filepath.Join(outside, "relative"))

	f := start(t, filepath.Join(outside, "relative", "file"), follow.Options{})
	f.wants("one")
	publish("..2", "two")
	f.wants("two")
	remove(t, filepath.Join(dir, "..1"))
	replace(t, filepath.Join(dir, "..2", "file"), "three")
	f.wants("three")
	remove(t, filepath.Join(outside, "absolute"))
	f.misses()
	symlink(t, filepath.Join(dir, "..2"), filepath.Join(outside, "absolute"))
	replace(t, filepath.Join(dir, "..2", "file"), "four")
	f.wants("four")

	// Links that lead nowhere.
	loop := filepath.Join(dir, "loop")
	symlink(t, "loop", loop)
	g := start(t, loop, follow.Options{})
	if err := <-g.missing; !errors.Is(err, unix.ELOOP) {
		t.Errorf("it was told %v", err)
	}
	symlink(t, filepath.Join(dir, "..2", "file"), loop+".new")
	rename(t, loop+".new", loop)
	g.wants("four")
}

func TestReadsRelativePathsFromWhereItStarted(t *testing.T) {
	dir := t.TempDir()
	replace(t, filepath.Join(dir, "file"), "one")
	t.Chdir(dir)
	f := start(t, "file", follow.Options{})
	f.wants("one")
	t.Chdir("/")
	replace(t, filepath.Join(dir, "file"), "two")
	f.wants("two")
}

// What can't be read is told, and read when it can be, though no event says so.
func TestTellsWhatCannotBeRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	mkdir(t, path)
	f := start(t, path, follow.Options{})
	if err := <-f.missing; errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("it was told %v", err)
	}
	remove(t, path)
	f.misses()
	replace(t, path, "one")
	f.wants("one")
	remove(t, path)
	f.misses()
	if err := unix.Mkfifo(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := <-f.missing; !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("it was told %v", err)
	}
}

func TestDeliverEndsIt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	replace(t, path, "one")
	before := descriptors(t)
	follower := follow.New(path, follow.Options{})
	enough := errors.New("enough")
	for range 2 { // what deliver refused is handed out again
		var got []string
		err := follower.Run(t.Context(), func(v follow.Version) error {
			got = append(got, string(v.Content))
			return enough
		})
		if err != enough || !slices.Equal(got, []string{"one"}) { //nolint:errorlint // the very error is promised
			t.Errorf("Run returned %v, after %q", err, got)
		}
	}
	var got []string
	ctx, cancel := context.WithCancelCause(t.Context())
	err := follower.Run(ctx, func(v follow.Version) error {
		got = append(got, string(v.Content))
		cancel(enough)
		return nil
	})
	if err != enough || !slices.Equal(got, []string{"one"}) { //nolint:errorlint // the very error is promised
		t.Errorf("Run returned %v, after %q", err, got)
	}
	if after := descriptors(t); !slices.Equal(after, before) {
		t.Errorf("it left open: %q, before %q", after, before)
	}
}
