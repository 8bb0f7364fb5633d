package metaconfig

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/kingpinfs/kingpin/store"
)

// Client reads and writes the metaconfigs and dependencies of a fleet. It keeps
// no state and is safe for concurrent use. Its errors carry a store.Kind, and
// say which command mends what they complain of.
type Client struct {
	values *store.Store
	zn     store.Znodes
}

// NewClient returns a client over a store and the znodes that the store itself
// works on. It owns neither.
func NewClient(values *store.Store, zn store.Znodes) *Client {
	return &Client{values: values, zn: zn}
}

// Metaconfig is a metaconfig as it is stored.
type Metaconfig struct {
	Name string
	// Value is the raw text and its version; the version is "" if the
	// metaconfig has a znode, but has never been written.
	Value store.Value
	// Subscriptions, Warnings and Err are what Parse makes of the text. Err is
	// not nil if it is no good metaconfig.
	Subscriptions []Subscription
	Warnings      []string
	Err           error
}

// Created says what CreateConfig and CreateServerset found or made.
type Created struct {
	// Subscription is what the metaconfig would hold, were it new.
	Subscription Subscription
	// New says that there was no such metaconfig.
	New bool
	// Differs says that there was one that means something else. It has been
	// left as it was.
	Differs bool
}

// CreateConfig creates the pointer of a managed value and the metaconfig for
// it, both where they are missing. Domain and key are taken in lower case. w
// says who does it; its conditions don't count. Errors: Invalid, Denied,
// Unavailable, Conflict if the metaconfig's lock is held until ctx is done.
func (c *Client) CreateConfig(ctx context.Context, domain, key string, w store.Write) (Created, error) {
	sub, err := ConfigSubscription(domain, key)
	if err != nil {
		return Created{}, err
	}
	return c.create(ctx, sub, w)
}

// CreateServerset creates the znode of a serverset and the metaconfig for it,
// both where they are missing. The rest is as with CreateConfig.
func (c *Client) CreateServerset(ctx context.Context, service, environment string, w store.Write) (Created, error) {
	sub, err := ServersetSubscription(service, environment)
	if err != nil {
		return Created{}, err
	}
	return c.create(ctx, sub, w)
}

// create makes the znode first, so that no monitor sees a metaconfig that
// names a znode which isn't there.
func (c *Client) create(ctx context.Context, sub Subscription, w store.Write) (Created, error) {
	content, err := Render(sub)
	if err != nil {
		return Created{}, err
	}
	if _, err := c.ensure(ctx, sub.ZKPath); err != nil {
		return Created{}, err
	}
	created := Created{Subscription: sub}
	value, err := c.values.Get(ctx, ref(sub.Metaconfig))
	if pointerMissing(value, err) || err == nil && value.Version == "" {
		value, created.New, err = c.publishFirst(ctx, sub.Metaconfig, content, w)
	}
	if err != nil {
		return Created{}, fmt.Errorf("creating metaconfig %q: %w", sub.Metaconfig, err)
	}
	stored, _, err := Parse(sub.Metaconfig, value.Content)
	created.Differs = err != nil || !slices.Equal(stored, []Subscription{sub})
	return created, nil
}

// publishFirst writes a metaconfig unless somebody else has written it
// meanwhile, and returns what is there then.
func (c *Client) publishFirst(ctx context.Context, name string, content []byte, w store.Write) (value store.Value, first bool, err error) {
	if _, err := c.ensure(ctx, Path(name)); err != nil {
		return store.Value{}, false, err
	}
	who := store.Write{Author: w.Author, Comment: w.Comment}
	value, err = c.values.Update(ctx, ref(name), who, func(old store.Value) ([]byte, error) {
		first = old.Version == ""
		if !first {
			return old.Content, nil
		}
		return content, nil
	})
	return value, first && err == nil, err
}

// List returns the names of all metaconfigs, sorted.
func (c *Client) List(ctx context.Context) ([]string, error) {
	return c.children(ctx, metaconfigRoot)
}

// Get reads a metaconfig. A text that is no metaconfig is no error of Get: see
// Metaconfig.Err. Errors: NotFound, also if S3 doesn't hold the version that
// the pointer names; Invalid, Denied, Unavailable.
func (c *Client) Get(ctx context.Context, name string) (Metaconfig, error) {
	if err := CheckMetaconfig(name); err != nil {
		return Metaconfig{}, err
	}
	value, err := c.values.Get(ctx, ref(name))
	switch {
	case pointerMissing(value, err):
		return Metaconfig{}, c.notFound(name)
	case err != nil:
		return Metaconfig{}, fmt.Errorf("reading metaconfig %q: %w", name, err)
	}
	m := Metaconfig{Name: name, Value: value}
	m.Subscriptions, m.Warnings, m.Err = Parse(name, value.Content)
	return m, nil
}

// SetOptions say how a metaconfig is written.
type SetOptions struct {
	// Write says who writes, and under which condition.
	Write store.Write
	// AllowShell lets commands pass that would make the shell of a Python
	// monitor, which runs as root, do more than run the downloader.
	AllowShell bool
}

// Set writes a metaconfig, and creates it if it is missing. What Parse calls a
// fault is refused with Invalid. Beside Parse's warnings, the result's name
// the znodes that don't exist yet. The other errors are those of
// store.Store.Put.
func (c *Client) Set(ctx context.Context, name string, content []byte, opts SetOptions) (Metaconfig, error) {
	if err := CheckMetaconfig(name); err != nil {
		return Metaconfig{}, err
	}
	d, err := parse(name, content)
	if err != nil {
		return Metaconfig{Name: name, Warnings: d.warnings}, err
	}
	if len(d.risky) > 0 && !opts.AllowShell {
		return Metaconfig{Name: name, Warnings: d.warnings}, &store.Error{
			Op: "writing metaconfig", Subject: name, Kind: store.Invalid,
			Err: fmt.Errorf("[%d].command: it is more than a call of %s with plain words, and Python monitors would run it in a shell, as root",
				d.risky[0], downloader),
		}
	}
	for _, sub := range d.subs {
		switch _, _, err := c.zn.Get(ctx, sub.ZKPath); {
		case errors.Is(err, store.NotFound):
			d.warnings = append(d.warnings, fmt.Sprintf("the znode %q doesn't exist yet: the file %q will appear when it does", sub.ZKPath, sub.File))
		case err != nil:
			return Metaconfig{}, fmt.Errorf("writing metaconfig %q: %w", name, err)
		}
	}
	// Whoever expects a version to be there doesn't want a new znode.
	if expect := opts.Write.Expect; expect == nil || *expect == "" {
		if _, err := c.ensure(ctx, Path(name)); err != nil {
			return Metaconfig{}, err
		}
	}
	value, err := c.values.Put(ctx, ref(name), content, opts.Write)
	if err != nil {
		return Metaconfig{}, fmt.Errorf("writing metaconfig %q: %w", name, err)
	}
	return Metaconfig{Name: name, Value: value, Subscriptions: d.subs, Warnings: d.warnings}, nil
}

// Remove removes a metaconfig; its stored versions stay. As long as
// dependencies have it as a member it is a Conflict that names them; force
// takes it out of them first and returns their names. The other errors are
// NotFound, Invalid, Denied, Unavailable.
func (c *Client) Remove(ctx context.Context, name string, force bool) (removedFrom []string, err error) {
	if err := CheckMetaconfig(name); err != nil {
		return nil, err
	}
	if err := c.mustExist(ctx, name); err != nil {
		return nil, err
	}
	holders, err := c.holders(ctx, name)
	if err != nil {
		return nil, err
	}
	if len(holders) > 0 && !force {
		return nil, &store.Error{Op: "removing metaconfig", Subject: name, Kind: store.Conflict,
			Err: fmt.Errorf("it is a member of %s: take it out first, `kingpin dependency remove %s %s`",
				strings.Join(holders, ", "), holders[0], name)}
	}
	for _, dependency := range holders {
		if err := c.RemoveMember(ctx, dependency, name); err != nil && !errors.Is(err, store.NotFound) {
			return removedFrom, err
		}
		removedFrom = append(removedFrom, dependency)
	}
	if err := c.values.Delete(ctx, ref(name)); err != nil {
		return removedFrom, fmt.Errorf("removing metaconfig %q: %w", name, err)
	}
	return removedFrom, nil
}

// ref names a metaconfig as the value that it is.
func ref(name string) store.Ref { return store.Ref{Path: Path(name)} }

// pointerMissing tells a pointer that doesn't exist from one whose content S3
// doesn't have, after a Get.
func pointerMissing(value store.Value, err error) bool {
	return errors.Is(err, store.NotFound) && value.Stat == (store.Stat{})
}

// ensure creates a znode and its parents where they are missing.
func (c *Client) ensure(ctx context.Context, path string) (created bool, err error) {
	switch err := c.zn.Create(ctx, path, nil); {
	case errors.Is(err, store.Exists):
		return false, nil
	case err != nil:
		return false, err
	}
	return true, nil
}

// children returns the names beneath one of the two roots that are no locks,
// sorted.
func (c *Client) children(ctx context.Context, path string) ([]string, error) {
	names, _, err := c.zn.Children(ctx, path)
	if errors.Is(err, store.NotFound) {
		return nil, nil // nothing has ever been created
	}
	if err != nil {
		return nil, err
	}
	return withoutLocks(names), nil
}

// withoutLocks returns a copy of names without those of locks.
func withoutLocks(names []string) []string {
	kept := make([]string, 0, len(names))
	for _, name := range names {
		if !strings.HasSuffix(name, lockSuffix) {
			kept = append(kept, name)
		}
	}
	return kept
}
