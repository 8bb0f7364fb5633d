package fs

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

// mountEntry is a line of /proc/self/mountinfo; see proc_pid_mountinfo(5).
type mountEntry struct {
	ID     int
	Device string // "major:minor"
	Point  string // the mount point
	Type   string // "ext4", "fuse.sshfs"
	Source string
}

// isFUSE reports whether a program serves the mount.
func (m mountEntry) isFUSE() bool { return m.Type == "fuse" || strings.HasPrefix(m.Type, "fuse.") }

// mountByID returns the mount of that id; false if this process can't see it.
func mountByID(id int) (mountEntry, bool, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return mountEntry{}, false, fmt.Errorf("listing mounts: %w", err)
	}
	defer f.Close()
	entries, err := parseMountinfo(f)
	if err != nil {
		return mountEntry{}, false, fmt.Errorf("listing mounts: %w", err)
	}
	for _, e := range entries {
		if e.ID == id {
			return e, true, nil
		}
	}
	return mountEntry{}, false, nil
}

func parseMountinfo(r io.Reader) ([]mountEntry, error) {
	var entries []mountEntry
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20) // a line may hold three paths and any number of options
	for lines.Scan() {
		e, err := parseMountEntry(lines.Text())
		if err != nil {
			return nil, err
		}
		entries = append(entries, e)
	}
	return entries, lines.Err()
}

// parseMountEntry parses a line such as
//
//	36 35 98:0 /root /mnt\0402 rw,noatime master:1 - ext4 /dev/sda1 rw
//
// where any number of fields may stand before the dash.
func parseMountEntry(line string) (mountEntry, error) {
	before, after, dash := strings.Cut(line, " - ")
	head, tail := strings.Split(before, " "), strings.Split(after, " ")
	if !dash || len(head) < 6 || len(tail) < 2 {
		return mountEntry{}, fmt.Errorf("not a line of mountinfo: %q", line)
	}
	id, err := strconv.Atoi(head[0])
	if err != nil {
		return mountEntry{}, fmt.Errorf("mount id in %q: %w", line, err)
	}
	return mountEntry{
		ID: id, Device: head[2], Point: unescapeOctal(head[4]),
		Type: unescapeOctal(tail[0]), Source: unescapeOctal(tail[1]),
	}, nil
}

// unescapeOctal undoes the kernel's escaping of spaces, tabs, newlines,
// backslashes and hashes: a backslash and three octal digits.
func unescapeOctal(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(c))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
