package integration

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	// seriesSize is how large the contents of a series are: 300 KiB.
	seriesSize = 300 << 10
	// seriesLine is the length of a line of theirs.
	seriesLine = len("12345678 123456\n")
)

// seriesContent returns a content whose every line tells the number of the
// version and its own.
func seriesContent(n int) string {
	text := []byte(seriesLines())
	number := fmt.Appendf(nil, "%08d", n)
	for at := 0; at < len(text); at += seriesLine {
		copy(text[at:], number)
	}
	return string(text)
}

// seriesLines returns the content of number 0.
var seriesLines = sync.OnceValue(func() string {
	var text strings.Builder
	for line := range seriesSize / seriesLine {
		fmt.Fprintf(&text, "%08d %06d\n", 0, line)
	}
	return text.String()
})

// seriesVersion returns the version under which that content is published, as
// Python would write it.
func seriesVersion(n int) string { return fmt.Sprintf("%d.%d", 1448012345+n/10, n%10) }

// Twenty changes in two seconds: who reads sees some of them, in their order and
// each as a whole; and the last is there at once.
func TestBurstOfChanges(t *testing.T) {
	eachFace(t, func(t *testing.T, mode string) {
		f := newFleet(t, gofakes3)
		f.run("dependency", "create", "web.dep")
		name := f.newConfig("spam", "large", "web.dep")
		const zkPath = "/config/manageddata/spam/large"
		next := 0
		publish := func() {
			next++
			f.publishRaw(zkPath, seriesVersion(next), seriesContent(next))
		}
		publish()
		m := f.startMonitor(monitorConfig{Mode: mode, Dependencies: []string{"web.dep"}})
		m.awaitConfig(name, seriesContent(next))
		seen := newLatencies(t, "the last change of a burst")
		group := startReaders(t, m.config(name), "quick", "quick", "slow")

		const bursts, changes = 2, 20
		for range bursts {
			pace := time.NewTicker(2 * time.Second / changes)
			for range changes {
				<-pace.C
				publish()
			}
			pace.Stop()
			seen.await(m.config(name), seriesContent(next))
		}
		group.await(next)
		for _, r := range group.stop() {
			t.Logf("a %s reader: %d reads, %d versions seen", r.Kind, r.Reads, r.Versions)
			for _, problem := range r.Problems {
				t.Errorf("a %s reader: %s", r.Kind, problem)
			}
			if r.Versions < 3 {
				t.Errorf("a %s reader saw %d versions: too few to tell anything", r.Kind, r.Versions)
			}
		}
	})
}
