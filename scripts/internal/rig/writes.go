package rig

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kingpinfs/kingpin/internal/zkconn"
	"github.com/kingpinfs/kingpin/store"
)

const roleWrites = "compare-writes"

// WriteKind is a way to write a file.
type WriteKind string

const (
	// WriteDecider is what `echo 42 > decider` does: open with O_TRUNC, one small
	// write, close.
	WriteDecider WriteKind = "decider"
	// WriteWhole is what cp does: the same with a whole content, in pieces.
	WriteWhole WriteKind = "whole"
	// WriteRename writes a new file beside the old one and renames it onto that.
	WriteRename WriteKind = "rename"
)

// WriteCosts is how long a write takes, in nanoseconds, until it has been
// answered.
type WriteCosts struct {
	Served Spread // through the mount: until the fleet has it
	Plain  Spread // of a plain file
	Bare   Spread // no file at all: publishing as much by package store
}

// Writes says what CompareWrites is to compare.
type Writes struct {
	Kind   WriteKind
	Served string // the path of a config's file, or a decider's
	Plain  string // the path of a plain file
	Bare   Config // nobody serves it
	N      int
}

// CompareWrites writes a file of the mount and a plain file, and publishes a
// config by itself, n times each by turns, in a process of its own.
func (r *Rig) CompareWrites(ctx context.Context, w Writes) (WriteCosts, error) {
	var c WriteCosts
	err := askRole(ctx, roleWrites, &c, r.places(string(w.Kind), w.Served, w.Plain, w.Bare.Path(), strconv.Itoa(w.Bare.Size), strconv.Itoa(w.N))...)
	return c, err
}

// writeComparer is the state of the role.
type writeComparer struct {
	kind          WriteKind
	served, plain string
	size          int
	store         *store.Store
	bare          store.Ref
}

// compareWrites is a role. Between two writes there is a pause, in which whatever
// the one before has caused elsewhere comes to its end.
func compareWrites(ctx context.Context, args []string, out io.Writer) (err error) {
	size, err := strconv.Atoi(args[7])
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(args[8])
	if err != nil {
		return err
	}
	s3, err := openObjects(ctx, args[1], args[2])
	if err != nil {
		return err
	}
	defer s3.close()
	conn := zkconn.New(zkconn.Config{Servers: []string{args[0]}})
	if err := conn.Open(); err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.WaitConnected(ctx); err != nil {
		return err
	}
	c := &writeComparer{
		kind: WriteKind(args[3]), served: args[4], plain: args[5], size: size,
		store: store.New(conn, s3.client, store.Options{}), bare: store.Ref{Path: args[6]},
	}
	sides := []func(content []byte) error{
		func(content []byte) error { return c.write(c.served, content) },
		func(content []byte) error { return c.write(c.plain, content) },
		func(content []byte) error { return c.publish(ctx, content) },
	}
	const (
		first = 5 // are not counted: connections are made
		pause = 5 * time.Millisecond
	)
	took := make([][]int64, len(sides))
	for i := range n + first {
		for side, do := range sides {
			content := c.content(i)
			start := monotonic()
			if err := do(content); err != nil {
				return err
			}
			if end := monotonic(); i >= first {
				took[side] = append(took[side], end-start)
			}
			if err := Sleep(ctx, pause); err != nil {
				return err
			}
		}
	}
	return tell(out, WriteCosts{SpreadOf(took[0]), SpreadOf(took[1]), SpreadOf(took[2])})
}

// content returns what is written the i-th time: always something else.
func (c *writeComparer) content(i int) []byte {
	if c.kind == WriteDecider {
		return fmt.Appendf(nil, "%d\n", 10+i%90)
	}
	return []byte(Content(1+i, c.size))
}

// publish is the least that publishing takes: what the mount's file would do
// without the file.
func (c *writeComparer) publish(ctx context.Context, content []byte) error {
	var err error
	if c.kind == WriteDecider {
		// A decider is an entry of a map, which has to be read.
		_, err = c.store.Update(ctx, c.bare, store.Write{}, func(store.Value) ([]byte, error) {
			return fmt.Appendf(nil, `{%q: %s}`, filepath.Base(c.served), content[:len(content)-1]), nil
		})
	} else {
		_, err = c.store.Put(ctx, c.bare, content, store.Write{})
	}
	return err
}

// write writes a file.
func (c *writeComparer) write(path string, content []byte) error {
	const mode = 0o664
	if c.kind != WriteRename {
		return writeFile(path, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC, mode, content)
	}
	aside := filepath.Join(filepath.Dir(path), ".aside")
	if err := writeFile(aside, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, mode, content); err != nil {
		return err
	}
	return os.Rename(aside, path)
}

// writeFile writes a file by the system calls that cp makes.
func writeFile(path string, flags int, mode uint32, content []byte) error {
	const piece = 128 << 10
	fd, err := retryInterrupted(func() (int, error) { return unix.Open(path, flags|unix.O_CLOEXEC, mode) })
	if err != nil {
		return fmt.Errorf("opening %q: %w", path, err)
	}
	for len(content) > 0 && err == nil {
		var n int
		n, err = retryInterrupted(func() (int, error) { return unix.Write(fd, content[:min(len(content), piece)]) })
		content = content[max(n, 0):]
	}
	if err = errors.Join(err, unix.Close(fd)); err != nil {
		return fmt.Errorf("writing %q: %w", path, err)
	}
	return nil
}

// Deciders is the config whose entries are deciders.
var Deciders = Config{Domain: "admin", Key: "decider", Size: wordSize}

// SetDecider makes a decider the only one, and returns when the monitor serves
// it, and the path of its file.
func (r *Rig) SetDecider(ctx context.Context, m *Monitor, name string, value int) (path string, err error) {
	const n = 1 // content 0 is no map
	body := fmt.Sprintf(`{%q: %d}`, name, value)
	if err := r.objects.put(ctx, Deciders.ref().Key(versionOf(n)), body); err != nil {
		return "", err
	}
	if err := r.Set(Deciders, n); err != nil {
		return "", err
	}
	path = filepath.Join(m.ConfigDir, "decider", name)
	return path, await(ctx, func() error {
		_, err := os.Stat(path)
		return err
	})
}
