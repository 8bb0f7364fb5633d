package follow

import (
	"encoding/binary"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// encode is what the kernel would hand out of events.
func encode(events ...event) []byte {
	var buffer []byte
	for _, e := range events {
		size := 0
		if e.name != "" {
			size = (len(e.name) + unix.SizeofInotifyEvent) &^ (unix.SizeofInotifyEvent - 1)
		}
		for _, field := range []uint32{uint32(e.watch), e.mask, 0, uint32(size)} {
			buffer = binary.NativeEndian.AppendUint32(buffer, field)
		}
		buffer = append(buffer, append([]byte(e.name), make([]byte, size-len(e.name))...)...)
	}
	return buffer
}

func TestParseEvents(t *testing.T) {
	events := []event{
		{watch: 1, mask: unix.IN_MOVED_TO, name: "file"},
		{watch: 2, mask: unix.IN_IGNORED},
		{watch: -1, mask: unix.IN_Q_OVERFLOW},
		{watch: 1, mask: unix.IN_CREATE, name: "a name of fifteen"[:15]},
		{watch: 1, mask: unix.IN_CREATE, name: "a name of sixteen"[:16]},
	}
	if got := parseEvents(encode(events...)); !slices.Equal(got, events) {
		t.Errorf("got %+v, want %+v", got, events)
	}
}

func FuzzParseEvents(f *testing.F) {
	whole := encode(event{watch: 1, mask: unix.IN_MOVED_TO, name: "file"}, event{watch: -1, mask: unix.IN_Q_OVERFLOW})
	f.Add(whole)
	f.Add(whole[:len(whole)-1])
	f.Add(encode(event{})[:12])
	f.Add([]byte{15: 0xff})
	f.Fuzz(func(t *testing.T, buffer []byte) {
		size := 0
		for _, e := range parseEvents(buffer) {
			size += unix.SizeofInotifyEvent + len(e.name)
		}
		if size > len(buffer) {
			t.Errorf("%d bytes of events were found in %d", size, len(buffer))
		}
	})
}

// Which events are reasons to look again.
func TestConcerns(t *testing.T) {
	watched := trail{1: {"a", "b"}, 2: {"c"}}
	for e, want := range map[event]bool{
		{watch: 1, mask: unix.IN_MOVED_TO, name: "b"}: true,
		{watch: 2, mask: unix.IN_DELETE, name: "c"}:   true,
		{watch: 2, mask: unix.IN_MOVED_TO, name: "b"}: false,
		{watch: 3, mask: unix.IN_MOVED_TO, name: "b"}: false,
		{watch: 1, mask: unix.IN_DELETE_SELF}:         true,
		{watch: 1, mask: unix.IN_MOVE_SELF}:           true,
		{watch: 2, mask: unix.IN_UNMOUNT}:             true,
		{watch: 2, mask: unix.IN_IGNORED}:             true,
		{watch: 3, mask: unix.IN_IGNORED}:             false, // we removed it
		{watch: -1, mask: unix.IN_Q_OVERFLOW}:         true,
	} {
		if got := watched.concerns(e); got != want {
			t.Errorf("%+v: %v", e, got)
		}
	}
}
