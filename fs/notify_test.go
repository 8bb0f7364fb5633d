package fs

import (
	"bytes"
	"testing"
)

// The layouts are those of linux/fuse.h, on a little-endian machine.
func TestNotifications(t *testing.T) {
	for name, c := range map[string]struct{ got, want []byte }{
		"entry": {entryNotification(0x0102, "abc"), []byte{
			36, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
			2, 1, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 'a', 'b', 'c', 0,
		}},
		"inode": {inodeNotification(1), []byte{
			40, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
			1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
		}},
		"epoch": {epochNotification(), []byte{16, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}},
	} {
		if !bytes.Equal(c.got, c.want) {
			t.Errorf("%s: %v, want %v", name, c.got, c.want)
		}
	}
}
